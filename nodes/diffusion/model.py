"""A diffusion model as the engine sees it: rows in, denoised rows out, rows of many jobs in one pass."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from engine.devices import Devices
from engine.ports import Port
from nodes.diffusion.added import NOTHING, Added
from nodes.diffusion.control import ControlRow, Seen, steered
from nodes.diffusion.guiding import GuidanceStep
from nodes.diffusion.latent_format import SD1, LatentFormat
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.schedules import denoising_sigmas
from nodes.diffusion.weights import Recipe, Structure, compute_dtype


@dataclass(frozen=True, eq=False)
class Query:
    """One row to be denoised.

    Args:
        x: [1, C, h, w], or [C, h, w], at noise level `sigma`.
        sigma: [].
        context: [1, T, D] token embeddings.
        control: The ControlNets active at this level; what they add is summed.
        vector: [1, A], what the model is told beside the text, where it has an entry for that.
        concat: [1, C', h, w], further input channels, where the model has them; not noisy.
    """

    x: Tensor
    sigma: Tensor
    context: Tensor
    control: tuple[ControlRow, ...] = ()
    vector: Tensor | None = None
    concat: Tensor | None = None


@dataclass(frozen=True)
class Gated:
    """A change of how the network computes that acts from one noise level down to another.

    Args:
        start: The σ at and below which it acts.
        end: The σ at and above which it acts.
    """

    structure: Structure
    start: float
    end: float


@Port("MODEL")
@dataclass(frozen=True)
class Model:
    """A denoiser: a recipe of weights, and how noise levels are told to it.

    Models that compare equal compute the same, and share batches.

    Args:
        recipe: `recipe.module(devices)` is a diffusers `UNet2DConditionModel`.
        latent: The space that it denoises in.
        added: What it is told beside the text.
        guidance: How its estimates are guided, in order; of no effect on the model's answers.
        gated: Changes that act only at some noise levels; see `at`. Likewise.
        differential: Where a number, masks of a latent are thresholds; see `inpainting.falling`. Likewise.
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)
    sampling: ModelSampling = field(default_factory=ModelSampling)
    latent: LatentFormat = SD1
    added: Added = NOTHING
    guidance: tuple[GuidanceStep, ...] = field(default=(), compare=False)
    gated: tuple[Gated, ...] = field(default=(), compare=False)
    differential: float | None = field(default=None, compare=False)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return compute_dtype(self.recipe.part, self.devices)

    def at(self, sigma: float) -> "Model":
        """The model to ask at a noise level: with the changes that act there."""
        if not self.gated:
            return self
        acting = [gated.structure for gated in self.gated if gated.end <= sigma <= gated.start]
        return replace(self, recipe=self.recipe.patched(*acting), gated=())

    def patched(self, *structures: Structure) -> "Model":
        """The same model, its network computing otherwise with the same weights."""
        return replace(self, recipe=self.recipe.patched(*structures))

    def guided_by(self, *steps: GuidanceStep) -> "Model":
        """The same model with more steps of guidance, after those that it has."""
        return replace(self, guidance=(*self.guidance, *steps))

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
        if channels == self.latent.channels or bool(samples.any()):
            return samples
        return samples.new_zeros(samples.shape[0], self.latent.channels, *samples.shape[2:])

    def batch_key(self, query: Query) -> Hashable:
        """Shapes, dtype and the ControlNets at work."""
        control = tuple((c.net, c.hint.picture.shape) for c in query.control)
        beside = query.vector is None, query.concat is None
        return query.x.shape, query.x.dtype, query.context.shape, beside, control

    def answer(self, queries: Sequence[Query]) -> Sequence[Tensor]:
        """The estimate of x0 for each row, float32, shaped as its x; the rows have equal batch keys."""
        return self.answered_by(self.recipe.module(self.devices), queries)

    def answered_by(self, unet: nn.Module, queries: Sequence[Query]) -> Sequence[Tensor]:
        """As `answer`, by the network of its recipe at hand."""
        device, dtype = torch.device(self.devices.device), next(unet.parameters()).dtype
        shape = queries[0].x.shape
        x = torch.stack([q.x.reshape(shape[-3:]) for q in queries]).to(device)
        sigma = torch.stack([q.sigma for q in queries]).float().cpu()
        timestep = self.sampling.timestep(sigma).to(device)
        context = torch.cat([q.context for q in queries]).to(device, dtype)
        seen = self.sampling.scaled(x, sigma).to(dtype)
        vector = _joined([q.vector for q in queries], seen)
        control = steered([q.control for q in queries], Seen(self.recipe, seen, timestep, context, vector))
        concat = _joined([q.concat for q in queries], seen)
        output = unet(
            seen if concat is None else torch.cat([seen, concat], dim=1),
            timestep,
            encoder_hidden_states=context,
            class_labels=vector,
            **control.as_inputs(),
            return_dict=False,
        )[0]
        rows = self.sampling.denoised(x.float(), sigma, output.float())
        return [row.reshape(shape) for row in rows.unbind()]


def _joined(rows: Sequence[Tensor | None], like: Tensor) -> Tensor | None:
    """The rows as one batch, or None where they have none; all of them or none of them do."""
    held = [row for row in rows if row is not None]
    return torch.cat(held).to(like) if held else None
