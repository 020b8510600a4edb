"""After a restart the queue goes on where it was; the real command too, and only one to a folder."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.server.asking import ask, outputs, post, recorded, rows, sha256, sound, until_empty
from tests.server.faulty import Process, prompt

COUNT = 150


def test_what_waited_runs_in_the_same_order_after_a_kill(tmp_path: Path) -> None:
    process = Process(tmp_path)
    post(process.address, prompt(0, "first", "Slow", steps=1_000, seconds=0.05), "first", number=-1)
    for i in range(COUNT):
        assert post(process.address, prompt(i, f"p{i}"), f"j{i}", number=i * 7 % COUNT) == 200
    process.kill()
    process = Process(tmp_path)
    order = [item[1] for item in ask(process.address, "GET", "/queue")[1]["queue_pending"]]
    assert order[-COUNT:] == [f"j{i}" for i in sorted(range(COUNT), key=lambda i: i * 7 % COUNT)]
    ask(process.address, "POST", "/interrupt", {"prompt_id": "first"})
    ask(process.address, "POST", "/queue", {"delete": ["first"]})
    until_empty(process.address)
    ended = [
        row["id"] for row in rows(tmp_path, "SELECT id FROM jobs WHERE id <> 'first' ORDER BY finished, seq")
    ]
    assert ended == order[-COUNT:]
    assert len([name for name in outputs(tmp_path) if name.startswith("p")]) == COUNT
    assert process.terminate() == 0


def test_the_history_and_the_answers_to_old_ids_outlive_a_kill(tmp_path: Path) -> None:
    process = Process(tmp_path)
    post(process.address, prompt(1, "a"), "a")
    until_empty(process.address)
    before = ask(process.address, "GET", "/history/a")[1]
    process.kill()
    process = Process(tmp_path)
    assert ask(process.address, "GET", "/history/a")[1] == before
    assert post(process.address, prompt(1, "a"), "a") == 409
    process.kill()


# ---------------------------------------------------------------- the real command


def command(base: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("latentgraph")), "serve", "--cpu", "--port", "0",
         "--base-directory", str(base), *more],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def address_of(process: "subprocess.Popen[str]") -> str:
    assert process.stderr
    for line in process.stderr:
        if "latentgraph is at" in line:
            return line.split("latentgraph is at ")[1].split()[0]
    raise AssertionError(f"it ended with {process.wait()}")


def empty_image(color: int, prefix: str) -> dict[str, Any]:
    inputs = {"width": 64, "height": 64, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


@pytest.mark.slow
def test_the_command_survives_kills_is_alone_in_its_folder_and_ends_by_sigterm(tmp_path: Path) -> None:
    accepted = []
    for kill in range(2):
        with command(tmp_path) as process:
            address = address_of(process)
            for i in range(40):
                n = kill * 40 + i
                assert post(address, empty_image(n, f"p{n}"), f"j{n}") == 200
                accepted.append(n)
            process.kill()
    with command(tmp_path) as process:
        address = address_of(process)
        with command(tmp_path) as second:
            assert second.stderr
            said = second.stderr.read()
            assert second.wait() == 3
        assert "served already" in said
        assert f'"pid": {process.pid}' in said.replace("\n", " ")
        until_empty(address, 120)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - started < 10
    assert sound(tmp_path)
    found = outputs(tmp_path)
    assert sorted(found) == sorted(f"p{n}_00001_.png" for n in accepted)
    for row in rows(tmp_path):
        assert row["status"] == "success"
        ((name, digest),) = recorded(row)
        assert sha256(found[name]) == digest
