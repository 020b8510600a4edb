"""From process start to picture: `latentgraph run text_to_image` with an empty and a full cache."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import described, table

IMPORTS = {
    "python": "pass",
    "torch": "import torch",
    "torch + diffusers + transformers": (
        "import torch; from diffusers import UNet2DConditionModel, AutoencoderKL; "
        "from transformers import CLIPTextModel, CLIPTokenizerFast"
    ),
}


def bare(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - started


def run(folder: Path, workflow: str) -> dict[str, float]:
    """One run in a process of its own: when it began to run nodes, what each class took, and the whole."""
    command = [sys.executable, "-c", "import sys; from engine.cli import main; sys.exit(main())"]
    command += ["run", workflow, "--json", "--output", str(folder / "output")]
    env = {**os.environ, "LATENTGRAPH_CACHE": str(folder / "cache")}
    times: dict[str, float] = {}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stdout
    for line in process.stdout:
        event = json.loads(line)
        now = time.perf_counter() - started
        if event["event"] == "started":
            times["start to first node"] = now
        elif event["event"] == "node_finished":
            times[event["class_type"]] = times.get(event["class_type"], 0.0) + event["seconds"]
        elif event["event"] == "finished":
            times["until the file is written"] = now
            assert event["status"] == "success", event
    assert process.wait() == 0
    times["whole process"] = time.perf_counter() - started
    return times


def middle(all_times: list[dict[str, float]]) -> dict[str, float]:
    return {k: statistics.median(t.get(k, 0.0) for t in all_times) for k in all_times[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workflow", default="text_to_image")
    chosen = parser.parse_args()
    print(described("torch", "diffusers", "transformers"))
    run_once = {name: [bare(code) for _ in range(chosen.runs)] for name, code in IMPORTS.items()}
    imports = {name: statistics.median(values) for name, values in run_once.items()}
    print(table(["imported in a bare process", "s"], [[k, f"{v:.2f}"] for k, v in imports.items()]))
    cold, warm = [], []
    for _ in range(chosen.runs):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(run(Path(folder), chosen.workflow))
            warm.append(run(Path(folder), chosen.workflow))
    first, second = middle(cold), middle(warm)
    print(table(["empty cache, median", "s"], [[k, f"{v:.2f}"] for k, v in first.items()]))
    print(table(["full cache, median", "s"], [[k, f"{v:.2f}"] for k, v in second.items()]))
    beyond = first["until the file is written"] - imports["torch + diffusers + transformers"]
    print(f"beyond importing torch, diffusers and transformers: {beyond:.2f} s (aim: below 5 s)")
    print(f"load at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
