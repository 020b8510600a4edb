"""Saved models: what loads back is what was saved, under the keys that the ecosystem's files have."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.devices import Devices
from engine.files import Files
from engine.ports import Shown
from engine.problems import NodeFailure
from nodes import loaders, text_loaders
from nodes import model_merging as merging
from nodes import model_saving as saves
from nodes.diffusion import saving
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.extraction import extracted, low_rank
from nodes.diffusion.families import open_clip
from nodes.diffusion.levels import Continuous, Discrete
from nodes.diffusion.lora import LoraPatch, LoraWeights
from nodes.diffusion.model import Model
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.text import Clip, Tower
from tests.nodes.ldm_files import save_sd1
from tests.nodes.networks import Ready

SDXL_CONFIG = {
    "cross_attention_dim": 2048, "projection_class_embeddings_input_dim": 2816, "use_linear_projection": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tiny checkpoints, which saved files are moved to."""
    base = tmp_path_factory.mktemp("base")
    for role in ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras"):
        (base / "models" / role).mkdir(parents=True)
    for name, seed in (("one", 0), ("two", 1)):
        save_sd1(base / "models" / "checkpoints" / f"{name}.safetensors", seed)
    return base


@pytest.fixture(scope="module")
def devices() -> Devices:
    return Devices("cpu")


Parts = tuple[Model, Clip, Vae]


def loaded(base: Path, devices: Devices, name: str = "one.safetensors") -> Parts:
    return loaders.checkpoint_loader_simple(ckpt_name=name, files=Files.under(base), devices=devices)


def file(base: Path, shown: Shown[None]) -> Path:
    (link,) = shown.ui["models"]
    path = Files.under(base).saved(link)
    assert path
    return path


def moved(base: Path, shown: Shown[None], role: str) -> str:
    """The name under which a saved file can be loaded."""
    path = file(base, shown)
    return path.replace(base / "models" / role / f"saved_{path.name}").name


def weights(*held: Any) -> dict[str, Tensor]:
    return {
        f"{type(x).__name__}.{name}": value
        for x in held
        for recipe in ([x.recipe] if hasattr(x, "recipe") else [t.recipe for t in x.towers])
        for name, value in recipe.module(x.devices).named_parameters()
    }


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_checkpoint_loads_back_to_the_same_bits(base: Path, devices: Devices) -> None:
    model, clip, vae = loaded(base, devices)
    shown = saves.checkpoint_save(model=model, clip=clip, vae=vae, files=Files.under(base))
    assert (shown.ui["models"][0]["subfolder"], shown.ui["models"][0]["filename"]) == (
        "checkpoints", "ComfyUI_00001_.safetensors",
    )  # fmt: skip
    held = load_file(file(base, shown))
    first = load_file(base / "models" / "checkpoints" / "one.safetensors")
    assert_equal(held, {key: value.float() for key, value in first.items()})
    again = loaded(base, devices, moved(base, shown, "checkpoints"))
    assert_equal(weights(*again), weights(model, clip, vae))


def test_a_merge_is_saved_merged(base: Path, devices: Devices) -> None:
    one, two = loaded(base, devices), loaded(base, devices, "two.safetensors")
    model = merging.model_merge_simple(model1=one[0], model2=two[0], ratio=0.3)
    clip = merging.clip_merge_simple(clip1=one[1], clip2=two[1], ratio=0.6)
    shown = saves.checkpoint_save(model=model, clip=clip, vae=one[2], files=Files.under(base))
    again = loaded(base, devices, moved(base, shown, "checkpoints"))
    assert_equal(weights(*again), weights(model, clip, one[2]))
    assert not torch.equal(*(w["Model.conv_in.weight"] for w in (weights(*again), weights(*one))))


def test_parts_are_saved_alone_and_load_alone(base: Path, devices: Devices) -> None:
    model, clip, vae = loaded(base, devices)
    files: Any = {"files": Files.under(base)}
    given: Any = {**files, "devices": devices}
    name = moved(base, saves.model_save(model=model, **files), "diffusion_models")
    assert_equal(
        weights(loaders.unet_loader(unet_name=name, weight_dtype="default", **given)), weights(model)
    )
    name = moved(base, saves.clip_save(clip=clip, **files), "text_encoders")
    assert name == "saved_ComfyUI_clip_l_00001_.safetensors"
    again = text_loaders.clip_loader(clip_name=name, type="stable_diffusion", **given)
    assert_equal(weights(again), weights(clip))
    shown = saves.vae_save(vae=vae, **files)
    assert all(
        key.startswith(("encoder.", "decoder.", "quant", "post_q")) for key in load_file(file(base, shown))
    )
    name = moved(base, shown, "vae")
    assert_equal(weights(loaders.vae_loader(vae_name=name, **given)), weights(vae))


def test_files_say_what_made_them_and_are_numbered(base: Path, devices: Devices) -> None:
    model, _, _ = loaded(base, devices)
    prompt, extra = {"1": {"class_type": "X"}}, {"workflow": {"nodes": []}}
    given: Any = {"model": model, "filename_prefix": "told/x", "files": Files.under(base)}
    first, second = (saves.model_save(prompt=prompt, extra_pnginfo=extra, **given) for _ in range(2))
    assert [file(base, shown).name for shown in (first, second)] == [
        "x_00001_.safetensors",
        "x_00002_.safetensors",
    ]
    with safe_open(file(base, first), "pt") as opened:
        told = opened.metadata()
    assert json.loads(told["prompt"]) == prompt
    assert json.loads(told["workflow"]) == extra["workflow"]
    assert told["modelspec.architecture"] == "stable-diffusion-v1"
    assert told["modelspec.predict_key"] == "epsilon"
    assert told["modelspec.title"] == "x"


class Configured(nn.Module):
    """No network, but the configuration of one."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config


@pytest.mark.parametrize(
    ("sampling", "keys"),
    [
        (ModelSampling(), set()),
        (ModelSampling("v_prediction"), {"v_pred"}),
        (ModelSampling("v_prediction", Discrete(zero_snr=True)), {"v_pred", "ztsnr"}),
        (
            ModelSampling("v_prediction", Continuous(0.01, 90.0)),
            {"edm_vpred.sigma_min", "edm_vpred.sigma_max"},
        ),
    ],
)
def test_sdxl_tells_its_noise_levels_by_marker_keys(sampling: ModelSampling, keys: set[str]) -> None:
    model = Model(cast(Any, Ready("sdxl", Configured(SDXL_CONFIG))), Devices("cpu"), sampling)
    held = saving.checkpoint_tensors(model, None, None)
    assert held.keys() == keys
    if "edm_vpred.sigma_max" in held:
        assert float(held["edm_vpred.sigma_max"]) == 90.0
    predicted = {"v_prediction": "v"}.get(sampling.prediction, "epsilon")
    assert saving.description(model, "x")["modelspec.predict_key"] == predicted


def opened() -> dict[str, Tensor]:
    """A text encoder of two layers under OpenCLIP's names."""
    draw = torch.Generator().manual_seed(0)
    block = {
        "ln_1.weight": (4,), "ln_1.bias": (4,), "ln_2.weight": (4,), "ln_2.bias": (4,),
        "attn.in_proj_weight": (12, 4), "attn.in_proj_bias": (12,),
        "attn.out_proj.weight": (4, 4), "attn.out_proj.bias": (4,), "mlp.c_fc.weight": (8, 4),
        "mlp.c_fc.bias": (8,), "mlp.c_proj.weight": (4, 8), "mlp.c_proj.bias": (4,),
    }  # fmt: skip
    shapes = {
        "token_embedding.weight": (5, 4), "positional_embedding": (3, 4), "text_projection": (4, 6),
        "ln_final.weight": (4,), "ln_final.bias": (4,),
        **{f"transformer.resblocks.{i}.{name}": shape for i in range(2) for name, shape in block.items()},
    }  # fmt: skip
    return {key: torch.randn(shape, generator=draw) for key, shape in shapes.items()}


def test_open_clips_names_are_given_back() -> None:
    assert_equal(saving._open_clip(open_clip.renamed(opened())), opened())


def clip_of(*names: str) -> Clip:
    """The text encoders of a model, all of the same few weights."""
    network = nn.Module()
    for name, value in open_clip.renamed(opened()).items():
        *path, leaf = (name if name.startswith("text_projection") else f"text_model.{name}").split(".")
        owner = network
        for step in path:
            if not hasattr(owner, step):
                owner.add_module(step, nn.Module())
            owner = owner.get_submodule(step)
        owner.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    towers = (Tower(cast(Any, Ready(name, network)), Path(), cast(Any, name)) for name in names)
    return Clip(tuple(towers), Devices("cpu"))


@pytest.mark.parametrize(
    ("names", "prefixes"),
    [
        (("l",), ["cond_stage_model.transformer.text_model."]),
        (("h",), ["cond_stage_model.model."]),
        (("l", "g"), ["conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."]),
        (("g",), ["conditioner.embedders.0.model."]),
    ],
)
def test_text_encoders_stand_where_their_line_has_them(names: tuple[str, ...], prefixes: list[str]) -> None:
    found = dict(saving._embedders(clip_of(*names)))
    assert list(found) == prefixes
    for prefix, held in found.items():
        expected = open_clip.renamed(opened()) if "transformer" in prefix else opened()
        expected.pop("text_projection.weight", None)
        assert_equal(held, expected)


def test_each_text_encoder_is_a_file_of_its_own(base: Path) -> None:
    shown = saves.clip_save(clip=clip_of("l", "g"), filename_prefix="two/x", files=Files.under(base))
    assert [link["filename"] for link in shown.ui["models"]] == [
        "x_clip_l_00001_.safetensors", "x_clip_g_00001_.safetensors",
    ]  # fmt: skip
    held = load_file(base / "output" / "two" / "x_clip_g_00001_.safetensors")
    expected = open_clip.renamed(opened())
    projection = {"text_projection.weight": expected.pop("text_projection.weight")}
    assert_equal(held, {f"text_model.{name}": value for name, value in expected.items()} | projection)


def test_a_network_without_names_in_the_layout_is_refused() -> None:
    with pytest.raises(NodeFailure, match=r"no name for weird\.bias"):
        saving.unet_tensors(nn.ModuleDict({"weird": nn.Linear(2, 2)}))


def test_a_difference_saved_whole_brings_the_second_model_to_the_first(base: Path, devices: Devices) -> None:
    one, two = loaded(base, devices), loaded(base, devices, "two.safetensors")
    difference = merging.model_merge_subtract(model1=one[0], model2=two[0])
    texts = merging.clip_merge_subtract(clip1=one[1], clip2=two[1])
    shown = saves.lora_save(
        lora_type="full_diff", model_diff=difference, text_encoder_diff=texts, files=Files.under(base)
    )
    moved(base, shown, "loras")
    name = "saved_ComfyUI_extracted_lora_00001_.safetensors"
    model, clip = loaders.lora_loader(model=two[0], clip=two[1], lora_name=name, files=Files.under(base))
    expected = weights(one[0], one[1])
    found = weights(model, clip)
    assert max(float((found[n] - v).abs().max()) for n, v in expected.items()) < 4e-3  # it is kept in half


def test_a_change_of_low_rank_is_extracted_and_applied(base: Path, devices: Devices) -> None:
    draw = torch.Generator().manual_seed(0)
    change = torch.randn(32, 3, generator=draw) @ torch.randn(3, 9 * 32, generator=draw)
    weight = {"diffusion_model.input_blocks.1.0.in_layers.2.weight": change.reshape(32, 32, 3, 3)}
    held = dict(extracted(weight, 3, biases=True))
    model = loaded(base, devices)[0]
    name = "down_blocks.0.resnets.0.conv1.weight"
    changed = LoraPatch("d", "x", 1.0, held).on(model.recipe).module(devices)
    got = dict(changed.named_parameters())[name] - dict(model.recipe.module(devices).named_parameters())[name]
    torch.testing.assert_close(got, change.reshape(got.shape), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 8, 3, 3), (64, 4, 3, 3), (4, 300)])
def test_the_factors_are_the_nearest_of_their_rank(shape: tuple[int, ...]) -> None:
    change = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    up, down = low_rank(change, 6)
    rank = min(6, shape[0])
    assert up.shape == (shape[0], rank, *[1] * (len(shape) - 2))
    assert down.shape == (rank, *shape[1:])
    s = torch.linalg.svdvals(change.flatten(1).double())
    left = (change.flatten(1) - up.flatten(1) @ down.flatten(1)).norm()
    assert float(left) == pytest.approx(float(s[rank:].norm()), rel=1e-5, abs=1e-4)


def test_what_a_lora_holds_depends_on_its_kind() -> None:
    weights = {"a.weight": torch.ones(4, 4), "a.bias": torch.ones(4), "norm.weight": torch.ones(4)}
    kinds = {
        (rank, biases): set(dict(extracted(weights, rank, biases)))
        for rank in (2, None)
        for biases in (True, False)
    }
    low = {"a.lora_up.weight", "a.lora_down.weight"}
    assert kinds[2, True] == low | {"a.diff_b", "norm.diff"}
    assert kinds[2, False] == low
    assert kinds[None, True] == {"a.diff", "a.diff_b", "norm.diff"}
    assert kinds[None, False] == {"a.diff", "norm.diff"}


def test_saving_no_difference_is_refused(base: Path) -> None:
    with pytest.raises(NodeFailure, match="no difference"):
        saves.lora_save(lora_type="standard", files=Files.under(base))


def test_a_lora_in_memory_is_saved_and_used_like_its_file(base: Path, devices: Devices) -> None:
    name = "lora_unet_input_blocks_1_0_in_layers_2"
    held = {
        f"{name}.lora_up.weight": torch.ones(32, 2, 1, 1),
        f"{name}.lora_down.weight": torch.ones(2, 32, 3, 3),
    }
    lora = LoraWeights.from_plain(held)
    assert lora == LoraWeights.from_plain(dict(held))
    assert lora != LoraWeights.from_plain(held | {f"{name}.alpha": torch.tensor(1.0)})
    model = loaded(base, devices)[0]
    shown = saves.save_lora(lora=lora, steps=7, files=Files.under(base))
    assert file(base, shown).name == "ComfyUI_trained_lora_7_steps_00001_.safetensors"
    moved(base, shown, "loras")
    lying = loaders.lora_model_loader(model=model, lora=lora, strength_model=0.5)
    read = loaders.lora_loader_model_only(
        model=model, lora_name="saved_ComfyUI_trained_lora_7_steps_00001_.safetensors", strength_model=0.5,
        files=Files.under(base),
    )  # fmt: skip
    assert_equal(weights(lying), weights(read))
    assert replace(lying, recipe=model.recipe) == model
