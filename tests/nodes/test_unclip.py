"""unCLIP: its picture vectors against ComfyUI and diffusers, its checkpoints, and its nodes."""

from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from engine.devices import Devices
from engine.problems import NodeFailure
from engine.steps import run_alone
from nodes import vision as nodes
from nodes.diffusion import families
from nodes.diffusion.added import Added, Scene
from nodes.diffusion.model import Query
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.unclip import Augmentor, PictureUse
from nodes.diffusion.vision import VisionOutput
from nodes.ports import Cond, Conditioning
from tests.nodes.ldm_files import save_sd1
from tests.nodes.storybook import files_under
from tests.nodes.vision_files import save_unclip

ONE, OTHER = [1.0, -2.0, 0.5, 0.25], [0.5, 0.5, -1.0, 2.0]


def shown(*rows: list[float]) -> VisionOutput:
    return VisionOutput(torch.tensor(rows), torch.zeros(len(rows), 5, 4), torch.zeros(len(rows), 5, 4))


def use(strength: float, amount: float, *rows: list[float]) -> PictureUse:
    return PictureUse(shown(*rows), strength, amount)


@pytest.mark.parametrize(
    ("pictures", "merged", "seed", "expected"),
    [
        (
            [use(0.7, 0.3, ONE)], 0.05, -7,
            [0.696009, -1.228106, 0.304235, 0.516711, -0.015468, -0.692995, -0.699829, 0.098784],
        ),
        (
            [use(1.0, 0.0, ONE), use(-0.6, 0.2, OTHER)], 0.05, 90,
            [1.194911, -2.359096, 1.137045, -1.033162, 0.964966, 0.877583, -0.262375, 0.479426],
        ),
        (
            [use(1.0, 0.5, ONE, OTHER)], 0.05, 90,
            [-2.125733, -0.070279, -0.644639, 3.031817, 0.964966, 0.877583, -0.262375, 0.479426],
        ),
        (
            [use(1.0, 0.0, ONE), use(-0.6, 0.2, OTHER)], 0.0, 90,
            [1.142704, -2.40428, 1.113205, -1.070562, 1.0, 1.0, 0.0, 0.0],
        ),
    ],
    ids=["one", "two", "a batch", "two without noise on the sum"],
)  # fmt: skip
def test_vectors_are_those_of_comfyui(
    pictures: list[PictureUse], merged: float, seed: int, expected: list[float]
) -> None:
    vector = Augmentor(4, merged).vector(pictures, seed)
    torch.testing.assert_close(vector, torch.tensor([expected]), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("amount", "level"), [(0.0, 0), (0.25, 250), (1.0, 999)])
def test_one_picture_is_noised_as_by_diffusers(amount: float, level: int) -> None:
    embedding = torch.randn(1, 768, generator=torch.Generator().manual_seed(5))
    vector = Augmentor(768).vector([use(0.5, amount, embedding[0].tolist())], seed=3)
    noise = torch.randn(1, 768, generator=torch.Generator().manual_seed(3))
    at = torch.tensor([level])
    noised = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").add_noise(embedding, noise, at)  # type: ignore[arg-type]
    told = get_timestep_embedding(at, 768, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(vector, 0.5 * torch.cat([noised, told], dim=1), rtol=1e-4, atol=1e-4)


def test_without_a_picture_the_vector_is_zero() -> None:
    assert torch.equal(Augmentor(4).vector((), 0), torch.zeros(1, 8))


def test_an_embedding_of_another_encoder_is_refused() -> None:
    with pytest.raises(NodeFailure, match="takes picture embeddings of 1024 numbers; these have 4"):
        Augmentor(1024).vector([use(1.0, 0.0, ONE)], 0)


def entry(*pictures: PictureUse) -> Cond:
    return Cond(torch.zeros(1, 77, 8), torch.ones(1, 1280)).with_options(unclip_conditioning=pictures)


def vector(added: Added, cond: Cond, seed: int = 100) -> Tensor:
    made = added.vector_of(cond, Scene(torch.zeros(1, 4, 6, 10), seed=seed), negative=False)
    assert made is not None
    return made


def test_the_noise_follows_the_seed_of_the_run() -> None:
    added, picture = Added("unclip", width=8), use(1.0, 0.5, ONE)
    assert torch.equal(vector(added, entry(picture), 100), Augmentor(4).vector([picture], 90))
    assert not torch.equal(vector(added, entry(picture), 100), vector(added, entry(picture), 101))
    assert vector(added, entry(picture), 3).isfinite().all()


@pytest.mark.parametrize(("line", "width"), [("sdxl", 2816), ("refiner", 2560)])
def test_sdxl_sees_pictures_in_place_of_the_pooled_text(line: str, width: int) -> None:
    added = Added(line, width=width)  # type: ignore[arg-type]
    pictures = [use(1.0, 0.2, torch.rand(1280).tolist()), use(0.5, 0.0, torch.rand(1280).tolist())]
    plain, seen = vector(added, entry()), vector(added, entry(*pictures))
    assert torch.equal(seen[:, 1280:], plain[:, 1280:])
    assert torch.equal(plain[:, :1280], torch.ones(1, 1280))
    assert torch.equal(seen[:, :1280], Augmentor(1280, merged=0.0).vector(pictures, 90)[:, :1280])


@pytest.mark.parametrize(("size", "width"), [("H", 1024), ("L", 768)])
def test_a_checkpoint_gives_all_four_parts(size: str, width: int, tmp_path: Path) -> None:
    save_unclip(tmp_path / "models" / "checkpoints" / "one.safetensors", size)
    files, devices = files_under(tmp_path), Devices("cpu")
    parts = nodes.unclip_checkpoint_loader(ckpt_name="one.safetensors", files=files, devices=devices)
    model, clip, vae, encoder = parts
    path = tmp_path / "models" / "checkpoints" / "one.safetensors"
    whole = families.checkpoint(path, files.digest("checkpoints", "one.safetensors"), devices)
    assert (model, clip, vae) == (whole.model, whole.clip, whole.vae)
    assert (model.sampling, [tower.name for tower in clip.towers]) == (ModelSampling("v_prediction"), ["h"])
    x, sigma, context = torch.randn(1, 4, 8, 8), torch.tensor(2.0), torch.randn(1, 77, 1024)
    with torch.inference_mode():
        seen = run_alone(
            nodes.clip_vision_encode(clip_vision=encoder, image=torch.rand(1, 9, 9, 3), crop="center")
        )
        assert seen.image_embeds.shape == (1, width)
        vectors = [vector(model.added, entry(*uses)) for uses in ((), (PictureUse(seen, 1.0, 0.0),))]
        without, given = model.answer([Query(x, sigma, context, vector=told) for told in vectors])
    assert not torch.allclose(without, given)


def test_a_checkpoint_with_a_narrow_bias_predicts_noise(tmp_path: Path) -> None:
    save_unclip(tmp_path / "one.safetensors", spread=0.05)
    found = families.checkpoint(tmp_path / "one.safetensors", "one", Devices("cpu"))
    assert (found.model.sampling, found.model.added.vector) == (ModelSampling(), "unclip")


def test_a_plain_checkpoint_is_no_unclip_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    save_sd1(tmp_path / "models" / "checkpoints" / "sd.safetensors")
    for name in ("sd.safetensors", "storybook"):
        with pytest.raises(NodeFailure, match=f"{name} is no unCLIP checkpoint"):
            nodes.unclip_checkpoint_loader(
                ckpt_name=name, files=files_under(tmp_path), devices=Devices("cpu")
            )


def test_pictures_follow_each_other_and_strength_0_leaves_one_out() -> None:
    start = Conditioning((Cond(torch.zeros(1, 77, 8)),))
    one = nodes.unclip_conditioning(
        conditioning=start, clip_vision_output=shown(ONE), noise_augmentation=0.25
    )
    two = nodes.unclip_conditioning(conditioning=one, clip_vision_output=shown(OTHER), strength=-0.5)
    uses = [(u.strength, u.noise_augmentation) for u in two.entries[0].get("unclip_conditioning", ())]
    assert uses == [(1.0, 0.25), (-0.5, 0.0)]
    assert nodes.unclip_conditioning(conditioning=one, clip_vision_output=shown(OTHER), strength=0) is one
    assert start.entries[0].get("unclip_conditioning", ()) == ()
