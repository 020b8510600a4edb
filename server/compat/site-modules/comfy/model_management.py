"""The device, and whether the run is to end; memory is the engine's own business."""

from typing import Any

import torch

from server.compat.context import Interrupted as InterruptProcessingException
from server.compat.context import go_on, interrupt, is_interrupted
from server.compat.host import host

__all__ = ["InterruptProcessingException", "throw_exception_if_processing_interrupted"]

OOM_EXCEPTION = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
XFORMERS_IS_AVAILABLE = False


def interrupt_current_processing(value: bool = True) -> None:
    """End the run of the caller."""
    if value:
        interrupt()


def processing_interrupted() -> bool:
    """Whether the run of the caller is to end."""
    return is_interrupted()


def throw_exception_if_processing_interrupted() -> None:
    """Raise `InterruptProcessingException` if it is."""
    go_on()


def get_torch_device() -> torch.device:
    """Where models compute."""
    return torch.device(host().device)


def _host() -> torch.device:
    return torch.device("cpu")


def unet_offload_device() -> torch.device:
    """Where a diffusion model waits."""
    return _host()


def text_encoder_device() -> torch.device:
    """Where text encoders compute."""
    return get_torch_device()


def text_encoder_offload_device() -> torch.device:
    """Where text encoders wait."""
    return _host()


def vae_device() -> torch.device:
    """Where a VAE computes."""
    return get_torch_device()


def vae_offload_device() -> torch.device:
    """Where a VAE waits."""
    return _host()


def intermediate_device() -> torch.device:
    """Where the values between nodes are."""
    return _host()


def get_torch_device_name(device: Any) -> str:
    """The device's name for people."""
    kind = getattr(device, "type", str(device))
    return f"{device} {torch.cuda.get_device_name(device)}" if kind == "cuda" else str(kind)


def is_device_cpu(device: Any) -> bool:
    """Whether it is the host."""
    return bool(getattr(device, "type", device) == "cpu")


def is_device_mps(device: Any) -> bool:
    """Whether it is Apple's GPU."""
    return bool(getattr(device, "type", device) == "mps")


def cpu_mode() -> bool:
    """Whether models compute on the host."""
    return get_torch_device().type == "cpu"


def is_nvidia() -> bool:
    """Whether models compute on an NVIDIA GPU."""
    return get_torch_device().type == "cuda" and torch.version.cuda is not None


def should_use_fp16(*_: Any, **__: Any) -> bool:
    """Whether half precision is used; ours computes in single precision."""
    return False


def should_use_bf16(*_: Any, **__: Any) -> bool:
    """Whether bfloat16 is used; ours computes in single precision."""
    return False


def unet_dtype(*_: Any, **__: Any) -> torch.dtype:
    """The precision of diffusion models."""
    return torch.float32


def vae_dtype(*_: Any, **__: Any) -> torch.dtype:
    """The precision of VAEs."""
    return torch.float32


def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
    """Free bytes on a device."""
    device = dev or get_torch_device()
    if is_device_cpu(device):
        import psutil

        free = int(psutil.virtual_memory().available)
    else:
        free = int(torch.cuda.mem_get_info(device)[0])
    return (free, free) if torch_free_too else free


def get_total_memory(dev: Any = None, torch_total_too: bool = False) -> Any:
    """All bytes of a device."""
    device = dev or get_torch_device()
    if is_device_cpu(device):
        import psutil

        total = int(psutil.virtual_memory().total)
    else:
        total = int(torch.cuda.mem_get_info(device)[1])
    return (total, total) if torch_total_too else total


def soft_empty_cache(force: bool = False) -> None:
    """Give back device memory that nothing uses."""
    del force
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def unload_all_models() -> None:
    """Let go of loaded models; the engine does that itself when memory is short."""


def cleanup_models(*_: Any, **__: Any) -> None:
    """Nothing: the engine keeps what it loaded within a budget."""


def load_models_gpu(*_: Any, **__: Any) -> None:
    """Nothing: models are where they compute."""


def load_model_gpu(*_: Any, **__: Any) -> None:
    """Nothing: models are where they compute."""


def free_memory(*_: Any, **__: Any) -> list[Any]:
    """Nothing: the engine frees memory itself when it is short."""
    return []


def module_size(module: Any) -> int:
    """Bytes of a module's weights."""
    return sum(t.nelement() * t.element_size() for t in module.state_dict().values())
