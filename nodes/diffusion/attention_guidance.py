"""Guidance by a model's own attention: away from what it makes of a picture when attention is spoilt."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.problems import NodeFailure
from engine.steps import Steps
from nodes.diffusion.guiding import GuidanceStep, Moment
from nodes.diffusion.model import Model, Query


@dataclass(frozen=True)
class Perturbed(GuidanceStep):
    """Guidance away from the estimate without self-attention in the middle (Ahn et al. 2024, equation 15).

    Args:
        scale: s; 0 asks for nothing.
    """

    scale: float

    def _taken(self, moment: Moment) -> Steps[Moment]:
        if self.scale == 0:
            return moment
        perturbed = yield from moment.ask("positive", moment.x, (WithoutAttention(),))
        return replace(moment, denoised=moment.denoised + (moment.positive - perturbed) * self.scale)


@dataclass(frozen=True)
class SelfAttention(GuidanceStep):
    """Guidance away from the estimate of a picture blurred where the model looks (Hong et al. 2023).

    Equation 17, with the map of the middle block's first self-attention.

    Args:
        scale: s.
        blur: σ of the blur, in cells of the latent.
    """

    needs_base: ClassVar[bool] = True
    sees_attention: ClassVar[bool] = True
    scale: float
    blur: float

    def _taken(self, moment: Moment) -> Steps[Moment]:
        base = moment.positive if moment.base is None else moment.base
        if min(base.shape[-2:]) <= _BLUR // 2:
            return moment  # nothing to mirror at its borders
        assert moment.attended is not None
        degraded = torch.lerp(base, blurred(base, self.blur), moment.attended)
        spoilt = yield from moment.ask("base", degraded + moment.x - base, ())
        return replace(moment, denoised=moment.denoised + (degraded - spoilt) * self.scale)


@dataclass(frozen=True)
class WithoutAttention:
    """A UNet whose middle block takes each place's own values in place of self-attention: its map is I."""

    def install(self, module: nn.Module) -> None:
        """See `weights.Structure`."""
        for attention in _middle_attentions(module):
            attention.set_processor(_OwnValues())


@dataclass(frozen=True)
class Attending:
    """A model whose answers have one channel more: 1 where its middle block looks, else 0.

    That is where a place gets more attention in the first self-attention there, over all places and averaged
    over the heads, than the mean (Hong et al. 2023, equation 15, with ψ = 1).
    """

    model: Model

    def batch_key(self, query: Query) -> Hashable:
        """The model's own."""
        return self.model.batch_key(query)

    def answer(self, queries: Sequence[Query]) -> Sequence[Tensor]:
        """The model's answers, shaped [1, C + 1, h, w].

        Raises:
            NodeFailure: There is no attention in its middle block.
        """
        unet: Any = self.model.recipe.module(self.model.devices)
        seen: list[Tensor] = []
        attention = next(iter(_middle_attentions(unet)), None)
        if attention is None:
            raise NodeFailure(
                "self-attention guidance needs a model with attention in its middle block",
                "leave the node out",
            )
        shape: list[int] = []
        hooks = (
            unet.mid_block.attentions[0].register_forward_pre_hook(
                lambda _, inputs: shape.extend(inputs[0].shape[-2:])
            ),
            attention.register_forward_pre_hook(
                lambda _, inputs: seen.append(attended(attention, inputs[0]))
            ),
        )
        try:
            rows = self.model.answered_by(unet, queries)
        finally:
            for hook in hooks:
                hook.remove()
        where = (seen[0] > 1).float().reshape(-1, 1, *shape)
        where = F.interpolate(where, rows[0].shape[-2:]).to(rows[0])
        return [
            torch.cat([row.reshape(1, *row.shape[-3:]), at[None]], dim=1)
            for row, at in zip(rows, where, strict=True)
        ]


def attended(attention: Any, states: Tensor) -> Tensor:
    """How much attention each token of [N, T, D] gets, [N, T]: over all tokens, on average over the heads.

    Args:
        attention: A diffusers `Attention`.
    """
    heads: int = attention.heads
    q, k = (
        project(states).unflatten(-1, (heads, -1)).transpose(1, 2).float()
        for project in (attention.to_q, attention.to_k)
    )
    total = states.new_zeros(states.shape[:2], dtype=torch.float32)
    for head in range(heads):  # one at a time: a map has T² numbers
        total += (q[:, head] @ k[:, head].mT / math.sqrt(q.shape[-1])).softmax(dim=-1).sum(dim=1)
    return total / heads


_BLUR = 9  # cells that the blur spans


def blurred(x: Tensor, sigma: float) -> Tensor:
    """A latent [B, C, h, w] blurred by a Gaussian of 9 cells, mirrored at its borders; 0 leaves it sharp."""
    if sigma == 0:
        return x
    reach = _BLUR // 2
    line = torch.exp(-0.5 * (torch.linspace(-reach, reach, _BLUR).to(x) / sigma) ** 2)
    line = line / line.sum()
    channels = x.shape[1]
    padded = F.pad(x, (reach,) * 4, mode="reflect")
    rows = F.conv2d(padded, line.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, line.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def _middle_attentions(unet: Any) -> list[Any]:
    """The self-attentions of the middle block, in order; none where it has no transformers."""
    attentions = getattr(unet.mid_block, "attentions", ())
    return [block.attn1 for each in attentions for block in getattr(each, "transformer_blocks", ())]


class _OwnValues:
    """A processor of diffusers' attention: the values, projected out."""

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        out: Tensor = attn.to_out[1](attn.to_out[0](attn.to_v(hidden_states)))
        return out
