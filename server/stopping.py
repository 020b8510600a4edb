"""Ways for a command to end in order: what SIGINT and SIGTERM do, and workers that stop together."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from server.attended import Attended
from server.worker import Worker


@contextmanager
def listening(stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call something; told again, the process ends at once.

    Whoever uses it has what was promised on disk.
    """
    told = False

    def heard(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if told:
            os._exit(130)
        told = True
        stop()

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_all(workers: Iterable[Worker | Attended], seconds: float) -> None:
    """Have what workers run end within some seconds, or go back into the queue."""
    threads = [threading.Thread(target=worker.stop, args=(seconds,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
