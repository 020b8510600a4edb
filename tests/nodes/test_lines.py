"""Stable Diffusion 2.x, SDXL and its refiner: recognition, and networks and text against diffusers'."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.devices import Devices
from engine.problems import NodeFailure
from engine.steps import run_alone
from nodes.diffusion import families
from nodes.diffusion.added import Scene
from nodes.diffusion.families import Checkpoint, towers
from nodes.diffusion.latent_format import PLAYGROUND, SD1, SDXL
from nodes.diffusion.levels import Continuous, Discrete
from nodes.diffusion.model import Query
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.text import Clip, Tower
from nodes.ports import Cond
from tests.nodes.xl_files import WIDTH, save_refiner, save_sd2, save_sdxl, text_encoder

SHAPE = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": [WIDTH] * 3, "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 3], "attention_head_dim": [1, 1, 1],
    "use_linear_projection": True, "cross_attention_dim": 2048, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xl") / "xl.safetensors"
    save_sdxl(path)
    return path


def opened(path: Path) -> Checkpoint:
    return families.checkpoint(path, path.stem, Devices("cpu"))


def theirs(path: Path) -> Any:
    unet = UNet2DConditionModel.from_config(SHAPE).eval()
    state = convert_ldm_unet_checkpoint(load_file(path), unet.config)
    unet.load_state_dict({key: value.float() for key, value in state.items()})
    return unet


def test_sdxl_computes_as_diffusers_from_the_same_file(sdxl: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    x, sigma = torch.randn(1, 4, 8, 8, generator=draw), torch.tensor(2.0)
    context, pooled = torch.randn(1, 77, 2048, generator=draw), torch.randn(1, 1280, generator=draw)
    model = opened(sdxl).model
    sizes = {"width": 96, "height": 64, "crop_w": 8, "crop_h": 16, "target_width": 80, "target_height": 72}
    entry = Cond(context, pooled).with_options(**sizes)
    vector = model.added.vector_of(entry, Scene(x), negative=False)
    with torch.inference_mode():
        (ours,) = model.answer([Query(x, sigma, context, vector=vector)])
        output = theirs(sdxl)(
            x / (sigma**2 + 1).sqrt(),
            model.sampling.timestep(sigma),
            encoder_hidden_states=context,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": torch.tensor([[64, 96, 16, 8, 72, 80]])},
        ).sample
    torch.testing.assert_close(ours, x - sigma * output)
    assert (model.latent, model.sampling) == (SDXL, ModelSampling())


def test_sizes_that_are_not_said_are_the_pictures(sdxl: Path) -> None:
    added, scene, pooled = opened(sdxl).model.added, Scene(torch.zeros(1, 4, 6, 10)), torch.ones(1, 1280)
    whole = {"width": 80, "height": 48, "target_width": 80, "target_height": 48, "crop_w": 0, "crop_h": 0}
    plain, said = (
        added.vector_of(entry, scene, negative=False)
        for entry in (Cond(pooled, pooled), Cond(pooled, pooled).with_options(**whole))
    )
    assert plain is not None
    assert said is not None
    assert plain.shape == (1, 2816)
    assert torch.equal(plain, said)


def test_both_text_encoders_are_those_of_transformers(sdxl: Path) -> None:
    (entry,) = run_alone(opened(sdxl).clip.encoded("a red house")).entries
    clip = opened(sdxl).clip
    ids = clip._tokenizer(0).ids("a red house")
    rows = {0: [49406, *ids, *[49407] * (76 - len(ids))], 1: [49406, *ids, 49407, *[0] * (75 - len(ids))]}
    parts = []
    with torch.inference_mode():
        for i, (width, projects) in enumerate(((768, False), (1280, True))):
            network = text_encoder(width, projects=projects).half().float()
            out = network(torch.tensor([rows[i]]), output_hidden_states=True)
            parts.append(out.hidden_states[-2])
    torch.testing.assert_close(entry.embedding, torch.cat(parts, dim=-1))
    torch.testing.assert_close(entry.pooled, out.text_embeds)


def test_prompts_of_unequal_length_are_filled_with_empty_chunks(sdxl: Path) -> None:
    clip = opened(sdxl).clip
    long = "house " * 100
    (entry,) = run_alone(clip.encoded({"l": "a", "g": long})).entries
    (alone,) = run_alone(clip.encoded("a")).entries
    (empty,) = run_alone(clip.encoded("")).entries
    assert entry.embedding.shape == (1, 154, 2048)
    assert torch.equal(entry.embedding[:, :77, :768], alone.embedding[..., :768])
    torch.testing.assert_close(entry.embedding[:, 77:, :768], empty.embedding[..., :768])
    assert run_alone(clip.encoded(long)).entries[0].embedding.shape == (1, 154, 2048)


def test_the_refiner_takes_a_score_that_is_low_for_what_to_avoid(tmp_path: Path) -> None:
    save_refiner(tmp_path / "r.safetensors")
    found = opened(tmp_path / "r.safetensors")
    assert [tower.name for tower in found.clip.towers] == ["g"]
    scene, pooled = Scene(torch.zeros(1, 4, 6, 10)), torch.ones(1, 1280)
    vectors = {
        (negative, score): found.model.added.vector_of(
            Cond(pooled, pooled).with_options(**({"aesthetic_score": score} if score else {})),
            scene,
            negative=negative,
        )
        for negative in (True, False)
        for score in (None, 2.5, 6.0)
    }
    assert vectors[False, None] is not None
    assert vectors[False, None].shape == (1, 2560)
    for negative, score in ((True, 2.5), (False, 6.0)):
        assert torch.equal(cast(vectors[negative, None]), cast(vectors[negative, score]))
    assert not torch.equal(cast(vectors[True, None]), cast(vectors[False, None]))


def cast(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


@pytest.mark.parametrize(("spread", "prediction"), [(None, "eps"), (0.05, "eps"), (0.2, "v_prediction")])
def test_a_bias_tells_what_stable_diffusion_2_predicts(
    tmp_path: Path, spread: float | None, prediction: str
) -> None:
    save_sd2(tmp_path / "2.safetensors", spread=spread)
    found = opened(tmp_path / "2.safetensors")
    assert (found.model.sampling.prediction, found.model.latent) == (prediction, SD1)
    (tower,) = found.clip.towers
    assert (tower.name, tower.layer, tower.normed, tower.pad) == ("h", -2, True, 0)


@pytest.mark.parametrize(
    ("markers", "sampling", "latent"),
    [
        (["v_pred"], ModelSampling("v_prediction"), SDXL),
        (["v_pred", "ztsnr"], ModelSampling("v_prediction", Discrete(zero_snr=True)), SDXL),
        (["edm_mean", "edm_std"], ModelSampling("edm", Continuous(0.002, 80.0), 0.5), PLAYGROUND),
        (["edm_vpred.sigma_max"], ModelSampling("v_prediction", Continuous(0.002, 30.0)), SDXL),
    ],
)
def test_marker_keys_tell_what_an_sdxl_checkpoint_predicts(
    tmp_path: Path, markers: list[str], sampling: ModelSampling, latent: object
) -> None:
    save_sdxl(tmp_path / "x.safetensors", **{marker: torch.tensor(30.0) for marker in markers})
    model = opened(tmp_path / "x.safetensors").model
    assert (model.sampling, model.latent) == (sampling, latent)


def test_an_inpainting_unet_is_shown_the_mask_and_the_picture_around_it(tmp_path: Path) -> None:
    save_sdxl(tmp_path / "i.safetensors", channels=9)
    model = opened(tmp_path / "i.safetensors").model
    latent, hole = torch.ones(2, 4, 4, 4), torch.zeros(1, 1, 32, 32)
    hole[..., 16:] = 1
    picture = torch.full((1, 4, 4, 4), 3.0)
    entry = Cond(torch.ones(1, 77, 2048)).with_options(concat_latent_image=picture, concat_mask=hole)
    concat = cast(model.added.concat_of(entry, Scene(latent), model.latent.scaled))
    assert concat.shape == (2, 5, 4, 4)
    assert torch.equal(concat[:, 0, 0], torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2))
    torch.testing.assert_close(concat[:, 1:], picture.expand(2, 4, 4, 4) * 0.13025)


def test_text_encoders_in_files_of_their_own_make_sdxls_pair(sdxl: Path, tmp_path: Path) -> None:
    for name, width in (("clip_l", 768), ("clip_g", 1280)):
        save_file(text_encoder(width, projects=width > 768).state_dict(), tmp_path / f"{name}.safetensors")
    one, other = (
        families.text_encoder(tmp_path / f"{name}.safetensors", name, Devices("cpu"))
        for name in ("clip_g", "clip_l")
    )
    pair = towers.sdxl(one, other)
    ours, whole = (run_alone(clip.encoded("a red house")).entries[0] for clip in (pair, opened(sdxl).clip))
    torch.testing.assert_close(ours.embedding, whole.embedding, rtol=1e-2, atol=1e-2)  # the file is in half
    torch.testing.assert_close(ours.pooled, whole.pooled, rtol=1e-2, atol=1e-2)
    with pytest.raises(NodeFailure, match="CLIP-L and OpenCLIP-bigG"):
        towers.sdxl(one, one)


def test_clip_skip_of_sdxl_norms_nothing(sdxl: Path) -> None:
    clip = opened(sdxl).clip
    last, before = (run_alone(c.encoded("a")).entries[0].embedding for c in (clip.ending_at(-1), clip))
    network: Any = clip.towers[0].recipe.module(Devices("cpu"))
    inner = getattr(network, "text_model", network)
    ids = torch.tensor([[49406, *clip._tokenizer(0).ids("a"), *[49407] * 75]])
    with torch.inference_mode():
        out = inner(ids, output_hidden_states=True)
    torch.testing.assert_close(last[..., :768], out.hidden_states[-1])
    torch.testing.assert_close(before[..., :768], out.hidden_states[-2])


def test_a_diffusers_folder_of_sdxl_is_the_single_file(sdxl: Path, tmp_path: Path) -> None:
    folder, whole = tmp_path / "xl", theirs(sdxl)
    whole.save_pretrained(folder / "unet")
    text_encoder(768, projects=False).save_pretrained(folder / "text_encoder")
    text_encoder(1280, projects=True).save_pretrained(folder / "text_encoder_2")
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text(json.dumps({"scaling_factor": 0.13025}))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}))
    parts = {
        "unet": "UNet2DConditionModel", "text_encoder": "CLIPTextModel", "vae": "AutoencoderKL",
        "text_encoder_2": "CLIPTextModelWithProjection",
    }  # fmt: skip
    index = {"_class_name": "StableDiffusionXLPipeline"} | {k: ["x", v] for k, v in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index))
    ours, single = opened(folder), opened(sdxl)
    assert (ours.model.added, ours.model.latent) == (single.model.added, single.model.latent)
    state = ours.model.recipe.module(Devices("cpu")).state_dict()
    expected = single.model.recipe.module(Devices("cpu")).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    names = [(tower.name, tower.recipe.part) for tower in ours.clip.towers]
    assert names == [("l", "text_encoder"), ("g", "text_encoder_2")]


def test_towers_compare_by_what_they_compute() -> None:
    recipe = Clip((Tower(cast_recipe("a"), Path()),), Devices("cpu"))
    assert recipe == Clip((Tower(cast_recipe("a"), Path("elsewhere")),), Devices("cpu"))
    assert recipe != recipe.ending_at(-2)


def cast_recipe(digest: str) -> Any:
    from nodes.diffusion.weights import Recipe

    return Recipe(digest, "text_encoder", "stable_diffusion", Path())
