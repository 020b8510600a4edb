"""Networks by recipe: loaded once, and shared by the variants that patch some of their weights."""

import copy
from collections import ChainMap
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

import torch
from torch import Tensor, nn

from engine.devices import Devices, give_back
from nodes.diffusion import families

Part: TypeAlias = Literal[
    "unet", "text_encoder", "text_encoder_2", "vae", "controlnet", "upscaler", "clip_vision"
]


_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Patch(Hashable, Protocol):
    """A change of some weights, hashable by what it does."""

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """New values for the weights that change.

        Args:
            part: The network that is patched.
            weights: All of its weights by name in float32, as earlier patches left them; never written to.
        """
        ...


@runtime_checkable
class Structure(Hashable, Protocol):
    """A change of how a network computes with the weights that it has, hashable by what it does."""

    def install(self, module: nn.Module) -> None:
        """Change the modules of a variant; its tensors are shared with the base and stay as they are."""
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
    patches: tuple[Patch | Structure, ...] = ()

    def patched(self, *patches: Patch | Structure) -> "Recipe":
        """The same network with more patches, applied after those that it has, structures after weights."""
        return replace(self, patches=(*self.patches, *patches))

    def module(self, devices: Devices, dtype: torch.dtype | None = None) -> nn.Module:
        """The network on its device, ready to evaluate: without gradients.

        Args:
            dtype: The type to compute in; None takes that of `compute_dtype`.

        Raises:
            NodeFailure: The file does not hold what it should.
        """
        key = self if dtype is None else (self, dtype)
        if not self.patches:
            return devices.held(key, lambda: self._loaded(devices, dtype), _nbytes, moved)
        structures = tuple(patch for patch in self.patches if isinstance(patch, Structure))
        changes = tuple(patch for patch in self.patches if not isinstance(patch, Structure))
        base = replace(self, patches=changes if structures else ()).module(devices, dtype)

        def make() -> nn.Module:
            return restructured(base, structures) if structures else self._variant(base, changes)

        def own(variant: nn.Module, device: str) -> None:
            moved(variant, device, _tensors(base))

        return devices.held(key, make, lambda v: _nbytes(v) - _shared(v, base), own)

    def _loaded(self, devices: Devices, dtype: torch.dtype | None) -> nn.Module:
        module = families.build(self.family, self.part, self.path)
        dtype = dtype or compute_dtype(self.part, devices)
        if dtype is torch.float16 and not getattr(module, "supports_half", True):
            dtype = torch.float32
        nn.Module.to(module, devices.device, dtype)  # diffusers' own warns
        module.eval().requires_grad_(False)
        give_back()
        return module

    def _variant(self, base: nn.Module, changes: Sequence[Patch]) -> nn.Module:
        held = dict(base.named_parameters())
        weights, changed = _Float32(held), dict[str, Tensor]()
        for patch in changes:
            changed |= patch.changed(self.part, ChainMap(changed, cast(Any, weights)))
        variant = _sharing(base)
        for name, value in changed.items():
            owner, _, leaf = name.rpartition(".")
            own = value.to(held[name].dtype)
            setattr(variant.get_submodule(owner), leaf, nn.Parameter(own, requires_grad=False))
        return variant


class _Float32(Mapping[str, Tensor]):
    """Weights as patches see them: in float32, so that several are rounded once, at the end."""

    def __init__(self, held: Mapping[str, Tensor]) -> None:
        self._held = held

    def __getitem__(self, name: str) -> Tensor:
        return self._held[name].float()

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def restructured(base: nn.Module, structures: Sequence[Structure]) -> nn.Module:
    """A variant of a network that computes otherwise with the very same weights."""
    variant = _sharing(base)
    for structure in structures:
        structure.install(variant)
    return variant


def compute_dtype(part: Part, devices: Devices) -> torch.dtype:
    """The type a network computes in: as set, else half on a GPU, float32 on a CPU.

    VAEs overflow in float16: they take bfloat16 where the GPU has it (Ampere and later), else float32.
    """
    if devices.precision != "auto":
        return _TYPES[devices.precision]
    if not devices.device.startswith("cuda"):
        return torch.float32
    if part == "vae":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.float16 if part in ("unet", "controlnet", "upscaler") else torch.float32


def moved(module: nn.Module, device: str, besides: frozenset[int] = frozenset()) -> None:
    """Bring a network's tensors to a device, in place.

    Args:
        besides: The identities of tensors to leave where they are: they are another network's.
    """
    for tensor in own_tensors(module, besides):
        tensor.data = tensor.data.to(device)


def own_tensors(module: nn.Module, besides: frozenset[int]) -> list[Tensor]:
    """The tensors of a network but for those with these identities."""
    return [t for t in (*module.parameters(), *module.buffers()) if id(t) not in besides]


def _sharing(base: nn.Module) -> nn.Module:
    """New modules around the tensors that the base holds."""
    shared = {id(t): t for t in (*base.parameters(), *base.buffers())}
    return copy.deepcopy(base, memo=shared)


def _nbytes(module: nn.Module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


def _tensors(module: nn.Module) -> frozenset[int]:
    return frozenset(id(t) for t in (*module.parameters(), *module.buffers()))


def _shared(variant: nn.Module, base: nn.Module) -> int:
    """The bytes of a variant that are its base's own tensors."""
    held = _tensors(base)
    return sum(t.nbytes for t in (*variant.parameters(), *variant.buffers()) if id(t) in held)
