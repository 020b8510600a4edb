"""A server with tiny nodes in a process of its own, which ends or fails at the n-th change of a disk."""

import asyncio
import builtins
import errno
import io
import logging
import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import PIL.Image
from sqlalchemy.engine import default

from engine.config import read_settings
from engine.files import Files
from engine.node import node
from engine.ports import Given, Port, Range, Shown
from engine.registry import Registry
from engine.steps import Progress, Steps, call
from server import serving
from server.config import ServerSettings

Picture = Annotated[Any, Port("PICTURE")]
EXIT_AT = "LATENTGRAPH_TEST_EXIT_AT"
FAIL_AT = "LATENTGRAPH_TEST_FAIL_AT"
"""`n:ENOSPC`, or `n+:ENOSPC` for the n-th call and all that follow; `LATENTGRAPH_TEST_MEND` ends it."""
ENDED = 137


@node("Paint", category="tiny")
def paint(
    *, color: Annotated[int, Range(0, 0xFFFFFF)] = 0, size: Annotated[int, Range(1, 4096)] = 8
) -> Picture:
    """A picture of one colour."""
    return PIL.Image.new("RGB", (size, size), (color >> 16, color >> 8 & 255, color & 255))


@node("Keep", category="tiny", is_output=True)
def keep(*, picture: Picture, prefix: str = "p", files: Annotated[Files, Given()]) -> Shown[None]:
    """Write a picture."""
    return Shown(None, {"images": [files.write("output", prefix, ".png", png(picture)).as_link()]})


@node("Slow", category="tiny")
def slow(
    *,
    picture: Picture,
    steps: Annotated[int, Range(0, 1_000)] = 10,
    seconds: Annotated[float, Range(0, 1)] = 0.02,
) -> Steps[Picture]:
    """A picture, in steps that take their time."""
    for step in range(steps):
        yield from call(Sleeper(), seconds)
        yield Progress(step + 1, steps)
    return picture


class Sleeper:
    """A model whose answers take their time."""

    def batch_key(self, request: Any) -> Hashable:
        return request

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        time.sleep(requests[0])
        return list(requests)


@node("Stuck", category="tiny")
def stuck(*, picture: Picture, seconds: float = 60.0) -> Picture:
    """A picture, after a time in which nothing can stop it."""
    time.sleep(seconds)
    return picture


@node("Die", category="tiny")
def die(*, picture: Picture) -> Picture:
    """End the process."""
    os._exit(ENDED)


@node("Raise", category="tiny")
def fail(*, picture: Picture) -> Picture:
    """Fail."""
    raise ValueError("out of order")


TINY = Registry().with_nodes(paint, keep, slow, stuck, die, fail)


def png(picture: Any) -> bytes:
    """A picture's file."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def expected(color: int, size: int = 8) -> bytes:
    """What `Keep` writes of `Paint`."""
    return png(paint(color=color, size=size))


def prompt(color: int, prefix: str, through: str = "", **inputs: Any) -> dict[str, Any]:
    """Paint, perhaps something in between, and keep."""
    found: dict[str, Any] = {
        "1": {"class_type": "Paint", "inputs": {"color": color, "size": 8}},
        "9": {"class_type": "Keep", "inputs": {"picture": ["1", 0], "prefix": prefix}},
    }
    if through:
        found["5"] = {"class_type": through, "inputs": {"picture": ["1", 0], **inputs}}
        found["9"]["inputs"]["picture"] = ["5", 0]
    return found


# ---------------------------------------------------------------- faults


@dataclass
class Faults:
    """Counts the calls that change a disk; the n-th ends the process or fails.

    Args:
        mended: A file; once it is there nothing fails any more.
    """

    exit_at: int = 0
    fail_at: int = 0
    lasting: bool = False
    code: int = errno.ENOSPC
    mended: Path | None = None
    armed: bool = False
    count: int = 0
    where: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def asked(cls) -> "Faults":
        """What the environment asks for."""
        number, _, code = os.environ.get(FAIL_AT, "0:ENOSPC").partition(":")
        mend = os.environ.get("LATENTGRAPH_TEST_MEND")
        return cls(
            int(os.environ.get(EXIT_AT, "0")),
            int(number.rstrip("+")),
            number.endswith("+"),
            getattr(errno, code),
            Path(mend) if mend else None,
        )

    def hit(self) -> bool:
        """Whether this call is to fail; does not return if the process is to end."""
        if not self.armed:
            return False
        with self.lock:
            self.count += 1
            if self.count == self.exit_at:
                os._exit(ENDED)
            late = self.lasting and self.count > self.fail_at > 0
            failing = self.count == self.fail_at or late
            return failing and not (self.mended and self.mended.exists())

    def wrapped(self, fn: Callable[..., Any], counts: Callable[..., bool] = lambda *_, **__: True) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if counts(*args, **kwargs) and self.hit():
                raise OSError(self.code, os.strerror(self.code))
            return fn(*args, **kwargs)

        return call

    def install(self) -> None:
        """Put the counting in place of the real calls."""
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        os.open = self.wrapped(os.open, lambda path, flags, *_, **__: bool(flags & writing))
        for name in ("fsync", "link", "replace", "rename", "unlink", "mkdir"):
            setattr(os, name, self.wrapped(getattr(os, name)))
        real, wrapped = io.open, self.wrapped

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, *args, **kwargs)
            if not isinstance(file, int) and self.hit():
                raise OSError(self.code, os.strerror(self.code))
            return _File(real(file, mode, *args, **kwargs), wrapped)

        io.open = builtins.open = opened  # type: ignore[assignment]
        commit = default.DefaultDialect.do_commit

        def do_commit(dialect: Any, connection: Any) -> None:
            if self.hit():
                raise sqlite3.OperationalError("database or disk is full")
            commit(dialect, connection)
            if self.exit_at:
                self.hit()

        default.DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


class _File:
    """A file whose every write counts."""

    def __init__(self, file: Any, wrapped: Callable[..., Any]) -> None:
        self._file = file
        self.write = wrapped(file.write)
        self.flush = wrapped(file.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()


# ---------------------------------------------------------------- processes


async def _never() -> None:
    await asyncio.Event().wait()


def main(base: Path, ready: Connection, environ: dict[str, str], from_start: bool, **server: Any) -> None:
    """A server over a base directory, until it is told to stop; its faults count once it answers."""
    os.environ.update(environ)
    base.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=base / "server.log", level=logging.INFO)
    faults = Faults.asked()
    faults.install()
    faults.armed = from_start
    if faults.exit_at or faults.fail_at:
        serving._tidy = lambda _: _never()  # type: ignore[assignment]  # its commits would be counted

    def answering(address: str) -> None:
        faults.armed = True
        ready.send(address)

    settings = read_settings(base_directory=base, cache=Path("off"), memory_gb=0.0, device="cpu")
    started = serving.started
    serving.started = lambda settings, server: started(settings, server, TINY)  # type: ignore[assignment]
    asyncio.run(serving.serve(settings, ServerSettings(port=0, **server), answering))
    os._exit(0)  # as the command does: threads of nodes that do not end must not keep the process


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "tests.server.faulty", "server.app", "asyncio", "alembic.command"])


class Process:
    """A server process; forked from one that has everything imported, so that it starts at once.

    Args:
        environ: Which faults it has.
        from_start: Whether its faults count from the beginning, not only once it answers.
    """

    def __init__(
        self, base: Path, environ: dict[str, str] | None = None, *, from_start: bool = False, **server: Any
    ) -> None:
        mine, its = _CONTEXT.Pipe(duplex=False)
        args = (base, its, environ or {}, from_start)
        self._process = _CONTEXT.Process(target=main, args=args, kwargs=server, daemon=True)
        self._process.start()
        its.close()
        self.pid = self._process.pid or 0
        self.address = ""
        try:
            if mine.poll(60):
                self.address = mine.recv()
        except EOFError:
            self._process.join(30)
        mine.close()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.join(30)

    def terminate(self, seconds: float = 30) -> int | None:
        """SIGTERM, and its exit status."""
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = 30) -> int | None:
        """Its exit status once it ends; None if it does not in that time."""
        self._process.join(seconds)
        return self._process.exitcode
