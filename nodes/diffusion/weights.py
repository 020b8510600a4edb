"""Networks by recipe: loaded once, and shared by the variants that patch some of their weights."""

import copy
from collections import ChainMap
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from engine.devices import Devices
from nodes.diffusion import families

Part: TypeAlias = Literal["unet", "text_encoder", "vae", "controlnet", "upscaler"]


class Patch(Hashable, Protocol):
    """A change of some weights, hashable by what it does."""

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """New values for the weights that change.

        Args:
            part: The network that is patched.
            weights: All of its weights by name, as earlier patches left them; never written to.
        """
        ...


@dataclass(frozen=True)
class Recipe:
    """What a network is: whose weights, and what was done to them, in order.

    Recipes that compare equal compute the same, wherever their files lie.

    Args:
        digest: Content hash of the file or folder.
        part: Which network of it.
        family: The model family that knows how to build it.
        path: Where the file or folder lies.
    """

    digest: str
    part: Part
    family: str
    path: Path = field(compare=False)
    patches: tuple[Patch, ...] = ()

    def patched(self, *patches: Patch) -> "Recipe":
        """The same network with more patches, applied after those that it has."""
        return replace(self, patches=(*self.patches, *patches))

    def module(self, devices: Devices) -> nn.Module:
        """The network on its device, ready to evaluate: without gradients, float32 on a CPU.

        Raises:
            NodeFailure: The file does not hold what it should.
        """
        if not self.patches:
            return devices.held(self, lambda: self._loaded(devices), _nbytes)
        base = replace(self, patches=()).module(devices)
        return devices.held(self, lambda: self._variant(base), lambda v: _nbytes(v) - _shared(v, base))

    def _loaded(self, devices: Devices) -> nn.Module:
        module = families.build(self.family, self.part, self.path)
        dtype = compute_dtype(self.part, devices.device)
        return (
            nn.Module.to(module, devices.device, dtype).eval().requires_grad_(False)
        )  # diffusers' own warns

    def _variant(self, base: nn.Module) -> nn.Module:
        weights: dict[str, Tensor] = dict(base.named_parameters())
        changed: dict[str, Tensor] = {}
        for patch in self.patches:
            changed |= patch.changed(self.part, ChainMap(changed, weights))
        shared = {id(t): t for t in (*base.parameters(), *base.buffers())}
        variant = copy.deepcopy(base, memo=shared)  # new modules around the tensors that the base holds
        for name, value in changed.items():
            owner, _, leaf = name.rpartition(".")
            setattr(variant.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
        return variant


def compute_dtype(part: Part, device: str) -> torch.dtype:
    """The type a network computes in: half on a GPU for what runs at every step, else float32."""
    return torch.float16 if device.startswith("cuda") and part in ("unet", "controlnet") else torch.float32


def _nbytes(module: nn.Module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


def _shared(variant: nn.Module, base: nn.Module) -> int:
    """The bytes of a variant that are its base's own tensors."""
    held = {id(t) for t in (*base.parameters(), *base.buffers())}
    return sum(t.nbytes for t in (*variant.parameters(), *variant.buffers()) if id(t) in held)
