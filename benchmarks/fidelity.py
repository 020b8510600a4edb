"""How far our latents, pictures and conditionings are from the reference's, by group of the kit's cases."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from machine import described, table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from engine.cache import Tiers
from engine.config import make_env, read_settings
from engine.registry import installed
from engine.runner import Engine
from engine.workflow import from_json
from tests.parity.kit import KIT, serving

GREY = 1 / 255


def run_check(address: str, chosen: Sequence[str], without: Sequence[str]) -> list[dict[str, Any]]:
    """What check.py reports of each case on a running server."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, str(KIT / "check.py"), "--server", address, "--report", str(report)]
        command += ["--timeout", "3600", *(["--only", *chosen] if chosen else []), "--without", *without]
        subprocess.run(command, check=False, stdout=sys.stderr)
        cases: list[dict[str, Any]] = json.loads(report.read_text())["cases"]
        return cases


def pictured(cases: Sequence[Mapping[str, Any]]) -> str:
    """By group: how many cases pass, and the largest errors of latents and of pictures."""
    kinds = {
        (case["name"], name): output["kind"]
        for case in json.loads((KIT / "cases.json").read_text())["cases"]
        for name, output in case["outputs"].items()
    }
    rows = []
    for group in dict.fromkeys(case["group"] for case in cases):
        members = [case for case in cases if case["group"] == group]
        errors: dict[str, list[float]] = {"latent": [], "image": []}
        for case in members:
            for output in case["outputs"]:
                kind = kinds[case["case"], output["output"]]
                errors[kind].append(output["rel"] if kind == "latent" else output["max_abs"] / GREY)
        passed = sum(case["ok"] for case in members)
        worst = max(members, key=lambda case: max((o["rel"] for o in case["outputs"]), default=float("inf")))
        latent = f"{max(errors['latent']):.1e}" if errors["latent"] else "-"
        image = f"{max(errors['image']):.0f}" if errors["image"] else "-"
        rows.append([group, f"{passed} of {len(members)}", latent, image, worst["case"]])
    passed = sum(case["ok"] for case in cases)
    rows.append(["all", f"{passed} of {len(cases)}", "", "", ""])
    head = ["group", "within tolerance", "latent, largest relative error", "picture, grey levels", "farthest"]
    return table(head, rows)


def conditionings(base: Path, names: Sequence[str]) -> str:
    """The largest relative error of each conditioning that the kit has, of the cases named."""
    registry, none = installed(), Tiers(())
    settings = read_settings(base_directory=base, device="cpu", cache="off")
    rows = []
    with Engine(registry, make_env(settings, registry, none), none) as engine:
        for case in json.loads((KIT / "cases.json").read_text())["cases"]:
            for name, (node, slot) in case["dump"].items() if case["name"] in names else ():
                run = engine.run(engine.plan(from_json(case["prompt"]), [node]))
                wanted = safetensors.torch.load_file(KIT / "expected" / f"{case['name']}.safetensors")
                (found,) = run.results[node].outputs[slot]
                given: dict[str, Tensor] = {f"{i}": c.embedding for i, c in enumerate(found.entries)}
                given |= {
                    f"{i}.pooled": c.pooled for i, c in enumerate(found.entries) if c.pooled is not None
                }
                error = max(
                    float((given[key] - value).abs().max() / value.abs().max())
                    for key, value in (
                        (k.removeprefix(f"cond.{name}."), v)
                        for k, v in wanted.items()
                        if k.startswith("cond.")
                    )
                )
                rows.append([f"{case['name']}, {name}", f"{error:.1e}"])
    return table(["conditioning", "largest relative error"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of make_random_checkpoints.py")
    parser.add_argument("--only", nargs="*", default=[], help="cases or groups; default: all")
    parser.add_argument("--without", nargs="*", default=[], help="leave out cases that need these files")
    chosen = parser.parse_args()
    print(described("torch", "diffusers", "transformers"))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "models").symlink_to(chosen.models.resolve())
        with serving(base) as address:
            cases = run_check(address, chosen.only, chosen.without)
        print(pictured(cases), "\n")
        print(conditionings(base, [case["case"] for case in cases]))
    print(f"load at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
