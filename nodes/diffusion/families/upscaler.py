"""Upscaling networks, told apart by spandrel from their weights."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.problems import NodeFailure
from nodes.diffusion.families.elsewhere import likeness
from nodes.diffusion.tensors import tensors
from nodes.diffusion.weights import Part

NAME = "upscaler"


class Padded(nn.Module):
    """A network behind the padding and clamping that it needs: [B, 3, h, w] to [B, 3, s h, s w]."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.network, self._descriptor = descriptor.model, descriptor
        self.supports_half: bool = descriptor.supports_half

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures in 0..1."""
        enlarged: Tensor = self._descriptor(x)
        return enlarged


def build(_part: Part, path: Path) -> nn.Module:
    """The network with its weights, on the host, in the type that the file has."""
    import spandrel  # imports some twenty architectures, which a cached run has no use for

    state = tensors(path)
    try:
        descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(state)
    except (spandrel.UnsupportedModelError, KeyError, RuntimeError, ValueError) as error:
        seen = likeness({key: tuple(value.shape) for key, value in state.items()}, {})
        raise NodeFailure(
            f"{path.name} is no upscaler that spandrel knows: {seen}",
            "known: ESRGAN and its kin, SwinIR, HAT, DAT, OmniSR, SPAN and others of spandrel's list",
        ) from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise NodeFailure(f"{path.name} wants a mask beside the picture; it is no upscaler")
    return Padded(descriptor)
