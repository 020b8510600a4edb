"""One server to a base directory: a lock that the kernel lets go when its holder dies."""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path


class HeldError(Exception):
    """Another server holds the base directory."""


class Lock:
    """The lock of a base directory, held until it is closed or the process ends, however it ends.

    Raises:
        HeldError: Another process has it; says which.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._fd, 1000).decode(errors="replace").strip() or "another process"
            os.close(self._fd)
            raise HeldError(f"{path.parent.parent.resolve()} is served already, by {holder}") from error
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):  # a full disk: it is held all the same
            os.ftruncate(self._fd, 0)
            os.write(self._fd, json.dumps({"pid": os.getpid(), "since": since}).encode())

    def close(self) -> None:
        """Let it go."""
        os.close(self._fd)
