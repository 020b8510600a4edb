"""One server to a base directory, one batch to a folder: a lock that the kernel frees when its owner ends."""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path


class HeldError(Exception):
    """Another process holds the directory."""


class Lock:
    """The lock of a directory, held until it is closed or the process ends, however it ends.

    Args:
        path: The lock's file, in a folder of the directory.
        already: What is said of the directory where another process has it.

    Raises:
        HeldError: Another process has it; says which.
    """

    def __init__(self, path: Path, already: str = "is served already") -> None:
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(self._fd, 1000).decode(errors="replace").strip() or "another process"
                os.close(self._fd)
                raise HeldError(f"{path.parent.parent.resolve()} {already}, by {holder}") from error
            if _is(path, self._fd):
                break
            os.close(self._fd)  # its holder removed the file just now
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):  # a full disk: it is held all the same
            os.ftruncate(self._fd, 0)
            os.write(self._fd, json.dumps({"pid": os.getpid(), "since": since}).encode())

    def close(self) -> None:
        """Let it go."""
        os.close(self._fd)


def _is(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
