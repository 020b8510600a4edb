"""Who runs a batch: worker processes give the same bytes as this one, whatever becomes of them."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.server.batch.commands import differences, lines_of

COMMAND = [sys.executable, "-c", "from engine.cli import main; main()", "batch", "text_to_image"]
SMALL = ["--set", "Size.width=64", "--set", "Size.height=64", "--set", "Sampler.steps=2"]
SWEEP = [*SMALL, "--vary", "Prompt.text=a red house,a blue castle", "--vary", "Sampler.seed=1..5"]


def start(base: Path, output: str, *arguments: str) -> "subprocess.Popen[str]":
    """The command as it is typed, over the embedded model."""
    environment = {**os.environ, "LATENTGRAPH_CACHE": str(base / f"cache of {output}"), "COLUMNS": "200"}
    command = [*COMMAND, *SWEEP, "--output", output, "--device", "cpu", *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=base, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_two_worker_processes_one_of_them_killed_give_the_same_bytes_as_this_process(tmp_path: Path) -> None:
    with start(tmp_path, "one") as one:
        said = one.communicate(timeout=300)[1]
    assert one.returncode == 0, said
    assert ", as predicted" in said
    with start(tmp_path, "two", "--workers", "2", "--at-once", "2") as two:
        kill_one(two, tmp_path / "two" / "manifest.jsonl")
        said = two.communicate(timeout=300)[1]
    assert two.returncode == 0, said
    assert "a worker process ended" in said
    assert {line["status"] for line in lines_of(tmp_path / "two")} == {"success"}
    assert differences(tmp_path / "one", tmp_path / "two") == []


def kill_one(command: "subprocess.Popen[str]", manifest: Path) -> None:
    """Kill a worker once the first job has ended."""
    end = time.monotonic() + 200
    while not manifest.exists() and time.monotonic() < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert command.wait(0.01) is None
    workers = [p for p in psutil.Process(command.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert len(workers) == 2, workers
    workers[0].kill()
