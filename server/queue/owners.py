"""Who holds leases: named so that the next process on the same machine sees which of them are gone."""

import functools
import os
import socket
import uuid
import zlib
from pathlib import Path

from sqlalchemy import select

from server.queue.store import Queue
from server.queue.tables import jobs


def new_owner() -> str:
    """A name for a worker of this process."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{_where()}:{uuid.uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """Whether an owner's process was one of this machine and has ended; of others nothing is known."""
    _, pid, where, *_ = (*owner.split(":"), "", "", "")
    if not where or where != _where() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def recover_lost(queue: Queue) -> list[str]:
    """Put back the jobs whose worker is gone or silent for too long; gives the ids of those given up."""
    question = select(jobs.c.owner).where(jobs.c.status == "running").distinct()
    owners = [owner for owner in queue.read(lambda c: list(c.scalars(question))) if owner and is_gone(owner)]
    changes = [*(queue.recover(owner=owner) for owner in owners), queue.recover()]
    return [id for change in changes for id in change.result()]


@functools.cache
def _where() -> str:
    """What process numbers here mean: this start of this machine, and the container; "" where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = Path("/proc/self/ns/pid").readlink()
        return f"{zlib.crc32(f'{boot}{space}'.encode()):08x}"
    except OSError:
        return ""
