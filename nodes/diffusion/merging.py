"""Merges: a network's weights mixed with those of another, and weights of attention layers scaled."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.families.ldm import unet_keys
from nodes.diffusion.weights import Part, Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """How two networks are mixed where a weight's name begins so: w = own · w₁ + others · w₂.

    Args:
        beginning: Of the name in the layout of single files ("input_blocks.1."), without its prefix.
    """

    beginning: str
    own: float
    others: float

    @classmethod
    def of(cls, ratio: float, beginning: str = "") -> "Share":
        """A mix in which the first network has this share and the other the rest."""
        return cls(beginning, ratio, 1.0 - ratio)


@dataclass(frozen=True)
class MergePatch:
    """The weights of another network mixed into those of the one that is patched.

    Args:
        other: The other network, with what was done to it.
        shares: The longest beginning that fits a weight counts, and the first where none does.
    """

    other: Recipe
    shares: tuple[Share, ...]
    devices: Devices = field(compare=False, repr=False)

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values for the weights that both have; computed in float32, kept in their own type.

        What only one of them has stays as it is. A weight of another shape in the other network adds nothing,
        but its own share counts, as in the ecosystem.

        Raises:
            NodeFailure: No weight of the other network fits: it is of another family.
        """
        theirs = dict(self.other.module(self.devices).named_parameters())
        files = unet_keys(weights) if part == "unet" else {}
        mixed: dict[str, Tensor] = {}
        common = [name for name in weights if name in theirs]
        unfit = [name for name in common if weights[name].shape != theirs[name].shape]
        if len(unfit) == len(common):
            raise NodeFailure(
                f"the two models have no weight in common that could be merged ({part.replace('_', ' ')})",
                "merge models of one family",
            )
        if unfit:
            logger.warning("%d weights have another shape and are not merged, first %s", len(unfit), unfit[0])
        for name in common:
            share, own = self._share(files.get(name, name)), weights[name]
            if share == Share(share.beginning, 1.0, 0.0):
                continue
            value = own.float() * share.own
            if own.shape == theirs[name].shape:
                value += share.others * theirs[name].to(value.device).float()
            mixed[name] = value.to(own.dtype)
        return mixed

    def _share(self, name: str) -> Share:
        fitting = [share for share in self.shares if name.startswith(share.beginning)]
        return max(fitting, key=lambda share: len(share.beginning), default=self.shares[0])


@dataclass(frozen=True)
class ScalePatch:
    """Weights multiplied by a number, chosen by how their names end.

    Args:
        factors: (ending of the module's name, factor); the first that fits counts, for weight and bias.
    """

    factors: tuple[tuple[str, float], ...]

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """The scaled weights; those whose factor is 1 are left out."""
        scaled = {}
        for name, value in weights.items():
            module = name.removesuffix(".weight").removesuffix(".bias")
            factor = next((f for ending, f in self.factors if module.endswith(ending)), 1.0)
            if factor != 1.0:
                scaled[name] = (value.float() * factor).to(value.dtype)
        return scaled
