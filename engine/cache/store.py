"""The shared store: results by key on shared or object storage, for engines on any number of machines."""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from blake3 import blake3

from engine.cache import PASSING, KeyParts, Result
from engine.cache.codec import NotStorable
from engine.cache.stored import from_bytes, is_worth, to_bytes
from engine.drafts import write_whole
from engine.problems import Problem, WorkflowError

T = TypeVar("T")
log = logging.getLogger(__name__)
PATIENCE_S = 20.0
"""Seconds that a store may take to answer, beside those that the bytes take at `SLOWEST` a second."""
SLOWEST = 2**20
RETRY_S = 30.0
"""Seconds for which a store that did not answer is left alone."""
ABSENT_S = 5.0
"""Seconds for which a key that the store did not have is not asked for again."""
REMEMBERED = 20_000
"""Keys of which it is remembered what the store said."""


@dataclass(frozen=True)
class Action:
    """What the store has under a key.

    Args:
        blob: The blake3 of the blob with the values.
        size: Bytes of it.
        types: Of the output values' slots, by the name of their type; for people who look into the store.
        cost: Seconds that the result took to compute.
        trail: As `engine.trail.Trail.as_json`.
    """

    blob: str
    size: int
    types: tuple[str, ...] = ()
    cost: float = 0.0
    trail: list[list[Any]] | None = None

    def as_bytes(self) -> bytes:
        """A line with the digest of the rest, then JSON."""
        body = json.dumps(vars(self), separators=(",", ":")).encode()
        return blake3(body).hexdigest(16).encode() + b"\n" + body


def read_action(data: bytes) -> Action | None:
    """The action that `Action.as_bytes` made these bytes of; None for others."""
    digest, _, body = data.partition(b"\n")
    if digest != blake3(body).hexdigest(16).encode():
        return None
    try:
        return Action(**json.loads(body))
    except (ValueError, TypeError):  # of another version
        return None


@dataclass(frozen=True)
class StoreStats:
    """What a store holds: results, bytes of all blobs."""

    results: int
    bytes: int


class StoreTier:
    """Results by key under a URL: `actions/kk/KEY` names a blob, `blobs/hh/HASH` has the values.

    Nothing is listed, locked or changed but by writing whole objects, so that any number of engines may share
    it. Reading checks what was read; what is damaged or missing is a miss, and the next `put` repairs it. A
    store that does not answer is left alone for a while: it costs the cache, never the job.

    On the thread of an event loop nothing is looked up: `has` says no there.

    Args:
        url: As fsspec understands it: `file:///shared/cache`, `s3://bucket/prefix`, or a folder.
        worth: Seconds; a result that took less is not stored (a node that shows something always is).

    Raises:
        WorkflowError: The URL's protocol is not known, or needs a package that is not installed.
    """

    name = "store"
    quick = False
    far = True

    def __init__(self, url: str, worth: float = 0.1, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = re.sub("://[^/@]*@", "://***@", url)  # as it is shown
        self._worth, self._clock = worth, clock
        self._fs, self._root = _opened(url, self.url)
        self._actions: dict[str, Action] = {}
        self._absent: dict[str, float] = {}
        self._reported: set[str] = set()
        self._down_until = 0.0
        self._is_down = False
        self._lock = threading.Lock()

    def has(self, key: str) -> bool:
        """Whether the store has it, as far as is known; its blob is not looked at."""
        return self._action(key) is not None

    def get(self, key: str) -> Result | None:
        """The result, or None where the store does not have it, does not answer, or has it damaged."""
        action = self._action(key)
        if action is None:
            return None
        path = self._path("blobs", action.blob)
        data = self._asked(lambda: self._read(path), action.size)
        if data is None:
            return None
        if blake3(data).hexdigest() != action.blob:
            self._damaged(key, f"blob {action.blob[:12]} is damaged" if data else "its blob is gone")
            return None
        with self._lock:
            self._actions.pop(key, None)
        return from_bytes(data, action.cost, action.trail)

    def slow(self, result: Result) -> bool:
        """Whether it is worth a place there."""
        return is_worth(result, self._worth)

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        """Store a result if it has a codec and is worth it, whatever is there now."""
        del parts  # a miss is explained by the disk cache of the machine where it happens
        if key.startswith(PASSING) or not self.slow(result) or self._resting:
            return
        try:
            data = to_bytes(result)
        except (NotStorable, RecursionError):
            return
        types = tuple(type(values[0]).__name__ if values else "" for values in result.outputs)
        trail = result.trail.as_json() if result.trail else None
        action = Action(blake3(data).hexdigest(), len(data), types, result.cost, trail)

        def write() -> bool:
            self._write(self._path("blobs", action.blob), data)
            self._write(self._path("actions", key), action.as_bytes())
            return True

        if self._asked(write, len(data)):
            with self._lock:
                self._absent.pop(key, None)

    def stats(self) -> StoreStats | None:
        """What is stored, by listing it, which may take long; None where the store does not answer."""

        def listed() -> StoreStats:
            return StoreStats(len(self._sizes("actions")), sum(self._sizes("blobs")))

        return self._asked(listed, 1000 * SLOWEST)

    # ------------------------------------------------------------ what is known

    def _action(self, key: str) -> Action | None:
        if key.startswith(PASSING) or _on_loop():
            return None
        with self._lock:
            if self._absent.get(key, 0.0) > self._clock():
                return None
            if (known := self._actions.get(key)) is not None:
                return known
        path = self._path("actions", key)
        data = self._asked(lambda: self._read(path))
        if data is None:
            return None
        found = read_action(data)
        if found is not None:
            with self._lock:
                _bounded(self._actions)[key] = found
        elif data:
            self._damaged(key, "its entry is damaged")
        else:
            self._missing(key)
        return found

    def _missing(self, key: str) -> None:
        with self._lock:
            _bounded(self._absent)[key] = self._clock() + ABSENT_S
            self._actions.pop(key, None)

    def _damaged(self, key: str, what: str) -> None:
        self._missing(key)
        if what not in self._reported:
            self._reported.add(what)
            log.warning("a result in the store %s is computed again: %s", self.url, what)

    # ------------------------------------------------------------ the storage

    @property
    def _resting(self) -> bool:
        return self._clock() < self._down_until

    def _asked(self, work: Callable[[], T], size: int = 0) -> T | None:
        """What the storage gives, or None where it does not in time; then it is left alone for a while."""
        if self._resting:
            return None
        try:
            given = _within(PATIENCE_S + size / SLOWEST, work)
        except Exception as error:  # each kind of storage has its own
            self._down_until = self._clock() + RETRY_S
            if not self._is_down:
                reason = str(error) or type(error).__name__
                log.warning("the store %s cannot be used now (%s); going on without it", self.url, reason)
            self._is_down = True
            return None
        if self._is_down:
            log.info("the store %s can be used again", self.url)
        self._is_down = False
        return given

    def _read(self, path: str) -> bytes:
        """The bytes of an object; none where it is not there."""
        try:
            return bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            return b""

    def _write(self, path: str, data: bytes) -> None:
        if "file" in _protocols(self._fs):
            return write_whole(Path(path), data)
        try:
            self._fs.pipe_file(path, data)
        except FileNotFoundError:
            if self._fs.async_impl:  # object storage: there is no such bucket, and none is to be made
                raise
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(path, data)

    def _sizes(self, part: str) -> list[int]:
        try:
            found = self._fs.find(f"{self._root}/{part}", detail=True)
        except FileNotFoundError:
            return []
        return [int(entry["size"] or 0) for entry in found.values()]

    def _path(self, part: str, name: str) -> str:
        return f"{self._root}/{part}/{name[:2]}/{name}"


def _opened(url: str, shown: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    try:
        fs, root = url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        known = known_implementations.get(url.split("::")[-1].split(":")[0], {})
        package = str(known.get("class", "")).split(".")[0]
        hint = "give a folder or a URL that fsspec knows: file:///shared/cache, s3://bucket/prefix"
        if isinstance(error, ImportError) and package not in ("", "fsspec"):
            hint = f"pip install {package}"
        raise WorkflowError([Problem("bad_setting", f"the store {shown}: {error}", hint=hint)]) from error
    return fs, str(root).rstrip("/")


def _protocols(fs: Any) -> Iterable[str]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol


def _within(seconds: float, work: Callable[[], T]) -> T:
    """What some work gives, if it does in time; else it goes on by itself and keeps nobody waiting."""
    given: Future[T] = Future()

    def run() -> None:
        try:
            given.set_result(work())
        except BaseException as error:
            given.set_exception(error)

    threading.Thread(target=run, name="store", daemon=True).start()
    return given.result(seconds)


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _bounded(known: dict[str, T]) -> dict[str, T]:
    """The same, emptied where it has become large."""
    if len(known) >= REMEMBERED:
        known.clear()
    return known
