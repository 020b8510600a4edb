"""Who makes a slow result: of the processes that share a cache folder one, while the others wait for it."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

SLOW_S = 0.3
"""Seconds that nodes of a class usually take, from which on it is worth to wait for another process."""
FIRST_LOOK_S, LAST_LOOK_S = 0.05, 1.0
"""Seconds between two looks whether the other process has ended: at first, and at most."""
PATIENCE_S = 30.0
"""Seconds, beside ten times what such nodes take, that a node waits for another process: it may be halted."""


class Lease:
    """The right to make a result, until it is released or the process ends, however it ends."""

    def __init__(self, release: Callable[[], None] = lambda: None) -> None:
        self._release = release

    def release(self) -> None:
        """Let others make it, or find it in the cache."""
        release, self._release = self._release, lambda: None
        release()


class Leases:
    """A folder with a locked file for each result that is being made; the kernel unlocks those of the dead.

    Whoever holds one is computing: a node that begins to wait for other nodes releases it first. So nobody
    waits in a circle. Where files cannot be locked, everybody gets a lease at once.

    Args:
        folder: Made when the first is taken.
        usual: Seconds that nodes of a class took in earlier runs, or None.
        stored: Whether a result is in the cache, by key.
    """

    def __init__(
        self, folder: Path, usual: Callable[[str], float | None], stored: Callable[[str], bool]
    ) -> None:
        self._folder, self._usual, self.stored = folder, usual, stored
        self._seconds: dict[str, float | None] = {}
        self._unstored: set[str] = set()
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._opened = self._off = False

    def seconds(self, name: str) -> float | None:
        """What nodes of a class usually take."""
        if name not in self._seconds:
            self._seconds[name] = self._usual(name)
        return self._seconds[name]

    def worth(self, name: str, models: bool) -> bool:
        """Whether a node of a class very likely is slow and its result is stored.

        Args:
            models: Whether it calls models: then it counts as slow until it is known.
        """
        if self._off or name in self._unstored:
            return False
        seconds = self.seconds(name)
        return models if seconds is None else seconds >= SLOW_S

    def patience(self, name: str) -> float:
        """Seconds to wait for another process that makes a result of this class."""
        return PATIENCE_S + 10 * (self.seconds(name) or 0.0)

    def took(self, name: str, seconds: float, stored: bool) -> None:
        """Note how long a node of a class took, and whether its result has a codec."""
        usual = self.seconds(name)
        self._seconds[name] = seconds if usual is None else (usual + seconds) / 2
        if not stored:
            self._unstored.add(name)

    def take(self, key: str) -> Lease | None:
        """The lease of a result, one for show where this process has it; None where another has it."""
        with self._lock:
            if self._off or key in self._held:
                return Lease()
            path = self._folder / key
            try:
                if not self._opened:
                    self._open()
                fd = _locked(path)
            except (OSError, ImportError) as error:
                self._off = True
                log.warning(
                    "no files can be locked in %s (%s); processes may do work twice", path.parent, error
                )
                return Lease()
            if fd is None:
                return None
            self._held.add(key)
        return Lease(lambda: self._release(key, fd))

    def _release(self, key: str, fd: int) -> None:
        with self._lock:
            self._held.discard(key)
            with contextlib.suppress(OSError):
                (self._folder / key).unlink(
                    missing_ok=True
                )  # before it is unlocked: nobody else has locked it
            os.close(fd)

    def _open(self) -> None:
        """Make the folder; remove the files of processes that were killed."""
        self._opened = True
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if (fd := _locked(path)) is not None:
                path.unlink(missing_ok=True)
                os.close(fd)


def _locked(path: Path) -> int | None:
    """The descriptor of a file that is locked now, or None where another process has locked it."""
    import fcntl

    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(fd)):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            pass
        except OSError:
            os.close(fd)
            raise
        os.close(fd)  # its last holder removed the file after it was opened here
