"""Guidance and network patches, number for number what ComfyUI 0.3.64 makes with the same tiny network.

`guidance_golden.json` holds what ComfyUI's own nodes gave for `networks.deep_model`: eight values of each
latent, and the largest. Seed 3, an empty latent, cfg 6, and three steps of euler on the schedule "simple",
where a case says nothing else.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.registry import Registry
from engine.steps import run_alone
from nodes import PACK
from nodes.diffusion.guidance import Guider
from nodes.diffusion.model import Model
from nodes.diffusion.run import sampled
from nodes.ports import Cond, Conditioning, Latent, Noise, SamplerChoice
from tests.nodes.networks import deep_model

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("guidance_golden.json").read_text())
NODES = Registry().with_pack(PACK).nodes


@pytest.fixture(scope="module")
def model() -> Model:
    return deep_model()


def conditionings() -> dict[str, Conditioning]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: Conditioning((Cond(torch.randn(1, 7, 8, generator=generator)),))
        for name in ("positive", "negative", "EMPTY")
    }


def value(setting: Any) -> Any:
    if isinstance(setting, list):
        return NODES[setting[0]](**setting[1])
    return conditionings()[setting] if setting == "EMPTY" else setting


def guider(model: Model, case: dict[str, Any]) -> Guider:
    positive, negative, empty = conditionings().values()
    kind, settings = case.get("guider", ("CFGGuider", {"cfg": case.get("cfg", 6.0)}))
    sides = {
        "BasicGuider": {"conditioning": positive},
        "CFGGuider": {"positive": positive, "negative": negative},
        "DualCFGGuider": {"cond1": positive, "cond2": empty, "negative": negative},
        "PerpNegGuider": {"positive": positive, "negative": negative, "empty_conditioning": empty},
    }[kind]
    made: Guider = NODES[kind](model=model, **sides, **settings)
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_it_is_the_ecosystems_number_for_number(case: dict[str, Any], model: Model) -> None:
    for name, settings in case["patches"]:
        model = NODES[name](model=model, **{k: value(v) for k, v in settings.items()})
    latent = Latent(torch.zeros(case.get("b", 1), 4, case.get("h", 8), case.get("w", 8)))
    sigmas = model.sigmas(case.get("scheduler", "simple"), case.get("steps", 3))
    choice = SamplerChoice(case.get("sampler", "euler"))
    with torch.no_grad():
        steps = sampled(guider(model, case), choice, sigmas, latent, Noise(3), 3)
        found = run_alone(steps)[0].samples.flatten()
    values = torch.tensor(case["values"])
    error = (found[5 :: max(1, len(found) // 8)][:8] - values).abs().max() / case["largest"]
    assert error < 2e-4
    assert abs(float(found.abs().max()) / case["largest"] - 1) < 2e-4
