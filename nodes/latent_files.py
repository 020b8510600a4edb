"""Latents from and to `.latent` files: safetensors with the workflow inside."""

import json
import struct
from collections.abc import Iterator
from typing import Annotated

import safetensors
import safetensors.torch
import torch

from engine.files import Files
from engine.node import node
from engine.ports import Env, Given, OneOf, Shown
from engine.problems import NodeFailure, Wrong, nearest
from nodes.image_files import ExtraInfo, Prompt, workflow_texts
from nodes.ports import Latent

SD1_SCALE = 0.18215
"""Files without the marker `latent_format_version_0` hold latents multiplied by this."""


@node("SaveLatent", category="_for_testing", is_output=True)
def save_latent(
    *,
    samples: Latent,
    filename_prefix: str = "latents/ComfyUI",
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write latents as a numbered `.latent` file to the output folder, with the workflow inside.

    Args:
        samples: The latents; their noise mask is not kept.
        filename_prefix: Start of the file name, with subfolders if wanted.
    """
    tensors = {"latent_tensor": samples.samples.contiguous().cpu(), "latent_format_version_0": torch.empty(0)}
    content = ordered(safetensors.torch.save(tensors, workflow_texts(prompt, extra_pnginfo) or None))
    return Shown(None, {"latents": [files.write("output", filename_prefix, ".latent", content).as_link()]})


def ordered(content: bytes) -> bytes:
    """A safetensors file with its header's entries in order, which the library draws anew at each call."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def latent_files(env: Env) -> list[str]:
    """The latents in the input folder."""
    return env[Files].names("input", (".latent",))


def _latent_missing(*, latent: str, files: Files) -> Iterator[Wrong]:
    try:
        files.find("input", latent)
    except NodeFailure as failure:
        hint, code = "put it in the input folder", "value_not_in_list"
        yield Wrong(
            "latent", failure.message, hint, code, lambda: nearest(latent, files.names("input", (".latent",)))
        )


def _latent_digest(*, latent: str, files: Files) -> str:
    return files.digest("input", latent)


@node("LoadLatent", category="_for_testing", check=_latent_missing, fingerprint=_latent_digest)
def load_latent(
    *, latent: Annotated[str, OneOf(latent_files, role="input")], files: Annotated[Files, Given()]
) -> Latent:
    """Read latents from a `.latent` file of the input folder.

    Args:
        latent: The file.

    Raises:
        NodeFailure: It is damaged, or holds no latent.
    """
    try:
        tensors = safetensors.torch.load_file(files.find("input", latent))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise NodeFailure(
            f"{latent!r} is no latent file that can be read: {error}", "save it anew"
        ) from error
    if "latent_tensor" not in tensors:
        found = ", ".join(sorted(tensors)[:5]) or "nothing"
        raise NodeFailure(
            f"{latent!r} holds no latent_tensor, but {found}", "choose a file written by SaveLatent"
        )
    scale = 1.0 if "latent_format_version_0" in tensors else 1 / SD1_SCALE
    return Latent(tensors["latent_tensor"].float() * scale)
