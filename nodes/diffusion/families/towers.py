"""The text encoders in a checkpoint or in a file of their own: which, where, and in which key layout."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.problems import NodeFailure
from nodes.diffusion.families import Found, ldm, open_clip
from nodes.diffusion.tensors import Shapes, shapes, tensors
from nodes.diffusion.text import Clip, Encoder, Tower
from nodes.diffusion.tokenizer import OPENAI_CLIP
from nodes.diffusion.weights import Part, Recipe

_TELLING = "embeddings.token_embedding.weight"
_PREFIXES = (
    "cond_stage_model.transformer.text_model.",
    "cond_stage_model.transformer.",
    "cond_stage_model.model.",
    "conditioner.embedders.0.transformer.text_model.",
    "conditioner.embedders.0.model.",
    "conditioner.embedders.1.model.",
    "text_model.",
    "",
)
_BY_WIDTH: Mapping[int, Encoder] = {1024: "h", 1280: "g"}
PARTS: Mapping[Encoder, Part] = {"l": "text_encoder", "h": "text_encoder", "g": "text_encoder_2"}
"""The part that an encoder is, as diffusers folders call it."""

_TAKEN: Mapping[Encoder, Mapping[str, Any]] = {
    "l": {"layer": -2, "normed": False},
    "h": {"layer": -2, "pad": 0},
    "g": {"layer": -2, "normed": False, "pad": 0},
}
"""What is taken of an encoder: of CLIP-L beside another, and of OpenCLIP's, the layer before the last; normed
in Stable Diffusion 2.x (Stability AI's release notes of 2.0), as it is in SDXL (Podell et al. 2023)."""


@dataclass(frozen=True)
class Place:
    """Where a text encoder stands among the tensors of a file.

    Args:
        shapes: Of its tensors under transformers' names, without the prefix.
        open_clip: Whether the file uses OpenCLIP's names.
    """

    name: Encoder
    prefix: str
    shapes: Shapes
    open_clip: bool


def places(found: Shapes) -> Iterator[Place]:
    """The text encoders of a file, each prefix once."""
    for prefix in _PREFIXES:
        for telling, opened in ((_TELLING, False), (open_clip.TELLING, True)):
            if (table := found.get(prefix + telling)) is not None:
                own = {k.removeprefix(prefix): shape for k, shape in found.items() if k.startswith(prefix)}
                if not opened and "text_projection.weight" in found:  # stands beside text_model. when alone
                    own["text_projection.weight"] = found["text_projection.weight"]
                named = open_clip.plain_shapes(own) if opened else own
                yield Place(by_width(table[1]), prefix, named, opened)


def by_width(width: int) -> Encoder:
    """The encoder whose embeddings are this wide; small ones are of CLIP-L's kind."""
    return _BY_WIDTH.get(width, "l")


def clip(found: Found, names: tuple[Encoder, ...], digest: str, family: str) -> tuple[Tower, ...]:
    """The towers of a model whose text is encoded by these, in this order, as it was trained with them."""
    recipes = {name: Recipe(digest, PARTS[name], family, found.path) for name in names}
    taken = {"l": {}} if names == ("l",) else _TAKEN
    return tuple(Tower(recipes[name], _vocabulary(found, name), name, **taken[name]) for name in names)


def sdxl(one: Clip, other: Clip) -> Clip:
    """SDXL's pair of encoders from files of their own.

    Raises:
        NodeFailure: They are not CLIP-L and OpenCLIP-bigG.
    """
    named = {tower.name: tower for tower in (*one.towers, *other.towers)}
    if set(named) != {"l", "g"}:
        raise NodeFailure(
            f"SDXL needs the text encoders CLIP-L and OpenCLIP-bigG; these are {', '.join(sorted(named))}",
            "choose one file of each, such as clip_l.safetensors and clip_g.safetensors",
        )
    return Clip((replace(named["l"], **_TAKEN["l"]), replace(named["g"], **_TAKEN["g"])), one.devices)


def build(part: Part, path: Path) -> nn.Module:
    """The text encoder of a file, on the host.

    Raises:
        NodeFailure: It holds none, or an incomplete one.
    """
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    place = next((p for p in places(shapes(path)) if PARTS[p.name] == part), None)
    if place is None:
        raise NodeFailure(f"{path.name} holds no {part.replace('_', ' ')} of Stable Diffusion")
    try:
        config = ldm.text_config(place.shapes)
    except (KeyError, ValueError) as error:
        raise NodeFailure(f"{path.name}: the {part} is incomplete: {error} is missing") from error
    held = tensors(path, lambda key: key.startswith(place.prefix) or key == "text_projection.weight")
    state = {key.removeprefix(place.prefix): value for key, value in held.items()}
    return networks.assembled(part, config, _named(state, place), path.name)


def _named(state: Mapping[str, Tensor], place: Place) -> Mapping[str, Tensor]:
    return open_clip.renamed(state) if place.open_clip else state


def _vocabulary(found: Found, name: Encoder) -> Path:
    """The tokenizer's folder: a diffusers folder's own, else OpenAI's."""
    own = "tokenizer_2" if name == "g" else "tokenizer"
    return found.path / own if own in found.index else OPENAI_CLIP
