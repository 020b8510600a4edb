"""The parity kit beside the repository: its cases, its references, and the models that it makes."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

KIT = Path(__file__).parents[3] / "shared" / "parity"
HERE = (KIT / "check.py").is_file()
MODELS = {
    "sd15_narrow": "parity_sd15_narrow.safetensors",
    "sd15_narrow_b": "parity_sd15_narrow_b.safetensors",
    "vae": "parity_vae_b.safetensors",
    "ti": "parity_ti.safetensors",
    "ti_b": "parity_ti_b.safetensors",
    "esrgan": "parity_esrgan_x4.safetensors",
    "compact": "parity_compact_x4.safetensors",
}
"""What every run makes: 1.4 GB in half a minute; the full set is 18 GB."""


def cases() -> list[dict[str, Any]]:
    """The cases that need no other models than `MODELS`; none where the kit is absent."""
    if not HERE:
        return []
    known: list[dict[str, Any]] = json.loads((KIT / "cases.json").read_text())["cases"]
    return [case for case in known if set(case["needs"]) <= set(MODELS.values())]


def expected(case: str) -> dict[str, Tensor]:
    """The reference's outputs and conditionings of a case."""
    return safetensors.torch.load_file(KIT / "expected" / f"{case}.safetensors")


def make_models(folder: Path) -> None:
    """Write the models that are not there yet."""
    command = [
        sys.executable,
        str(KIT / "make_random_checkpoints.py"),
        "--out",
        str(folder),
        "--only",
        *MODELS,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def checked(address: str, names: Sequence[str], *flags: str) -> tuple[int, str]:
    """Exit code and report of check.py over some cases on a running server."""
    command = [sys.executable, str(KIT / "check.py"), "--server", address, "-v", *flags, "--only", *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


@contextmanager
def serving(base: Path) -> Iterator[str]:
    """The address of `latentgraph serve` on a base folder: one process, on the CPU, so in float32."""
    command = [sys.executable, "-c", "from engine.cli import main; main()", "serve", "--cpu", "--port", "0"]
    said = base / "stderr"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--cache-none", "--base-directory", str(base)],
            stderr=stderr,
            stdout=subprocess.DEVNULL,
        )
    try:
        yield _address(process, said)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _address(process: "subprocess.Popen[bytes]", said: Path) -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"latentgraph is at (\S+)", said.read_text())
        if found:
            return found[1]
        time.sleep(0.1)
    raise AssertionError(said.read_text())
