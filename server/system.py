"""What the server tells of its machine: memory, devices, versions, and its flags without secrets."""

import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from engine.devices import Devices

COMFYUI_VERSION = "0.3.64"
"""The version whose interface this server has; clients ask for it to know what they may use."""
_SECRETS = ("token", "secret", "database", "key", "password")


def system_stats(devices: Devices, base: Path) -> dict[str, Any]:
    """Memory, versions and devices, in the form of ComfyUI's route; sizes in bytes."""
    memory, ours = psutil.virtual_memory(), installed("latentgraph")
    system = {
        "os": os.name,
        "ram_total": memory.total,
        "ram_free": memory.available,
        "comfyui_version": COMFYUI_VERSION,
        "latentgraph_version": ours,
        "required_frontend_version": installed("comfyui-frontend-package"),
        "installed_templates_version": ours,
        "required_templates_version": ours,
        "python_version": sys.version,
        "pytorch_version": installed("torch"),
        "embedded_python": False,
        "argv": list(shown_arguments(sys.argv, base)),
    }
    return {"system": system, "devices": [_device(devices.device) | {"attention": devices.attention()}]}


@cache
def installed(package: str) -> str:
    """The version of an installed package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def shown_arguments(argv: Sequence[str], base: Path) -> Iterator[str]:
    """The command line without secrets, and without folders outside the base directory."""
    hide = False
    for argument in argv:
        name, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
        if hide:
            yield "***"
        else:
            yield f"{name}{equals}{'***' if equals and _is_secret(name) else _shown(value, base)}"
        hide = not hide and not equals and _is_secret(name)


def _is_secret(flag: str) -> bool:
    return any(word in flag.lower() for word in _SECRETS)


def _shown(value: str, base: Path) -> str:
    if "://" in value:
        return "***"
    if "/" not in value and os.sep not in value:
        return value
    path, base = Path(os.path.abspath(value)), base.absolute()  # noqa: PTH100  (resolves `..`, follows no link)
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name


def _device(name: str) -> dict[str, Any]:
    kind, _, index = name.partition(":")
    if kind == "cuda":
        total, free, held, spare = _gpu_memory(name)
        index = index or "0"
        name = f"{kind}:{index} {_gpu_name(name)}"
    else:
        memory = psutil.virtual_memory()
        total, free = memory.total, memory.available
        held, spare = total, free
    return {
        "name": name,
        "type": kind,
        "index": int(index) if index else None,
        "vram_total": total,
        "vram_free": free + (spare if kind == "cuda" else 0),
        "torch_vram_total": held,
        "torch_vram_free": spare,
    }


def _gpu_name(name: str) -> str:
    import torch  # only where a GPU computes, whose code has loaded it

    return str(torch.cuda.get_device_properties(name).name)


def _gpu_memory(name: str) -> tuple[int, int, int, int]:
    """Bytes of a GPU: in all, free, reserved by torch, and of these unused."""
    import torch

    free, total = torch.cuda.mem_get_info(name)
    held = torch.cuda.memory_reserved(name)
    return total, free, held, held - torch.cuda.memory_allocated(name)
