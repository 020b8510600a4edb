"""`latentgraph batch` over tiny nodes, in a process that is forked with everything imported; kills of it."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from engine.files import Files
from engine.node import node
from engine.ports import Given, Hint, Range, Shown
from engine.problems import NodeFailure
from engine.registry import Registry
from engine.steps import Steps, call
from server import assembly
from tests.server.faulty import EXIT_AT, TINY, Faults, Picture, png

MEASURED = ("seconds", "finished", "executed", "cached", "attempts", "joules")
"""Fields of the manifest that differ between two runs of the same batch."""
ENDED = 137


class Mixer:
    """A model: its answer depends on the size of its batch, never on what shares it."""

    def batch_key(self, request: Any) -> Hashable:
        return "mixer"

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        threading.Event().wait(0.001)
        return [(r * 7 + 13 * len(requests)) % 256 for r in requests]


@node("Mix", category="tiny")
def mix(
    *,
    picture: Picture,
    seed: Annotated[int, Range(0, 10**9), Hint("control_after_generate")] = 0,
    steps: int = 3,
) -> Steps[Picture]:
    """A picture whose colour a model changes, step by step."""
    value = seed % 256
    for _ in range(steps):
        (value,) = yield from call(Mixer(), value)
    return picture.point(lambda x: (x + value) % 256)


@node("Refuse", category="tiny")
def refuse(*, picture: Picture, bad: int = 0, unless: str = "") -> Picture:
    """Fail for one colour, unless a file is there."""
    if picture.getpixel((0, 0))[2] == bad and not (unless and Path(unless).exists()):
        raise NodeFailure("this colour is bad", "take another")
    return picture


@node("SlowUnless", category="tiny")
def slow_unless(*, picture: Picture, mark: str = "") -> Steps[Picture]:
    """Take many steps, unless a file is there."""
    for _ in range(0 if Path(mark).exists() else 10_000):
        yield from call(Mixer(), 0)
    return picture


@node("DieOn", category="tiny")
def die_on(*, picture: Picture, bad: int = 0) -> Picture:
    """End the process for one colour."""
    if picture.getpixel((0, 0))[2] == bad:
        os._exit(ENDED)
    return picture


@node("Store", category="tiny", is_output=True)
def store(*, picture: Picture, filename_prefix: str = "p", files: Annotated[Files, Given()]) -> Shown[None]:
    """Write a picture twice."""
    links = [files.write("output", filename_prefix, s, png(picture)).as_link() for s in (".png", ".copy")]
    return Shown(None, {"images": links})


TOYS = TINY.with_nodes(mix, refuse, slow_unless, die_on, store)


def workflow(folder: Path, through: str = "", **inputs: Any) -> Path:
    """Paint, mix, perhaps something in between, and store; written to a file."""
    nodes: dict[str, Any] = {
        "1": {"class_type": "Paint", "inputs": {"color": 5, "size": 8}, "_meta": {"title": "Paint"}},
        "2": {"class_type": "Mix", "inputs": {"picture": ["1", 0], "seed": 1, "steps": 3}},
        "9": {"class_type": "Store", "inputs": {"picture": ["2", 0], "filename_prefix": "toy"}},
    }
    if through:
        nodes["5"] = {"class_type": through, "inputs": {"picture": ["1", 0], **inputs}}
        nodes["2"]["inputs"]["picture"] = ["5", 0]
    path = folder / "toy.json"
    path.write_text(json.dumps(nodes), encoding="utf-8")
    return path


# ---------------------------------------------------------------- processes


def main(arguments: Sequence[str], base: Path, environ: dict[str, str], registry: Registry | None) -> None:
    """The command in this process; what it says goes to files under `base`."""
    os.chdir(base)
    os.environ.update({"LATENTGRAPH_MEMORY_GB": "0.1", "LATENTGRAPH_DEVICE": "cpu", **environ})
    for stream, name in ((1, "said.out"), (2, "said.err")):
        os.dup2(os.open(base / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), stream)
    if registry is not None:
        assembly.installed = lambda: registry  # type: ignore[assignment]
    faults = Faults.asked()
    if faults.exit_at:
        faults.install()
        faults.armed = True
    if full := os.environ.get("LATENTGRAPH_TEST_FULL"):
        _fill(full)
    sys.argv = ["latentgraph", *arguments]
    from engine.cli import main as command

    try:
        command()
    except SystemExit as error:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(error.code if isinstance(error.code, int) else 1)
    os._exit(0)


def _fill(name: str) -> None:
    """Have the disk be full whenever a file of this name is synced the third time."""
    fsync, calls = os.fsync, iter(range(10**9))

    def failing(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name == name and next(calls) >= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(fd)

    os.fsync = failing


_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = (
    "pytest",
    "tests.server.batch.commands",
    "server.batch.conduct",
    "engine.cli",
    "alembic.command",
)


class Command:
    """`latentgraph …` in a process of its own, over tiny nodes.

    Args:
        base: Where it runs, and where what it says is kept.
        environ: Beside a cache of its own under `base`.
    """

    def __init__(self, base: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        base.mkdir(parents=True, exist_ok=True)
        self.base = base
        around = {"LATENTGRAPH_CACHE": str(base / "cache"), **(environ or {})}
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        args = (arguments, base, around, None)
        self._process = _CONTEXT.Process(target=_with_toys, args=args)
        self._process.start()
        self.pid = self._process.pid or 0

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.join(30)

    def until(self, happened: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until something has happened."""
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, self.err
            assert self.wait(0.01) is None, self.err

    def until_running(self, folder: Path) -> None:
        """Wait until a job is being run."""
        path = folder / ".batch" / "queue.sqlite"

        def running() -> bool:
            try:
                with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                    found = database.execute("SELECT 1 FROM jobs WHERE status = 'running'").fetchone()
            except sqlite3.Error:  # not there yet
                return False
            return found is not None

        self.until(running)

    def until_told(self, path: Path) -> None:
        """Wait until a file has grown, or it has ended."""
        size = path.stat().st_size if path.exists() else 0
        while self.wait(0.002) is None:
            if path.exists() and path.stat().st_size != size:
                return

    def interrupt(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C."""
        os.kill(self.pid, how)

    def wait(self, seconds: float = 60) -> int | None:
        """Its exit status once it ends; None if it does not in that time."""
        self._process.join(seconds)
        return self._process.exitcode

    @property
    def out(self) -> str:
        """What it said to programs."""
        return (self.base / "said.out").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """What it said to people."""
        return (self.base / "said.err").read_text(encoding="utf-8")


def _with_toys(arguments: Sequence[str], base: Path, environ: dict[str, str], _: None) -> None:
    main(arguments, base, environ, TOYS)


def ran(base: Path, *arguments: str, environ: dict[str, str] | None = None) -> Command:
    """The command, run to its end."""
    command = Command(base, *arguments, environ=environ)
    assert command.wait() is not None, command.err
    return command


# ---------------------------------------------------------------- what it leaves


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The manifest's lines."""
    text = (folder / "manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    """All files in a folder by relative path; of the manifest, what is not measured."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    if "manifest.jsonl" in found:
        kept = [{k: v for k, v in line.items() if k not in MEASURED} for line in lines_of(folder)]
        found["manifest.jsonl"] = "\n".join(map(json.dumps, kept)).encode()
    return found


def differences(folder: Path, other: Path) -> list[str]:
    """Files that are not the same in two folders."""
    ours, theirs = files_of(folder), files_of(other)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


@dataclass
class Tally:
    """What came of a batch that was killed again and again."""

    kills: int = 0
    ended_by_itself: int = 0
    batches: int = 0
    wrong: list[str] = field(default_factory=list)
    between: int = 0
    """Kills after the first job had ended, and before the last one had."""


def kill_often(
    base: Path,
    arguments: Iterable[str],
    kills: int,
    *,
    seed: int = 1,
    longest: float = 0.3,
    cache: Callable[[int], str] = lambda n: f"cache{n}",
    meddle: Callable[[Path, random.Random], None] = lambda _folder, _chance: None,
) -> Tally:
    """Kill batches at random moments until each is done, over and over; compare with an undisturbed one.

    Args:
        longest: Seconds that a command is left running at most, from its start or from its first new line.
        cache: The cache of the n-th batch; one of its own each, or a shared one.
        meddle: Does something more to the folder after each kill.
    """
    tally, chance, asked = Tally(), random.Random(seed), list(arguments)
    whole = ran(base / "whole", *asked, "--output", "out")
    assert whole.wait() == 0, whole.err
    jobs = len(lines_of(base / "whole" / "out"))
    while tally.kills < kills:
        tally.batches += 1
        home = base / f"batch{tally.batches}"
        around = {"LATENTGRAPH_CACHE": str(base / cache(tally.batches))}
        before: dict[int, Any] = {}
        while True:
            command = Command(home, *asked, "--output", "out", environ=around)
            if tally.kills < kills:
                if chance.random() < 0.5:
                    command.until_told(home / "out" / "manifest.jsonl")
                command.wait(chance.uniform(0, longest))
            code = command.wait(0 if tally.kills < kills else 60)
            if code is not None:
                tally.ended_by_itself += 1
                if code != 0:
                    tally.wrong.append(f"{home.name} ended with {code}: {command.err}")
                break
            command.kill()
            tally.kills += 1
            _look(tally, home / "out", before)
            tally.between += 0 < len(before) < jobs
            meddle(home / "out", chance)
        _look(tally, home / "out", before)
        tally.wrong += [
            f"{home.name}: {n} differs" for n in differences(home / "out", base / "whole" / "out")
        ]
    return tally


def meddle(folder: Path, chance: random.Random) -> None:
    """Leave what a power cut may: half a line in the manifest, no queue."""
    manifest = folder / "manifest.jsonl"
    if manifest.exists() and chance.random() < 0.5:
        with manifest.open("ab") as file:
            file.write(b'{"job":3,"inputs":{"Paint.col')
    if chance.random() < 0.3:
        for path in (folder / ".batch").glob("queue.sqlite*"):
            path.unlink()


def points_of_no_return(base: Path, arguments: Sequence[str], stride: int = 1) -> tuple[int, list[str]]:
    """End the process at the n-th change of the disk, for all n until it survives; then go on undisturbed.

    Returns:
        How many points there are, and what was not as it should be.
    """
    wrong: list[str] = []
    whole = ran(base / "whole", *arguments, "--output", "out")
    assert whole.wait() == 0, whole.err
    for n in range(1, 1_000, stride):
        home = base / str(n)
        first = ran(home, *arguments, "--output", "out", environ={EXIT_AT: str(n)})
        if first.wait() == 0:
            return n - 1, wrong
        again = ran(home, *arguments, "--output", "out")
        if again.wait() != 0:
            wrong.append(f"{n}: ended with {again.wait()}: {again.err}")
        wrong += [f"{n}: {name} differs" for name in differences(home / "out", base / "whole" / "out")]
    raise AssertionError("it never survives")


def _look(tally: Tally, folder: Path, before: dict[int, Any]) -> None:
    """Note finished jobs that are not any more, or were run again."""
    path = folder / "manifest.jsonl"
    pieces = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    lines = [json.loads(piece) for piece in pieces]
    now = {line["job"]: (line["finished"], line["seconds"]) for line in lines}
    tally.wrong += [f"{folder.parent.name}: job {n} is lost" for n in before.keys() - now.keys()]
    tally.wrong += [f"job {n} ran again" for n in before.keys() & now.keys() if before[n] != now[n]]
    if len(now) != len(lines):
        tally.wrong.append(f"{folder.parent.name}: a job has two lines")
    before.update(now)
