"""Every kind of change that LoRA files hold, against ComfyUI's own results and peft's own layers."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from nodes.diffusion import adapters
from nodes.diffusion.lora import _grouped

REFERENCE = Path(__file__).with_name("adapters.safetensors")
HELD = safetensors.torch.load_file(REFERENCE)
with safetensors.safe_open(REFERENCE, "pt") as _file:
    CASES: dict[str, tuple[float, str]] = json.loads(_file.metadata()["cases"])


def group(case: str) -> dict[str, Tensor]:
    """What the case's file holds for its one module."""
    start = f"{case}/held/"
    (found,) = _grouped({k.removeprefix(start): v for k, v in HELD.items() if k.startswith(start)}).values()
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_the_references(case: str) -> None:
    strength, layer = CASES[case]
    weight, bias, found = HELD[f"weight.{layer}"], HELD["bias"], group(case)
    expected = {k.rpartition("m.")[2]: v for k, v in HELD.items() if k.startswith(f"{case}/expected/")}
    got = {}
    if adapters.changes_weight(found):
        got["weight"] = adapters.patched(found, weight, strength)
    if adapters.changes_bias(found):
        got["bias"] = adapters.patched_bias(found, bias, strength)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=1e-5)


def learnt(config: Any, layer: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """The random tensors of a layer that peft has adapted, by role, and the change that it makes of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = peft.get_peft_model(nn.Sequential(layer), config)
        adapted = model.base_model.model[0]
    roles = {n.split(".")[0]: p.detach() for n, p in adapted.named_parameters() if n.endswith(".default")}
    return roles, adapted.get_delta_weight("default").detach()


@pytest.mark.parametrize("layer", [nn.Linear(12, 8), nn.Conv2d(12, 8, 3), nn.Conv2d(12, 8, 1)])
@pytest.mark.parametrize("effective", [False, True])
def test_loha_is_pefts(layer: nn.Linear | nn.Conv2d, effective: bool) -> None:
    config = peft.LoHaConfig(
        r=2, alpha=3, target_modules=["0"], use_effective_conv2d=effective, init_weights=False
    )
    weight = layer.weight.detach().clone()
    roles, change = learnt(config, layer)
    got = adapters.patched({**roles, "alpha": torch.tensor(3.0)}, weight, 0.5)
    torch.testing.assert_close(got, weight + 0.5 * change)


@pytest.mark.parametrize("layer", [nn.Linear(12, 8), nn.Conv2d(12, 8, 3)])
@pytest.mark.parametrize("effective", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_lokr_is_pefts(layer: nn.Linear | nn.Conv2d, effective: bool, both: bool) -> None:
    config = peft.LoKrConfig(
        r=1,
        alpha=3,
        target_modules=["0"],
        use_effective_conv2d=effective,
        decompose_both=both,
        init_weights=False,
    )
    weight = layer.weight.detach().clone()
    roles, change = learnt(config, layer)
    assert {"lokr_w2_a", "lokr_w1_a" if both else "lokr_w1"} <= roles.keys()
    got = adapters.patched({**roles, "alpha": torch.tensor(3.0)}, weight, 0.5)
    torch.testing.assert_close(got, weight + 0.5 * change, rtol=1e-4, atol=1e-5)


def test_rotations_keep_the_lengths_of_columns() -> None:
    weight = torch.randn(8, 5)
    for blocks in (torch.randn(2, 4, 4), torch.randn(2, 4, 2, 2)):
        turned = adapters.patched({"oft_blocks": blocks}, weight, 1.0)
        torch.testing.assert_close(turned.norm(dim=0), weight.norm(dim=0))
        assert not torch.allclose(turned, weight)


def test_half_precision_is_computed_in_float32() -> None:
    weight, up, down = torch.randn(8, 6).half(), torch.randn(8, 2).half(), torch.randn(2, 6).half()
    got = adapters.patched({"up": up, "down": down}, weight, 0.3)
    assert torch.equal(got, weight.float() + 0.3 * (up.float() @ down.float()))


@pytest.mark.parametrize(
    "held",
    [
        {"up": torch.ones(8, 2)},
        {"up": torch.ones(6, 2), "down": torch.ones(2, 8)},
        {"up": torch.ones(8, 3), "down": torch.ones(2, 6)},
        {"hada_w1_a": torch.ones(8, 2), "hada_w1_b": torch.ones(2, 6)},
        {"lokr_w1": torch.ones(2, 3), "lokr_w2": torch.ones(3, 2)},
        {"oft_blocks": torch.ones(3, 2, 2)},
        {"diff": torch.ones(6, 8)},
        {"diff": torch.tensor(1.0)},
        {"up": torch.ones(7, 2), "down": torch.ones(2, 6), "reshape_weight": torch.tensor([7, 6])},
    ],
)
def test_what_does_not_fit_is_refused(held: dict[str, Tensor]) -> None:
    with pytest.raises((LookupError, RuntimeError)):
        adapters.patched(held, torch.ones(8, 6), 1.0)
