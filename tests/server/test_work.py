"""`latentgraph work`: refuses what cannot be; killed, told to stop, begun again, it loses nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.problems import WorkflowError
from server.queue.jobs import NewJob
from server.queue.opening import open_database
from server.queue.store import Queue
from tests.server.database_server import Database

COMMAND = [sys.executable, "-c", "from engine.cli import main; main()", "work"]
PACK = """
import os, time

class Wait:
    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "wait", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "path": ("STRING", {"default": ""})}}

    def wait(self, image, path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return (image,)

NODE_CLASS_MAPPINGS = {"WaitForFile": Wait}
"""


def waiting(path: Path) -> dict[str, Any]:
    """A picture that is written once a file is there."""
    empty = {"width": 16, "height": 8, "batch_size": 1, "color": 7}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "3": {"class_type": "WaitForFile", "inputs": {"image": ["1", 0], "path": str(path)}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "w"}},
    }


class Work:
    """The command in a process of its own."""

    def __init__(self, base: Path, url: str, *args: str) -> None:
        where = ("--database", url, "--base-directory", str(base), "--custom-nodes", str(base / "packs"))
        environ = {
            **os.environ,
            "LATENTGRAPH_CACHE": str(base / "cache"),
            "LATENTGRAPH_SERVER_STOP_SECONDS": "0",
        }
        self.process = subprocess.Popen(
            [*COMMAND, *where, "--cpu", "--json", *args],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )

    def until(self, event: str) -> dict[str, Any]:
        """Wait until something is told."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found: dict[str, Any] = json.loads(line)
            if found["event"] == event:
                return found
        raise AssertionError(f"it ended without {event!r}")

    def end(self, how: int) -> int:
        """Send it a signal; how it ended."""
        self.process.send_signal(how)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.mark.slow
def test_a_job_survives_the_workers_that_are_killed_and_told_to_stop(
    tmp_path: Path, postgres: Database
) -> None:
    pack = tmp_path / "packs" / "waiting"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK, encoding="utf-8")
    url, there = postgres.new(), tmp_path / "there"
    queue = Queue(open_database(url))
    queue.accept(NewJob("a", waiting(there), {}, ("2",)), 0, True).result()
    killed = Work(tmp_path, url)
    assert killed.until("begun") == {"event": "begun", "job": "a", "attempt": 1}
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    postgres.ask("UPDATE jobs SET lease_until = lease_until - 60", url.rpartition("/")[2])  # a minute later
    stopped = Work(tmp_path, url)
    assert stopped.until("begun")["attempt"] == 2
    assert stopped.end(signal.SIGTERM) == 0
    assert [(job.id, job.attempt) for job in queue.waiting()] == [("a", 1)], "put back, not counted"
    there.touch()
    last = Work(tmp_path, url, "--until-empty")
    assert last.until("success")["outputs"] == ["w_00001_.png"]
    last.until("empty")
    assert last.process.wait(60) == 0
    last.process.communicate()
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["w_00001_.png"]
    queue.close()


def test_a_queue_must_be_named() -> None:
    result = CliRunner().invoke(app, ["work"])
    assert isinstance(result.exception, WorkflowError)
    assert "no queue is named" in str(result.exception)


def test_a_queue_that_cannot_be_reached_is_said_in_a_line(tmp_path: Path) -> None:
    url = "postgresql://u:sesame@127.0.0.1:1/x"
    result = CliRunner().invoke(app, ["work", "--database", url, "--base-directory", str(tmp_path)])
    assert result.exit_code == 2
    assert "127.0.0.1:1, database x as u" in result.output
    assert "sesame" not in result.output


def test_help_has_examples() -> None:
    assert "--until-empty --json" in CliRunner().invoke(app, ["work", "--help"]).output
