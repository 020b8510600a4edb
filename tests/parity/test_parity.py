"""The parity kit's cases for small models, run on our own server, against the reference's outputs."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cache import Tiers
from engine.config import make_env, read_settings
from engine.registry import installed
from engine.runner import Engine
from engine.workflow import from_json
from nodes.ports import Conditioning
from tests.parity.kit import HERE, KIT, cases, checked, expected, make_models, serving

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not HERE, reason="no ../shared/parity")]
CASES = cases()
DUMPED = [(case, name) for case in CASES for name in case["dump"]]


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder whose models lie in pytest's cache folder, where a second run finds them."""
    assert request.config.cache
    models = request.config.cache.mkdir("parity_models")
    make_models(models)
    folder = tmp_path_factory.mktemp("base")
    (folder / "models").symlink_to(models)
    return folder


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[str]:
    with serving(base) as address:
        yield address


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[Engine]:
    registry, none = installed(), Tiers(())
    with Engine(
        registry, make_env(read_settings(base_directory=base, device="cpu"), registry, none), none
    ) as made:
        yield made


def test_every_case_of_the_small_models_is_within_its_tolerance(
    server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = checked(server, [case["name"] for case in CASES])
    with capsys.disabled():
        sys.stdout.write(f"\nparity: {report.splitlines()[-1]}\n")
    missed = [line[:400] for line in report.splitlines() if line.startswith(("FAIL", "   "))]
    assert code == 0, "\n".join(missed)
    assert f"{len(CASES)} of {len(CASES)} cases within tolerance" in report
    assert len(CASES) > 100


def test_another_seed_is_a_miss(server: str, tmp_path: Path) -> None:
    """The check can fail: one digit of one case is wrong."""
    kit = json.loads((KIT / "cases.json").read_text())
    case = next(c for c in kit["cases"] if c["name"] == "sampler_euler")
    next(n for n in case["prompt"].values() if n["class_type"] == "KSampler")["inputs"]["seed"] += 1
    for folder in ("inputs", "expected"):
        (tmp_path / folder).symlink_to(KIT / folder)
    (tmp_path / "cases.json").write_text(json.dumps(kit))
    code, report = checked(server, ["sampler_euler"], "--cases", str(tmp_path / "cases.json"))
    assert code == 1
    assert "0 of 1 cases within tolerance" in report
    assert re.search(r"sampled +max abs [1-9]", report)


@pytest.mark.parametrize(("case", "name"), DUMPED, ids=[f"{case['name']}-{name}" for case, name in DUMPED])
def test_conditionings_equal_the_references(case: dict[str, Any], name: str, engine: Engine) -> None:
    node, slot = case["dump"][name]
    run = engine.run(engine.plan(from_json(case["prompt"]), [node]))
    assert run.status == "success", run.failures
    (found,) = run.results[node].outputs[slot]
    assert isinstance(found, Conditioning)
    wanted = {
        k.removeprefix(f"cond.{name}."): v for k, v in expected(case["name"]).items() if k.startswith("cond.")
    }
    given = {str(i): cond.embedding for i, cond in enumerate(found.entries)}
    given |= {f"{i}.pooled": c.pooled for i, c in enumerate(found.entries) if c.pooled is not None}
    assert given.keys() == wanted.keys()
    for key, value in wanted.items():
        assert given[key].shape == value.shape
        assert float((given[key] - value).abs().max()) <= 1e-4 * float(value.abs().max()), key
