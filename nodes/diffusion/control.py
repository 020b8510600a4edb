"""Networks that steer a diffusion model by a picture: their kinds, their use, and what they add."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from engine.devices import Devices
from engine.ports import Port
from engine.problems import NodeFailure
from nodes.diffusion.resize import resized
from nodes.diffusion.weights import Part, Recipe, Structure

PIXELS = 8  # a cell of the latent is this many pixels wide


@Port("CONTROL_NET")
@dataclass(frozen=True)
class ControlNet:
    """A network that steers a diffusion model by a picture.

    `recipe.module(devices)` is a diffusers `ControlNetModel`: called with the noisy input, the timestep, the
    embeddings and the hint, it returns what to add to the denoiser's skip connections and middle block. That
    of an adapter is a `T2IAdapter`: it sees the hint alone, and what it returns is added within the levels.

    Args:
        adapter: Whether it is a T2I-Adapter (Mou et al. 2023).
        channels: Of the hint.
        cell: Sides of the hint are multiples of this.
        context: Width of the text embeddings that it reads, or None where it reads none.
        kinds: How many kinds of hints a union network tells apart, else 0.
        pools: Whether what it adds is averaged over the picture.
        relative: The weights that are held as changes of the steered model's own, by name.
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)
    adapter: bool = False
    channels: int = 3
    cell: int = PIXELS
    context: int | None = None
    kinds: int = 0
    pools: bool = False
    relative: frozenset[str] = field(default=frozenset(), repr=False)

    def told(self, kind: int | None) -> "ControlNet":
        """The network told what its hints show, 0 ≤ kind < kinds; None leaves it untold."""
        others = tuple(p for p in self.recipe.patches if not isinstance(p, HintKind))
        mine = () if kind is None else (HintKind(kind),)
        return replace(self, recipe=replace(self.recipe, patches=others + mine))

    def upon(self, base: Recipe) -> "ControlNet":
        """The network with its relative weights made whole by those of a diffusion model."""
        if not self.relative:
            return self
        weights = tuple(patch for patch in base.patches if not isinstance(patch, Structure))
        whole = Upon(replace(base, patches=weights), self.relative, self.devices)
        return replace(self, recipe=self.recipe.patched(whole), relative=frozenset())

    def module(self, steered: Recipe) -> nn.Module:
        """The network on its device, for a diffusion model that it steers."""
        return self.upon(steered).recipe.module(self.devices)

    def fitted(self, picture: Tensor, height: int, width: int) -> Tensor:
        """A picture [B, C, H, W] as it wants it for a latent of height x width cells.

        Raises:
            NodeFailure: The picture has too few channels.
        """
        height, width = (math.ceil(side * PIXELS / self.cell) * self.cell for side in (height, width))
        if self.channels == 1:
            picture = picture.mean(dim=1, keepdim=True)
        if picture.shape[1] < self.channels:
            raise NodeFailure(
                f"the picture has {picture.shape[1]} channels, the ControlNet sees {self.channels}",
                "give it a picture in colour",
            )
        return resized(picture[:, : self.channels], width, height, "nearest-exact", "center")


@dataclass(frozen=True)
class HintKind:
    """A change that tells a union network what its hints show, by number."""

    kind: int

    def install(self, module: nn.Module) -> None:
        """Tell each part of the network that asks."""
        for part in module.modules():
            if hasattr(part, "told_kind"):
                part.told_kind = self.kind  # type: ignore[assignment]


@dataclass(frozen=True)
class Upon:
    """A patch that adds a diffusion model's weights to what is held as changes of them.

    Args:
        base: The diffusion model.
        names: The weights that are changes.
    """

    base: Recipe
    names: frozenset[str] = field(repr=False)
    devices: Devices = field(compare=False, repr=False)

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sums.

        Raises:
            NodeFailure: The model has no such weights.
        """
        del part
        base = dict(self.base.module(self.devices).named_parameters())
        unfit = [n for n in sorted(self.names) if n not in base or base[n].shape != weights[n].shape]
        if unfit:
            raise NodeFailure(
                f"the ControlNet holds changes of another model's weights: {len(unfit)} of {len(self.names)} "
                f"do not fit this model, first {unfit[0]}",
                "use it with the model that it was made for",
            )
        return {
            n: (weights[n].float() + base[n].to(weights[n].device).float()).to(weights[n]) for n in self.names
        }


@dataclass(frozen=True, eq=False)
class ControlUse:
    """One ControlNet at work; a conditioning's option "control" is a tuple of these, first applied first.

    Args:
        hint: [B, H, W, C], usually 0..1; of any size, resized to the latent's when the model is asked.
        strength: Factor on what the network adds.
        start_percent: Share of the sampling after which it begins, 0..1.
        end_percent: Share of the sampling after which it ends, 0..1.
    """

    net: ControlNet
    hint: Tensor
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0


@dataclass(eq=False)
class Hint:
    """A picture [1, C, H, W], and what an adapter made of it, which no step of a run changes."""

    picture: Tensor
    _features: tuple[Tensor, ...] | None = None

    def features(self, adapter: nn.Module) -> tuple[Tensor, ...]:
        """What an adapter adds for it, [1, C', h, w] each; kept, so the adapter is always the same."""
        if self._features is None:
            weight = next(adapter.parameters())
            self._features = tuple(adapter(self.picture.to(weight)))
        return self._features


@dataclass(frozen=True, eq=False)
class ControlRow:
    """One ControlNet at work on one row.

    Args:
        hint: As the network wants it; see `ControlNet.fitted`.
        strength: Factor on what the network adds.
    """

    net: ControlNet
    hint: Hint
    strength: float


@dataclass(frozen=True, eq=False)
class Seen:
    """What a ControlNet sees of a batch of rows beside its hints: the denoiser's inputs.

    Args:
        recipe: The denoiser.
        x: [N, C, h, w], scaled, without further channels.
        timestep: [N].
        context: [N, T, D].
        vector: [N, A], or None.
    """

    recipe: Recipe
    x: Tensor
    timestep: Tensor
    context: Tensor
    vector: Tensor | None


@dataclass(eq=False)
class Steered:
    """What ControlNets add to a denoiser, summed; nothing where a list is empty.

    Args:
        skips: To each skip connection, and last to the middle block.
        levels: Within each level of the encoder.
    """

    skips: list[Tensor] = field(default_factory=list)
    levels: list[Tensor] = field(default_factory=list)

    def as_inputs(self) -> dict[str, object]:
        """The arguments of a `UNet2DConditionModel` that it makes."""
        return {
            "down_block_additional_residuals": tuple(self.skips[:-1]) or None,
            "mid_block_additional_residual": self.skips[-1] if self.skips else None,
            "down_intrablock_additional_residuals": list(self.levels) or None,
        }


def steered(rows: Sequence[tuple[ControlRow, ...]], seen: Seen) -> Steered:
    """What the ControlNets of a batch's rows add together.

    Args:
        rows: Of each row its ControlNets; the same ones in all rows.
    """
    total = Steered()
    for uses in zip(*rows, strict=True):
        net, held = uses[0].net, uses[0].net.module(seen.recipe)
        strength = torch.tensor([u.strength for u in uses], device=seen.x.device).reshape(-1, 1, 1, 1)
        if net.adapter:
            made = [torch.cat(same) for same in zip(*(u.hint.features(held) for u in uses), strict=True)]
        else:
            made = _asked(held, torch.cat([u.hint.picture for u in uses]), seen)
        if net.pools:
            made = [m.mean(dim=(2, 3), keepdim=True).expand_as(m) for m in made]
        added = [(m * strength).to(seen.x.dtype) for m in made]
        if net.adapter:
            total.levels = _sum(total.levels, added)
        else:
            total.skips = _sum(total.skips, added)
    return total


def _asked(net: nn.Module, hint: Tensor, seen: Seen) -> list[Tensor]:
    """What a ControlNet adds to the skip connections and to the middle block."""
    weight = next(net.parameters())
    down, middle = net(
        seen.x.to(weight),
        seen.timestep,
        encoder_hidden_states=seen.context.to(weight),
        class_labels=None if seen.vector is None else seen.vector.to(weight),
        controlnet_cond=hint.to(weight),
        return_dict=False,
    )
    return [*down, middle]


def _sum(before: list[Tensor], added: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(before, added, strict=True)] if before else added
