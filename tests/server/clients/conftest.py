"""A server in a process of its own, cheap workflows, and other programs' own environments to run them in."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.clients.graphs import offline

READY = re.compile(r"(http://[\d.]+:\d+)")


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def address(base_directory: Path) -> Iterator[str]:
    """The address of a server that all tests of clients share."""
    command = [sys.executable, "-c", "from engine.cli import main; main()", "serve"]
    command += ["--port", "0", "--cpu", "--base-directory", str(base_directory)]
    environment = {**os.environ, "LATENTGRAPH_CACHE": str(base_directory / "cache"), "COLUMNS": "200"}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in server.stderr or ()], daemon=True)
    reader.start()
    try:
        seen = ""
        while not (found := READY.search(seen)):
            seen += lines.get(timeout=60)
        yield found[1]
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, "the server ends at once when it is told to"
        reader.join()
        if server.stderr:
            server.stderr.close()


@pytest.fixture
def elsewhere(address: str, tmp_path: Path) -> Callable[..., str]:
    """Runs code with a client that is installed in an environment of its own; skips where it is not."""

    def run(client: str, *command: str, program: str = "python", **more: str) -> str:
        root = os.environ.get("LATENTGRAPH_CLIENT_VENVS")
        binary = Path(root or "/nowhere", client, "bin", program)
        if not binary.exists():
            pytest.skip(f"needs LATENTGRAPH_CLIENT_VENVS with {client} in a virtual environment there")
        return ran([str(binary), *command], tmp_path, address, **more)

    return run


@pytest.fixture
def comfy(address: str, tmp_path: Path) -> Callable[..., str]:
    """Runs comfy-cli and gives what it prints."""
    program = Path(sys.executable).with_name("comfy")
    if not program.exists():
        pytest.skip("needs comfy-cli")

    def run(*command: str, ok: bool = True) -> str:
        first = [str(program), "--skip-prompt", "--no-enable-telemetry", "--json"]
        return ran([*first, *command], tmp_path, address, ok=ok)

    return run


def ran(command: list[str], folder: Path, address: str, ok: bool = True, **more: str) -> str:
    """What a program prints that can reach our server and nothing else."""
    done = subprocess.run(
        command,
        env=offline(folder, address) | more,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not ok or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
