"""Networks that steer, from files in every layout, against the networks of diffusers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.control import set_union_control_net_type
from nodes.diffusion.added import sinusoids
from nodes.diffusion.control import ControlNet, ControlRow, Hint, Seen, steered
from nodes.diffusion.families import controlnet
from nodes.diffusion.weights import Recipe
from tests.nodes import control_files as files

CPU = Devices("cpu")
SIZES = (64.0, 64.0, 0.0, 8.0, 64.0, 48.0)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    draw = torch.Generator().manual_seed(3)
    x, context = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 7, files.CONTEXT, generator=draw)
    pooled = torch.randn(2, files.POOLED, generator=draw)
    vector = torch.cat([pooled, torch.cat([sinusoids(s) for s in SIZES]).expand(2, -1)], dim=1)
    path = files.folder(files.unet(), tmp_path_factory.mktemp("base"))
    base = Recipe("base", "unet", "stable_diffusion", path)
    return Seen(base, x, torch.tensor([500, 40]), context, vector)


HINT = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def at(path: Path) -> ControlNet:
    return controlnet.control_net(path, str(path), CPU)


def saved(state: Mapping[str, Tensor], path: Path, name: str = "net") -> ControlNet:
    file = path / f"{name}.safetensors"
    save_file({key: value.contiguous().clone() for key, value in state.items()}, file)
    return at(file)


def added(net: ControlNet, seen: Seen) -> list[Tensor]:
    """What a network adds to the rows of a batch."""
    rows = [(ControlRow(net, Hint(HINT[i : i + 1]), 1.0),) for i in range(len(seen.x))]
    made = steered(rows, seen)
    return made.levels or made.skips


def told(theirs: Any, seen: Seen, **more: Any) -> list[Tensor]:
    """What a ControlNet of diffusers adds, told of sizes as diffusers' pipelines do."""
    assert seen.vector is not None
    sizes = torch.tensor(SIZES).expand(len(seen.x), -1)
    beside = {"text_embeds": seen.vector[:, : files.POOLED], "time_ids": sizes}
    given = {
        "added_cond_kwargs": beside,
        "controlnet_cond": HINT[: len(seen.x)],
        "return_dict": False,
        **more,
    }
    down, middle = theirs(seen.x, seen.timestep, encoder_hidden_states=seen.context, **given)
    return [*down, middle]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["diffusers", "cldm", "cldm in a checkpoint", "folder", "half"])
def test_a_control_net_of_sdxl_is_that_of_diffusers(layout: str, seen: Seen, tmp_path: Path) -> None:
    theirs = files.sdxl_control()
    if layout == "folder":
        net = at(files.folder(theirs, tmp_path / "net"))
    elif layout.startswith("cldm"):
        whole = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}
        prefix = "control_model." if layout.endswith("checkpoint") else ""
        state = {prefix + key: value for key, value in files.as_cldm(theirs).items()}
        net = saved(state | (whole if prefix else {}), tmp_path)
    else:
        theirs = theirs.half().float() if layout == "half" else theirs
        state = theirs.state_dict()
        net = saved({k: v.half() for k, v in state.items()} if layout == "half" else state, tmp_path)
    assert net.context == files.CONTEXT
    assert_same(added(net, seen), told(theirs, seen))


@pytest.mark.parametrize(
    "changes",
    [
        {"transformer_layers_per_block": [0, 0, 1]},
        {"down_block_types": ("DownBlock2D",) * 3, "transformer_layers_per_block": [0, 0, 0]},
        {"down_block_types": ("DownBlock2D",) * 3, "mid_block_type": "UNetMidBlock2D"},
        {"block_out_channels": (64, 128), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
         "attention_head_dim": 8, "transformer_layers_per_block": 1, "use_linear_projection": False},
    ],
)  # fmt: skip
def test_networks_with_less_attention_are_known_by_their_shapes(
    changes: dict[str, Any], seen: Seen, tmp_path: Path
) -> None:
    theirs = files.sdxl_control(**changes)
    net = saved(theirs.state_dict(), tmp_path)
    assert net.context == (files.CONTEXT if any("attn2" in key for key in theirs.state_dict()) else None)
    assert_same(added(net, seen), told(theirs, seen))


def test_a_network_without_a_vector_is_that_of_diffusers(seen: Seen, tmp_path: Path) -> None:
    theirs = files.plain_control()
    assert_same(added(saved(files.as_cldm(theirs), tmp_path), seen), told(theirs, seen))


@pytest.mark.parametrize("name", ["x_shuffle", "x_shuffle_fp16", "folder"])
def test_what_a_shuffle_network_adds_is_averaged_over_the_picture(
    name: str, seen: Seen, tmp_path: Path
) -> None:
    theirs = files.plain_control(global_pool_conditions=name == "folder")
    if name == "folder":
        net = at(files.folder(theirs, tmp_path / name))
    else:
        net = saved(theirs.state_dict(), tmp_path, name)
    theirs.register_to_config(global_pool_conditions=False)
    whole = told(theirs, seen)
    made = [m.expand_as(w) for m, w in zip(added(net, seen), whole, strict=True)]
    assert_same(made, [w.mean((2, 3), keepdim=True).expand_as(w) for w in whole])


def one_row(seen: Seen) -> Seen:
    assert seen.vector is not None
    return Seen(seen.recipe, seen.x[:1], seen.timestep[:1], seen.context[:1], seen.vector[:1])


@pytest.mark.parametrize("layout", ["file", "folder"])
@pytest.mark.parametrize(("kind", "index"), [("openpose", 0), ("segment", 5)])
def test_a_union_network_told_a_type_is_that_of_diffusers(
    kind: Any, index: int, layout: str, seen: Seen, tmp_path: Path
) -> None:
    theirs, row = files.union_control(6), one_row(seen)
    where = files.folder(theirs, tmp_path / "net") if layout == "folder" else tmp_path
    untold = saved(theirs.state_dict(), where) if layout == "file" else at(where)
    net = set_union_control_net_type(control_net=untold, type=kind)
    flags = torch.nn.functional.one_hot(torch.tensor([index]), 6)
    expected = told(theirs, row, controlnet_cond=[HINT[:1]], control_type=flags, control_type_idx=[index])
    assert_same(added(net, row), expected)
    for ours, alone in zip(added(net, seen), added(net, row), strict=True):  # rows in company as alone
        torch.testing.assert_close(ours[:1], alone, rtol=1e-4, atol=1e-4)
    assert set_union_control_net_type(control_net=net, type="auto") == untold


def test_a_union_network_untold_only_says_that_nothing_was_told(seen: Seen, tmp_path: Path) -> None:
    union = files.union_control(6)
    plain = files.sdxl_control(conditioning_embedding_out_channels=(48, 96, 192, 384))
    plain.load_state_dict(union.state_dict(), strict=False)
    codes = torch.cat([sinusoids(0.0)] * 6)[None]
    plain.time_embedding.linear_2.bias.data += union.control_add_embedding(codes)[0]
    assert_same(added(saved(union.state_dict(), tmp_path), seen), told(plain, seen))


def test_a_union_network_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    net = saved(files.union_control(6).state_dict(), tmp_path)
    with pytest.raises(NodeFailure, match="knows 6 types"):
        set_union_control_net_type(control_net=net, type="repaint")
    other = saved(files.plain_control().state_dict(), tmp_path, "other")
    assert set_union_control_net_type(control_net=other, type="depth") is other


def summed(net: Any, base: Any, names: set[str], changes: Mapping[str, Tensor]) -> Any:
    """The network, the named weights replaced by the base's plus changes."""
    state = net.state_dict()
    for name in names:
        state[name] = base.state_dict()[name] + changes[name]
    net.load_state_dict(state)
    return net


def test_a_control_lora_stands_on_the_model_that_it_steers(seen: Seen, tmp_path: Path) -> None:
    theirs, base = files.plain_control(), seen.recipe.module(CPU)
    low = files.as_low_rank(theirs, 3)
    names = {ours: theirs_ for theirs_, ours in files.unet_keys(theirs.state_dict()).items()}
    changes = {
        names[key.removesuffix(".up") + ".weight"]: (
            value.flatten(1) @ low[key.removesuffix(".up") + ".down"].flatten(1)
        ).reshape(len(value), *low[key.removesuffix(".up") + ".down"].shape[1:])
        for key, value in low.items()
        if key.endswith(".up")
    }
    net = saved(low, tmp_path)
    assert net.relative == changes.keys()
    assert_same(added(net, seen), told(summed(theirs, base, set(changes), changes), seen))


def test_a_network_of_differences_gets_the_models_weights(seen: Seen, tmp_path: Path) -> None:
    theirs, base = files.plain_control(), seen.recipe
    state = {f"control_model.{k}": v for k, v in files.as_cldm(theirs).items()} | {
        "difference": torch.zeros(1)
    }
    with pytest.raises(NodeFailure, match="differences") as caught:
        saved(state, tmp_path)
    assert "DiffControlNetLoader" in caught.value.hint
    path = tmp_path / "net.safetensors"
    net = controlnet.control_net(path, str(path), CPU, seen.recipe)
    shared = {name for name, _ in theirs.named_parameters() if not name.startswith("controlnet_")}
    changes = dict(theirs.state_dict())
    assert_same(added(net, seen), told(summed(theirs, base.module(CPU), shared, changes), seen))


def test_changes_of_another_model_are_refused(seen: Seen, tmp_path: Path) -> None:
    low = files.as_low_rank(files.plain_control(in_channels=9), 2)
    with pytest.raises(NodeFailure, match=r"do not fit this model, first conv_in\.weight"):
        saved(low, tmp_path).module(seen.recipe)


def test_what_is_incomplete_is_named(tmp_path: Path) -> None:
    whole = files.plain_control().state_dict()
    no_hint = {key: value for key, value in whole.items() if "cond_embedding.conv_out" not in key}
    with pytest.raises(NodeFailure, match="2 tensors are missing"):
        saved(no_hint, tmp_path, "a").recipe.module(CPU)
    no_zeros = {key: value for key, value in whole.items() if not key.startswith("controlnet_cond")}
    with pytest.raises(NodeFailure, match="no ControlNet"):
        saved(no_zeros, tmp_path, "b")
    (tmp_path / "c.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:1000])
    with pytest.raises(NodeFailure, match="cannot read"):
        at(tmp_path / "c.safetensors")
