"""A diffusion model as the engine sees it: rows in, denoised rows out, rows of many jobs in one pass."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine.devices import Devices
from engine.ports import Port
from nodes.diffusion.control import ControlNet
from nodes.diffusion.preview import SD1_RGB
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.schedules import denoising_sigmas
from nodes.diffusion.weights import Recipe


@dataclass(frozen=True, eq=False)
class ControlRow:
    """One ControlNet at work on one row.

    Args:
        hint: [1, 3, 8h, 8w], 0..1.
        strength: Factor on what the network adds.
    """

    net: ControlNet
    hint: Tensor
    strength: float


@dataclass(frozen=True, eq=False)
class Query:
    """One row to be denoised.

    Args:
        x: [1, C, h, w], or [C, h, w], at noise level `sigma`.
        sigma: [].
        context: [1, T, D] token embeddings.
        control: The ControlNets active at this level; what they add is summed.
    """

    x: Tensor
    sigma: Tensor
    context: Tensor
    control: tuple[ControlRow, ...] = ()


@Port("MODEL")
@dataclass(frozen=True)
class Model:
    """A denoiser: a recipe of weights, and how noise levels are told to it.

    Models that compare equal compute the same, and share batches.

    Args:
        recipe: `recipe.module(devices)` is a diffusers `UNet2DConditionModel`.
        latent_scale: Factor from the VAE's space to the unit variance that the network was trained on.
        latent_channels: C.
        cfg_rescale: φ of `guidance.rescaled`, 0..1; of no effect on the model's answers.
        differential: Where a number, masks of a latent are thresholds; see `guidance.falling`. Likewise.
        latent_rgb: What previews of its latents look like; see `preview.SD1_RGB`. Likewise.
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)
    sampling: ModelSampling = field(default_factory=ModelSampling)
    latent_scale: float = 0.18215
    latent_channels: int = 4
    cfg_rescale: float = field(default=0.0, compare=False)
    differential: float | None = field(default=None, compare=False)
    latent_rgb: tuple[tuple[float, ...], ...] = field(default=SD1_RGB, compare=False, repr=False)

    def sigmas(
        self, scheduler: str, steps: int, denoise: float = 1.0, *, discard_penultimate: bool = False
    ) -> Tensor:
        """The noise levels of a run, [steps + 1]; see `schedules.denoising_sigmas`."""
        return denoising_sigmas(
            scheduler, self.sampling, steps, denoise, discard_penultimate=discard_penultimate
        )

    def fitted(self, samples: Tensor) -> Tensor:
        """Samples [B, C, h, w] with the model's number of channels, where they are empty (all zeros)."""
        channels = samples.shape[1]
        if channels == self.latent_channels or bool(samples.any()):
            return samples
        return samples.new_zeros(samples.shape[0], self.latent_channels, *samples.shape[2:])

    def batch_key(self, query: Query) -> Hashable:
        """Shapes, dtype and the ControlNets at work."""
        control = tuple((c.net, c.hint.shape) for c in query.control)
        return query.x.shape, query.x.dtype, query.context.shape, control

    def answer(self, queries: Sequence[Query]) -> Sequence[Tensor]:
        """The estimate of x0 for each row, float32, shaped as its x; the rows have equal batch keys."""
        unet = self.recipe.module(self.devices)
        device, dtype = torch.device(self.devices.device), next(unet.parameters()).dtype
        shape = queries[0].x.shape
        x = torch.stack([q.x.reshape(shape[-3:]) for q in queries]).to(device)
        sigma = torch.stack([q.sigma for q in queries]).float().cpu()
        timestep = self.sampling.timestep(sigma).to(device)
        context = torch.cat([q.context for q in queries]).to(device, dtype)
        seen = self.sampling.scaled(x, sigma).to(dtype)
        down, middle = self._steered(queries, seen, timestep, context)
        output = unet(
            seen,
            timestep,
            encoder_hidden_states=context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        rows = self.sampling.denoised(x.float(), sigma, output.float())
        return [row.reshape(shape) for row in rows.unbind()]

    def _steered(
        self, queries: Sequence[Query], seen: Tensor, timestep: Tensor, context: Tensor
    ) -> tuple[tuple[Tensor, ...] | None, Tensor | None]:
        """What the ControlNets of the rows add to the skip connections and to the middle block."""
        total: list[Tensor] = []
        for uses in zip(*(q.control for q in queries), strict=True):
            net: nn.Module = uses[0].net.recipe.module(self.devices)
            dtype = next(net.parameters()).dtype
            down, middle = net(
                seen.to(dtype),
                timestep,
                encoder_hidden_states=context.to(dtype),
                controlnet_cond=torch.cat([u.hint for u in uses]).to(seen.device, dtype),
                return_dict=False,
            )
            strength = torch.tensor([u.strength for u in uses], device=seen.device).reshape(-1, 1, 1, 1)
            added = [(residual * strength).to(seen.dtype) for residual in (*down, middle)]
            total = [a + b for a, b in zip(total, added, strict=True)] if total else added
        return (tuple(total[:-1]), total[-1]) if total else (None, None)
