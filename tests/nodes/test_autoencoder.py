"""The VAE against diffusers; whole pictures, tiles, and what is wrong with latents."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from engine.problems import NodeFailure
from engine.steps import Call, run_alone
from nodes import vae as nodes
from nodes.diffusion.autoencoder import Vae, Work, cropped
from nodes.ports import Cond, Conditioning, Latent
from tests.nodes.storybook import FOLDER, storybook


@pytest.fixture(scope="module")
def reference() -> Any:
    return AutoencoderKL.from_pretrained(
        FOLDER / "vae", local_files_only=True, torch_dtype=torch.float32
    ).eval()


def vae() -> Vae:
    return storybook().vae


def pictures(height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(2, height, width, channels, generator=torch.Generator().manual_seed(0))


def test_encoding_is_the_mean_of_the_posterior(reference: Any) -> None:
    pixels = pictures(32, 40)
    with torch.inference_mode():
        expected = reference.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mean
    latent = run_alone(nodes.vae_encode(pixels=pixels, vae=vae()))
    torch.testing.assert_close(latent.samples, expected)


def test_decoding_is_the_decoder_clamped_to_colours(reference: Any) -> None:
    samples = torch.randn(2, 4, 4, 5, generator=torch.Generator().manual_seed(0)) * 5
    with torch.inference_mode():
        expected = ((reference.decode(samples).sample + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(run_alone(nodes.vae_decode(samples=Latent(samples), vae=vae())), expected)


def test_alpha_is_dropped_and_sides_are_cut_about_the_centre() -> None:
    pixels = pictures(37, 46, channels=4)
    cut = pixels[:, 2:34, 3:43, :3]
    assert torch.equal(cropped(pixels)[..., :3], cut)
    whole = run_alone(nodes.vae_encode(pixels=pixels, vae=vae())).samples
    assert torch.equal(whole, run_alone(nodes.vae_encode(pixels=cut, vae=vae())).samples)


def test_pictures_in_company_are_encoded_as_alone() -> None:
    items = [Work("encode", p) for p in pictures(16, 16).movedim(-1, 1)]
    for together, item in zip(vae().answer(items), items, strict=True):
        torch.testing.assert_close(together, vae().answer([item])[0], rtol=1e-5, atol=1e-5)


def test_directions_and_shapes_do_not_share_a_batch() -> None:
    asked = [Work("encode", torch.zeros(3, 8, 8)), Work("decode", torch.zeros(3, 8, 8))]
    asked.append(Work("decode", torch.zeros(3, 8, 9)))
    assert len({vae().batch_key(work) for work in asked}) == 3


def test_a_picture_that_fits_one_tile_is_encoded_whole() -> None:
    pixels = pictures(64, 32)
    whole = run_alone(nodes.vae_encode(pixels=pixels, vae=vae())).samples
    tiled = run_alone(nodes.vae_encode_tiled(pixels=pixels, vae=vae(), tile_size=128)).samples
    torch.testing.assert_close(tiled, whole)


def test_tiles_come_near_to_the_whole() -> None:
    ramp = torch.linspace(0, 1, 160)
    pixels = torch.stack(
        [ramp[:, None] * ramp, ramp[:, None].expand(160, 160), ramp.expand(160, 160)], dim=-1
    )[None]
    latent = run_alone(nodes.vae_encode(pixels=pixels, vae=vae()))
    whole = run_alone(nodes.vae_decode(samples=latent, vae=vae()))
    tiled = run_alone(nodes.vae_decode_tiled(samples=latent, vae=vae(), tile_size=128, overlap=32))
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() < 0.02
    assert not torch.equal(tiled, whole)
    encoded = run_alone(nodes.vae_encode_tiled(pixels=pixels, vae=vae(), tile_size=128, overlap=32)).samples
    assert (encoded - latent.samples).abs().mean() < 0.1 * latent.samples.abs().mean()


def test_tiles_of_one_size_are_asked_together() -> None:
    steps = nodes.vae_decode_tiled(
        samples=Latent(torch.zeros(1, 4, 16, 16)), vae=vae(), tile_size=64, overlap=0
    )
    ask = next(steps)
    assert isinstance(ask, Call)
    assert [work.item.shape for work in ask.requests] == [(4, 8, 8)] * 4


@pytest.mark.parametrize(("overlap", "used"), [(64, 64), (192, 128)])
def test_an_overlap_of_more_than_a_quarter_is_cut(overlap: int, used: int) -> None:
    samples = Latent(torch.zeros(1, 4, 80, 80))
    first = [
        next(nodes.vae_decode_tiled(samples=samples, vae=vae(), tile_size=512, overlap=o))
        for o in (overlap, used)
    ]
    assert isinstance(first[0], Call)
    assert isinstance(first[1], Call)
    assert [w.item.shape for w in first[0].requests] == [w.item.shape for w in first[1].requests]


def test_a_latent_with_nan_and_one_of_another_kind_are_failures() -> None:
    samples = torch.zeros(3, 4, 2, 2)
    samples[1, 0, 0, 0] = torch.nan
    with pytest.raises(NodeFailure, match="at index 1 of the batch"):
        run_alone(nodes.vae_decode(samples=Latent(samples), vae=vae()))
    with pytest.raises(NodeFailure, match="16 channels, this VAE decodes 4"):
        run_alone(nodes.vae_decode(samples=Latent(torch.zeros(1, 16, 2, 2)), vae=vae()))


def hole(height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, 8:16, 16:20] = 0.8
    return mask


def test_inpainting_greys_the_hole_and_grows_the_mask() -> None:
    pixels, mask = pictures(32, 32)[:1], hole(32, 32)
    latent = run_alone(nodes.vae_encode_for_inpaint(pixels=pixels, vae=vae(), mask=mask, grow_mask_by=4))
    grey = torch.where(mask[..., None] > 0.5, torch.tensor(0.5), pixels)
    torch.testing.assert_close(latent.samples, run_alone(vae().encoded(grey)))
    assert latent.noise_mask is not None
    grown = latent.noise_mask[0, 0]
    assert latent.noise_mask.shape == (1, 1, 32, 32)
    assert set(grown.unique().tolist()) == {0.0, 1.0}
    assert (int(grown.sum()), int(grown[8:16, 16:20].sum())) == (11 * 7, 8 * 4)


def test_inpainting_without_growth_keeps_the_rounded_mask() -> None:
    latent = run_alone(
        nodes.vae_encode_for_inpaint(pixels=pictures(35, 32), vae=vae(), mask=hole(35, 32), grow_mask_by=0)
    )
    assert latent.noise_mask is not None
    assert torch.equal(latent.noise_mask[:, 0], hole(35, 32)[:, 1:33].round())


@pytest.mark.parametrize("noise_mask", [True, False])
def test_an_inpainting_model_is_told_of_the_hole(noise_mask: bool) -> None:
    pixels, mask = pictures(32, 32)[:1], hole(32, 32)
    side = Conditioning((Cond(torch.zeros(1, 77, 8)),))
    positive, negative, latent = run_alone(
        nodes.inpaint_model_conditioning(
            positive=side, negative=side, vae=vae(), pixels=pixels, mask=mask, noise_mask=noise_mask
        )
    )
    torch.testing.assert_close(latent.samples, run_alone(vae().encoded(pixels)))
    assert (latent.noise_mask is None) != noise_mask
    grey = run_alone(vae().encoded(nodes.greyed(pixels, mask.round())))
    for entry in (*positive.entries, *negative.entries):
        torch.testing.assert_close(entry.get("concat_latent_image"), grey)
        assert torch.equal(entry.get("concat_mask"), mask[:, None])


def test_the_ecosystem_calls_it_at_once() -> None:
    pixels = pictures(32, 40)
    latent = vae().encode(pixels)
    assert torch.equal(latent, run_alone(nodes.vae_encode(pixels=pixels, vae=vae())).samples)
    decoded = run_alone(nodes.vae_decode(samples=Latent(latent), vae=vae()))
    assert torch.equal(vae().decode(latent), decoded)
