"""Graphs that were checked a moment ago, so that a job which runs at once is not checked a second time."""

import threading
import time

from engine.graph import Graph
from server.queue.jobs import Job

GOOD_S = 2.0
"""Seconds for which a check holds: files that a workflow names may be gone later."""
MOST = 256


class Lately:
    """The graphs by the job's row, as ids may be given again; safe in any thread."""

    def __init__(self) -> None:
        self._graphs: dict[int, tuple[Graph, float]] = {}
        self._lock = threading.Lock()

    def put(self, job: Job, graph: Graph) -> None:
        """Keep the graph of a job that was accepted now."""
        with self._lock:
            self._graphs[job.seq] = graph, time.monotonic()
            if len(self._graphs) > MOST:
                del self._graphs[next(iter(self._graphs))]

    def take(self, job: Job) -> Graph | None:
        """The graph of a job, once, if it was accepted just now."""
        with self._lock:
            graph, since = self._graphs.pop(job.seq, (None, 0.0))
        return graph if time.monotonic() - since < GOOD_S else None
