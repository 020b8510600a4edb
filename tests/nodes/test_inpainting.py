"""Inpainting: what the model sees of what is kept, and masks whose values are thresholds."""

import torch
from torch import Tensor

from engine.steps import run_alone
from nodes.diffusion.guidance import without_base
from nodes.diffusion.inpainting import falling, inpainted
from nodes.diffusion.sampling_space import ModelSampling
from tests.nodes.denoisers import asked_both

SIGMA = torch.tensor(2.0)


def test_inpainting_shows_the_kept_part_at_its_noise_level_and_returns_it_clean() -> None:
    seen: list[Tensor] = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(x)
        return torch.full_like(x, 9.0)

    latent, noise, x = (
        torch.full((1, 1, 2, 2), 3.0),
        torch.full((1, 1, 2, 2), 0.5),
        torch.full((1, 1, 2, 2), 7.0),
    )
    mask = torch.tensor([[1.0, 0.0], [0.5, 1.0]])[None, None]
    denoise = without_base(inpainted(asked_both(denoiser), latent, noise, ModelSampling(), lambda _: mask))
    result = run_alone(denoise(x, SIGMA))
    assert seen[0].flatten().tolist() == [7.0, 4.0, 5.5, 7.0]
    assert result.flatten().tolist() == [9.0, 3.0, 6.0, 9.0]


def test_a_falling_mask_frees_places_by_their_value() -> None:
    space, mask = ModelSampling(), torch.tensor([0.0, 0.3, 0.6, 1.0])
    sigmas = space.table[[999, 500, 200, 0]]
    at = falling(mask, sigmas, space, 1.0)
    assert [at(s).tolist() for s in sigmas] == [
        [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0],
    ]  # fmt: skip
    torch.testing.assert_close(falling(mask, sigmas, space, 0.0)(sigmas[0]), mask)
    assert falling(mask, sigmas[-1:], space, 1.0)(sigmas[-1]).tolist() == [1.0] * 4
