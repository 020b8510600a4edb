"""T2I-Adapters: files in every layout against diffusers, odd sizes, and their place in the denoiser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.control import ControlNet, ControlRow, Hint, Seen, steered
from nodes.diffusion.families import controlnet
from nodes.diffusion.model import Model, Query
from tests.nodes import control_files as files
from tests.nodes.networks import Ready, tiny_control

CPU = Devices("cpu")
KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "grey": {"in_channels": 1},
    "light": {"channels": [32, 64, 128], "num_res_blocks": 4, "adapter_type": "light_adapter"},
    "sdxl": {"downscale_factor": 16, "adapter_type": "full_adapter_xl"},
}


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def at(path: Path) -> ControlNet:
    return controlnet.control_net(path, str(path), CPU)


@pytest.mark.parametrize("layout", ["diffusers", "tencent", "folder"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_adapter_is_that_of_diffusers(kind: str, layout: str, tmp_path: Path) -> None:
    theirs, path = files.adapter(**KINDS[kind]), tmp_path / "x.safetensors"
    if layout == "folder":
        path = files.folder(theirs, tmp_path / "x")
    else:
        light = kind == "light"
        save_file(files.as_tencent(theirs, light) if layout == "tencent" else theirs.state_dict(), path)
    net = at(path)
    assert (net.adapter, net.channels, net.cell) == (True, 3 - 2 * (kind == "grey"), 8 + 8 * (kind == "sdxl"))
    hint = torch.rand(1, net.channels, 128, 128)
    features = Hint(hint).features(net.recipe.module(CPU))
    for ours, expected in zip(features, theirs(hint), strict=True):
        assert torch.equal(ours, expected)


def test_an_odd_side_is_halved_with_zeros_around_it(tmp_path: Path) -> None:
    save_file(files.adapter().state_dict(), tmp_path / "x.safetensors")
    module: Any = at(tmp_path / "x.safetensors").recipe.module(CPU)
    halved = module.adapter.body[1].downsample(torch.arange(6.0).reshape(1, 1, 3, 2))
    assert halved.tolist() == [[[[0.25], [3.5]]]]  # (0 + 1)/4, (2 + 3 + 4 + 5)/4


def test_what_is_no_adapter_that_is_known_is_named(tmp_path: Path) -> None:
    state = files.as_tencent(files.adapter(), light=False)
    save_file(state | {"body.2.down_opt.op.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(NodeFailure, match=r"body\.2\.down_opt\.op\.weight"):
        at(tmp_path / "x.safetensors")
    rest = {key: value for key, value in state.items() if not key.startswith("body.7")}
    save_file(rest, tmp_path / "y.safetensors")
    with pytest.raises(NodeFailure, match="4 tensors are missing"):
        at(tmp_path / "y.safetensors").recipe.module(CPU)
    few = {key: state[key] for key in ("conv_in.weight", "body.0.block1.weight")}
    save_file(few, tmp_path / "z.safetensors")
    with pytest.raises(NodeFailure, match=r"its levels are \[32\] wide"):
        at(tmp_path / "z.safetensors")
    save_file(few | {"body.4.block2.bias": torch.zeros(64)}, tmp_path / "w.safetensors")
    with pytest.raises(NodeFailure, match=r"\[32, 0, 0\]"):
        at(tmp_path / "w.safetensors")


class Features(nn.Module):
    """An adapter for a UNet of two levels, that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, hint: torch.Tensor) -> list[torch.Tensor]:
        self.calls += 1
        small = nn.functional.avg_pool2d(hint.mean(1, keepdim=True), 8) * self.scale
        return [small.expand(-1, 32, -1, -1), nn.functional.avg_pool2d(small, 2).expand(-1, 32, -1, -1)]


def denoiser(channels: int = 4) -> Any:
    return files.random(
        UNet2DConditionModel(
            sample_size=8, in_channels=channels, out_channels=4, block_out_channels=(32, 32),
            layers_per_block=1, norm_num_groups=8, cross_attention_dim=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
        )
    )  # fmt: skip


def test_features_are_added_within_the_levels_and_made_once() -> None:
    unet, features = denoiser(), Features()
    model = Model(cast(Any, Ready("unet", unet)), CPU)
    net = ControlNet(cast(Any, Ready("adapter", features)), CPU, adapter=True)
    hints = [Hint(torch.rand(1, 3, 64, 64)) for _ in range(2)]
    for sigma in (9.0, 2.0):
        queries = [
            Query(
                torch.randn(1, 4, 8, 8), torch.tensor(sigma), torch.randn(1, 5, 8), (ControlRow(net, h, 0.7),)
            )
            for h in hints
        ]
        answers = model.answer(queries)
        for query, hint, answer in zip(queries, hints, answers, strict=True):
            seen = query.x / (sigma**2 + 1) ** 0.5
            output = unet(
                seen,
                model.sampling.timestep(torch.tensor([sigma])),
                encoder_hidden_states=query.context,
                down_intrablock_additional_residuals=[0.7 * f for f in Features()(hint.picture)],
            ).sample
            torch.testing.assert_close(answer, query.x - sigma * output, rtol=1e-4, atol=1e-4)
    assert features.calls == 2


def test_adapters_and_control_nets_work_together() -> None:
    base = cast(Any, Ready("unet", denoiser()))
    adapter = ControlNet(cast(Any, Ready("adapter", Features())), CPU, adapter=True)
    row = ControlRow(tiny_control(), Hint(torch.rand(1, 3, 64, 64)), 1.0)
    fields = ControlRow(adapter, Hint(torch.rand(1, 3, 64, 64)), 0.5)
    seen = Seen(base, torch.randn(1, 4, 8, 8), torch.tensor([9]), torch.randn(1, 5, 8), None)
    both, one, twice = (steered([uses], seen) for uses in ((row, fields), (row,), (fields, fields)))
    for a, b in zip(both.skips, one.skips, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(both.levels, twice.levels, strict=True):
        torch.testing.assert_close(2 * a, b)


def test_a_control_net_of_an_inpainting_model_sees_its_latent_alone() -> None:
    unet, net = denoiser(9), tiny_control()
    model = Model(cast(Any, Ready("unet", unet)), CPU)
    hint, x, concat = torch.rand(1, 3, 64, 64), torch.randn(1, 4, 8, 8), torch.randn(1, 5, 8, 8)
    context, sigma = torch.randn(1, 5, 8), torch.tensor(2.0)
    (answer,) = model.answer([Query(x, sigma, context, (ControlRow(net, Hint(hint), 1.0),), concat=concat)])
    seen, at_step = x / 5**0.5, model.sampling.timestep(sigma[None])
    down, middle = net.recipe.module(CPU)(
        seen, at_step, encoder_hidden_states=context, controlnet_cond=hint, return_dict=False
    )
    output = unet(
        torch.cat([seen, concat], dim=1),
        at_step,
        encoder_hidden_states=context,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample
    torch.testing.assert_close(answer, x - 2.0 * output, rtol=1e-4, atol=1e-4)
