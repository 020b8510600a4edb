"""Compiling models."""

from typing import Any


def set_torch_compile_wrapper(model: Any, backend: str, **_: Any) -> None:
    """Refuse: models belong to the engine here.

    Raises:
        NotImplementedError: Always.
    """
    del model
    raise NotImplementedError(f"models cannot be compiled with {backend} by a node here")


__all__ = ["set_torch_compile_wrapper"]
