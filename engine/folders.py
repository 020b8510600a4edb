"""The folders of models, and what stands in one: files to choose from, parts of a model folder."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

MODEL_ROLES = (
    "checkpoints", "clip_vision", "configs", "controlnet", "diffusers", "diffusion_models", "embeddings",
    "gligen", "hypernetworks", "loras", "photomaker", "style_models", "text_encoders", "upscale_models",
    "vae", "vae_approx",
)  # fmt: skip
"""The folders of models, as the ecosystem names them."""

SAVED_MODELS = {
    "checkpoints": "checkpoints",
    "text_encoders": "clip",
    "vae": "vae",
    "diffusion_models": "diffusion_models",
    "loras": "loras",
}
"""Folders of the output folder where nodes save models, by the role that finds them there."""


PIECE = 2**24
"""Bytes of a file that are hashed at once."""


def content_hash(path: Path) -> str:
    """The blake3 of a file's bytes, read in pieces: a mapped file counts as memory, and may be cut under us.

    Raises:
        OSError: It cannot be read.
    """
    hasher = blake3(max_threads=blake3.AUTO)
    with path.open("rb", buffering=0) as file:
        piece = memoryview(bytearray(min(PIECE, os.fstat(file.fileno()).st_size + 1)))
        while size := file.readinto(piece):
            hasher.update(piece[:size])
    return hasher.hexdigest()


def listed(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The files below a folder by relative path, and model folders by theirs; hidden ones are left out."""
    if not folder.is_dir():
        return
    seen: set[str] = set()
    for root, dirs, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link to a folder above
            dirs.clear()
            continue
        seen.add(real)
        here = Path(root)
        for name in [d for d in dirs if _is_model(here / d)]:
            dirs.remove(name)
            yield (here / name).relative_to(folder).as_posix()
        dirs[:] = [d for d in dirs if not d.startswith(".")]
        for name in files:
            if not name.startswith(".") and (not suffixes or name.lower().endswith(suffixes)):
                yield (here / name).relative_to(folder).as_posix()


def model_parts(folder: Path) -> list[Path]:
    """The files that make a model folder, sorted.

    Of a diffusers folder: `model_index.json` and what stands in the subfolders that it names; of another: all
    but Markdown and hidden files.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        found = [p for p in folder.rglob("*") if not p.name.startswith(".") and p.suffix != ".md"]
    else:
        try:
            named = json.loads(index.read_bytes())
        except (ValueError, RecursionError):
            named = {}
        named = named if isinstance(named, dict) else {}
        names = [k for k in named if Path(k).name == k and not k.startswith(("_", "."))]
        found = [index, *(p for name in names for p in (folder / name).rglob("*"))]
    return sorted(p for p in found if p.is_file() and not p.name.startswith("."))


def _is_model(folder: Path) -> bool:
    try:
        return (folder / "model_index.json").is_file() or (folder / "config.json").is_file()
    except OSError:  # it cannot be looked into
        return False
