"""Which files of a repository are wanted, and which model folder they belong in."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from engine.folders import MODEL_ROLES
from engine.problems import nearest
from nodes.fetching.hub import RemoteFile, Repository, refused

if TYPE_CHECKING:  # it loads torch, which takes seconds
    from nodes.diffusion.tensors import Shapes

ROLES = (*MODEL_ROLES, "controlnet_aux")
INDEX, CONFIG = "model_index.json", "config.json"

WEIGHTS = tuple(
    stem + suffix
    for suffix in (".safetensors", ".fp16.safetensors", ".bin")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
)
"""The weight files of a network in a folder, in the order in which the loaders look for them."""

_UNREAD = ("safety_checker",)
"""Parts of a diffusers folder that nothing here reads."""

_TEXTS = (".json", ".txt", ".model")

_NAMELESS = (*(PurePosixPath(w).stem for w in WEIGHTS), "pytorch_lora_weights", "learned_embeds")
"""File names that say nothing: such a file is named after its repository."""

_BY_CLASS = {
    "AutoencoderKL": "vae",
    "ControlNetModel": "controlnet",
    "ControlNetUnionModel": "controlnet",
    "T2IAdapter": "controlnet",
    "UNet2DConditionModel": "diffusion_models",
    "CLIPTextModel": "text_encoders",
    "CLIPTextModelWithProjection": "text_encoders",
    "CLIPVisionModel": "clip_vision",
    "CLIPVisionModelWithProjection": "clip_vision",
}
"""The model folder of a network that comes alone in a repository."""

_KEYS = (
    ("controlnet", r"control_model\.|controlnet_|lora_controlnet$|input_hint_block\.|zero_convs\."),
    ("loras", r".*(lora_(up|down|A|B|mid)|lora\.(up|down)|hada_[wt]\d|lokr_[wt]\d|oft_blocks|dora_scale)\b"),
    ("embeddings", r"(emb_params|clip_[lgh])$"),
    ("clip_vision", r"vision_model\.encoder\.|visual\.transformer\."),
)
"""The model folder of a file, by how one of its keys begins."""

_ALL_KEYS = (
    ("vae", r"(encoder|decoder|first_stage_model|quant_conv|post_quant_conv)\."),
    ("text_encoders", r"text_|transformer\.|logit_scale|token_embedding\.|ln_final\.|positional_"),
)
"""The model folder of a file, by how all of its keys begin."""

_UNET = re.compile(r"(model\.diffusion_model\.)?(input_blocks|down_blocks)\..*attn2\.to_k\.weight")


def one_file(repository: Repository, path: str) -> RemoteFile:
    """The file of that path.

    Raises:
        WorkflowError: There is none; it names those that are most like it.
    """
    if path in repository.files:
        return repository.files[path]
    weights = [p for p in repository.files if not p.endswith(".md") and not p.startswith(".")]
    same = [p for p in weights if PurePosixPath(p).name == PurePosixPath(path).name]
    alike = f"did you mean {same[0]!r}?" if same else nearest(path, weights)
    raise refused(f"{repository.id} has no file {path!r}", alike or f"it has {_some(weights)}")


def folder(
    repository: Repository, read: Callable[[str], Mapping[str, Any]]
) -> tuple[str, tuple[RemoteFile, ...]]:
    """The model folder that a whole repository belongs in, and what of it is wanted.

    Args:
        read: Gives a JSON file of the repository.

    Raises:
        WorkflowError: It is no diffusers folder, or has no weights that the loaders read.
    """
    files = repository.files
    if INDEX in files:
        named = [k for k, v in read(INDEX).items() if isinstance(v, list) and v and v[0] and k not in _UNREAD]
        wanted = [files[INDEX], *(f for part in named for f in _part(repository, part))]
        return "checkpoints", tuple(wanted)
    if CONFIG in files:
        config = read(CONFIG)
        kind = str(config.get("_class_name") or (config.get("architectures") or [""])[0])
        if kind not in _BY_CLASS:
            raise refused(
                f"{repository.id} is a folder of {kind or 'an unknown kind'}",
                "name one of its files: " + _some(files),
            )
        return _BY_CLASS[kind], tuple(_part(repository, ""))
    raise refused(
        f"{repository.id} is no diffusers folder: it has no {INDEX}", f"name one of its files: {_some(files)}"
    )


def role_of(found: "Shapes") -> str | None:
    """The model folder that a file belongs in, by its keys and shapes; None where they leave it open."""
    from nodes.diffusion.families import Found, stable_diffusion, t2i_adapter

    if not found:
        return None
    if t2i_adapter.recognises(found, {}):
        return "controlnet"
    for role, key in _KEYS:
        if any(re.match(key, name) for name in found):
            return role
    if stable_diffusion.recognises(Found(Path(), found, {})):
        return "checkpoints"
    for role, key in _ALL_KEYS:
        if all(re.match(key, name) for name in found):
            return role
    return "diffusion_models" if any(_UNET.match(name) for name in found) else None


def name_in(role: str, repository: Repository, path: str) -> str:
    """What a fetched file is called in its model folder."""
    if role == "controlnet_aux":
        return f"{repository.id}/{path}"
    name = PurePosixPath(path)
    return repository.id.rpartition("/")[2] + name.suffix if name.stem in _NAMELESS else name.name


def _part(repository: Repository, part: str) -> Iterator[RemoteFile]:
    """Configuration, vocabulary and one weight file of a part of a folder.

    Raises:
        WorkflowError: It is a network without weights that the loaders read.
    """
    at = PurePosixPath(part)
    here = {p.name: f for f in repository.files.values() if (p := PurePosixPath(f.path)).parent == at}
    weights = next((here[name] for name in WEIGHTS if name in here), None)
    if weights is None and CONFIG in here:
        raise refused(
            f"{repository.id} has no weights for {part or 'its network'} that are read here: {_some(here)}",
            f"such as {WEIGHTS[0]}; another --revision may have them",
        )
    if not part:
        yield here[CONFIG]
    else:
        yield from (f for name, f in here.items() if name.endswith(_TEXTS) and ".index." not in name)
    if weights is not None:
        yield weights


def _some(names: Mapping[str, Any] | list[str]) -> str:
    """The first names of many; weight files first."""
    weighty = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")
    listed = sorted((n for n in names if not n.startswith(".")), key=lambda n: (not n.endswith(weighty), n))
    return ", ".join(listed[:8]) + (" …" if len(listed) > 8 else "") or "nothing"
