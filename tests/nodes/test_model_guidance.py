"""Nodes that change how estimates are guided, and operations on latents."""

import torch

from nodes.diffusion.latent_operations import sharpened
from nodes.model_guidance import (
    apg,
    differential_diffusion,
    latent_apply_operation,
    latent_operation_sharpen,
    perturbed_attention_guidance,
    rescale_cfg,
)
from nodes.ports import Latent
from tests.nodes.networks import tiny_model


def test_settings_of_guidance_leave_the_model_the_same_for_batches() -> None:
    model = tiny_model()
    guided = (rescale_cfg(model=model), apg(model=model), perturbed_attention_guidance(model=model))
    thresholds = differential_diffusion(model=model)
    assert thresholds.differential == 1.0
    assert all(each.guidance and each == model for each in guided)
    assert model == thresholds


def test_steps_of_guidance_are_kept_in_the_order_of_the_nodes() -> None:
    model = apg(model=rescale_cfg(model=tiny_model(), multiplier=0.4))
    assert [type(step).__name__ for step in model.guidance] == ["Rescaled", "Projected"]


def test_an_operation_changes_a_latent_of_any_scale() -> None:
    samples = torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    operation = latent_operation_sharpen(sharpen_radius=3, sigma=0.7, alpha=0.5)
    result = latent_apply_operation(samples=Latent(samples), operation=operation)
    assert torch.equal(result.samples, sharpened(samples, 3, 0.7, 0.5))
