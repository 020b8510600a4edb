"""`latentgraph serve` as it is typed: flags, exit codes, what it says, the log."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

COMMAND = [sys.executable, "-c", "from engine.cli import main; main()", "serve"]


def serve(base: Path, *flags: str, columns: int = 80, **more: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "COLUMNS": str(columns), **more}
    command = [*COMMAND, "--cpu", "--cache-none", "--base-directory", str(base), *flags]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=base
    )


def told(base: Path, *flags: str, **more: str) -> tuple[int, str]:
    """Exit code and what is said of a start that comes to nothing."""
    with serve(base, *flags, columns=200, **more) as done:
        try:
            out, said = done.communicate(timeout=30)
        finally:
            done.kill()
        assert out == ""
        return done.returncode, said


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Any, str]]:
    """A server, and the address that it says; the flags come from the test's parameter."""
    with serve(tmp_path, "--port", "0", *getattr(request, "param", ()), columns=200) as server:
        assert server.stderr
        line = server.stderr.readline()
        found = re.search(r"http://\S+?:\d+", line)
        assert found, line
        yield server, found[0]
        server.kill()


def test_help_fits_80_columns_and_says_the_defaults() -> None:
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    done = subprocess.run([*COMMAND, "--help"], env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for said in ("--listen", "[default: 127.0.0.1]", "[default: 8188]", "--token", "--cache-classic"):
        assert said in done.stdout
    assert lines[1].strip() == "Usage: latentgraph serve [OPTIONS]" or "serve [OPTIONS]" in lines[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_stops_when_told_to(running: tuple[Any, str], number: int) -> None:
    server, address = running
    with urlopen(f"{address}/health") as answer:
        assert json.load(answer) == {"status": "ok"}
    server.send_signal(number)
    out, said = server.communicate(timeout=30)
    assert (server.returncode, out) == (0, "")
    lines = said.splitlines()
    assert "stopping: " in lines[0]
    assert lines[-1].endswith("stopped")
    assert "Traceback" not in said


@pytest.mark.parametrize("running", [("--log-json",)], indirect=True)
def test_logs_can_be_json_and_no_request_is_logged(running: tuple[Any, str]) -> None:
    server, address = running
    for _ in range(3):
        urlopen(f"{address}/queue").close()
    server.send_signal(signal.SIGTERM)
    said = [json.loads(line) for line in server.communicate(timeout=30)[1].splitlines()]
    assert {"time", "level", "logger", "message"} <= set(said[0])
    assert [line["message"].split(":")[0] for line in said] == ["stopping", "stopped"]


@pytest.mark.parametrize("flags", [("--listen",), ("--listen", "0.0.0.0"), ("--host", "127.0.0.1,10.0.0.1")])
def test_it_does_not_listen_elsewhere_without_a_token(tmp_path: Path, flags: tuple[str, ...]) -> None:
    code, said = told(tmp_path, *flags)
    assert code == 2
    assert "--token" in said
    assert "--allow-anonymous" in said


@pytest.mark.parametrize(
    "running",
    [("--listen", "0.0.0.0", "--token", "open"), ("--listen", "0.0.0.0", "--allow-anonymous")],
    indirect=True,
)
def test_with_a_token_or_when_allowed_it_listens_everywhere(running: tuple[Any, str]) -> None:
    with urlopen(f"{running[1]}/health") as answer:
        assert answer.status == 200


def test_an_address_in_use_and_a_folder_in_use_are_told_apart(
    running: tuple[Any, str], tmp_path: Path
) -> None:
    port = running[1].rsplit(":", 1)[1]
    code, said = told(tmp_path, "--port", "0")
    assert (code, "is served already" in said) == (3, True)
    other = tmp_path / "other"
    other.mkdir()
    code, said = told(other, "--port", port)
    assert code == 2
    assert said.startswith(f"cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in said


def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    code, said = told(tmp_path, LATENTGRAPH_SERVER_DATABASE=f"sqlite:///{tmp_path}")
    assert code == 2
    assert "database" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("flags", [("--port", "70000"), ("--preview-method", "none!"), ("--no-such-flag",)])
def test_wrong_flags_are_told(tmp_path: Path, flags: tuple[str, ...]) -> None:
    code, said = told(tmp_path, *flags)
    assert code == 2
    assert flags[0].strip("-").split("-")[0] in said
    assert "Traceback" not in said
