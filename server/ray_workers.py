"""Workers on Ray: one actor for each GPU or node of a cluster, each leasing from the same queue by itself."""

import importlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from engine.config import Settings
from engine.problems import Problem, WorkflowError
from server.attended import Attended, Line, work
from server.config import ServerSettings
from server.queue.jobs import Job
from server.ray_cluster import Place, connect, load_ray, located, places_on, refuse_lone_queue
from server.worker import Told

log = logging.getLogger(__name__)
ONE_CPU = Place()
OVER = ("over",)
"""What an actor tells last."""
ROOM_S = 20.0
"""Seconds after which it is said that the cluster has no room for a worker."""


def ray_workers(
    settings: Settings, server: ServerSettings, told: Told, gone: Callable[[list[Job]], None]
) -> list["RayWorker"]:
    """One worker for each GPU of the cluster; where it has none, one for each node, with all of its CPUs.

    The cluster is the one that Ray's own configuration names (`RAY_ADDRESS`), else one that runs on this
    machine, else one that is started and ends with the last worker.

    Raises:
        WorkflowError: Ray is not installed or cannot be reached; the cluster has no room for a worker; it has
            several machines and the queue is a file of one of them.
    """
    ray = load_ray()
    ours = not ray.is_initialized()
    if ours:
        connect(ray)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        settings, server = located(settings, server)
        refuse_lone_queue(server, nodes)
        places = places_on(nodes, server.ray_cpus, gpus=settings.device != "cpu")
        if not places:
            message = "no node of the Ray cluster has as many CPUs as a worker is to take"
            raise WorkflowError([Problem("ray_no_room", message, hint="lower ray_cpus; see `ray status`")])
    except BaseException:
        if ours:
            ray.shutdown()
        raise
    left = _Countdown(len(places), ray.shutdown if ours else lambda: None)
    return [RayWorker(settings, server, told, gone, place, left) for place in places]


class RayWorker(Attended):
    """A worker that is an actor of a Ray cluster; when it or its node ends, it starts again where it can.

    Args:
        place: What it takes of the cluster.
        left: Called once it has been stopped.
    """

    kind = "a worker on Ray"

    def __init__(
        self,
        settings: Settings,
        server: ServerSettings,
        told: Told,
        gone: Callable[[list[Job]], None],
        place: Place = ONE_CPU,
        left: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(settings, server, told, gone)
        self._place, self._left = place, left

    def stop(self, seconds: float) -> bool:
        """Have it end its jobs or put them back, and end; whether it did so by itself."""
        try:
            return super().stop(seconds)
        finally:
            self._left()

    def _open(self) -> Line:
        return _Actor(self._place, self._settings, self._server)


class _Actor:
    """An actor. What it has told is fetched by a call that waits until there is something."""

    def __init__(self, place: Place, settings: Settings, server: ServerSettings) -> None:
        import torch

        self._ray, self._place = load_ray(), place
        self._told: deque[tuple[Any, ...]] = deque()
        self._placed = False
        if self._is_over:
            raise OSError("Ray was shut down")
        try:
            self._actor = self._ray.remote(_LatentgraphWorker).options(**_options(place)).remote()
            self._run = self._actor.run.remote(settings, server, torch.get_num_threads())
        except self._ray.exceptions.RayError as error:
            raise OSError(str(error)) from error

    def send(self, command: tuple[Any, ...]) -> None:
        if self._is_over:
            return
        with self._ignoring_its_end():
            if command[0] == "stop" and not self._placed:
                self._ray.kill(self._actor)  # it waits for room
            else:
                self._actor.say.remote(command)

    def receive(self) -> tuple[Any, ...]:
        try:
            if not self._placed:
                self._await_room()
            while not self._told:
                if self._is_over:
                    raise EOFError
                self._told.extend(self._ray.get(self._actor.heard.remote()))
        except self._ray.exceptions.RayError as error:
            raise EOFError from error
        told = self._told.popleft()
        if told == OVER:
            raise EOFError
        return told

    def close(self) -> str:
        if self._is_over:
            return "Ray was shut down"
        try:
            self._ray.get(self._run, timeout=0)
            return "it was told to"
        except self._ray.exceptions.RayTaskError as error:
            return f"{type(error.cause).__name__}: {error.cause}"
        except self._ray.exceptions.RayError as error:
            return str(error).strip().splitlines()[0]
        finally:
            with self._ignoring_its_end():
                self._ray.kill(self._actor)

    def _await_room(self) -> None:
        there = self._actor.__ray_ready__.remote()
        if not self._ray.wait([there], timeout=ROOM_S)[0]:
            wanted = f"{self._place.gpus:g} GPU and " * bool(self._place.gpus) + f"{self._place.cpus:g} CPU"
            log.warning("the Ray cluster has no room for a worker now (%s); it waits for some", wanted)
        self._ray.get(there)
        self._placed = True

    @contextmanager
    def _ignoring_its_end(self) -> Iterator[None]:
        try:
            yield
        except self._ray.exceptions.RayError as error:
            log.debug("an actor cannot be reached: %s", error)

    @property
    def _is_over(self) -> bool:
        """Whether Ray was shut down; another call would start a cluster."""
        return not self._ray.is_initialized()


class _LatentgraphWorker:
    """The actor: a worker, with what it tells and is told in two queues."""

    def __init__(self) -> None:
        self._commands: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._told: SimpleQueue[tuple[Any, ...]] = SimpleQueue()

    def run(self, settings: Settings, server: ServerSettings, threads: int) -> None:
        """Work until told to stop.

        Args:
            threads: That computations on the CPU use; what comes out may depend on it.
        """
        import torch

        torch.set_num_threads(threads)
        try:
            work(settings, server, self._told.put, self._commands.get)
        finally:
            self._told.put(OVER)

    def say(self, command: tuple[Any, ...]) -> None:
        """Have it do something."""
        self._commands.put(command)

    def heard(self) -> list[tuple[Any, ...]]:
        """What was told since the last call; waits until there is something."""
        found = [self._told.get()]
        while not self._told.empty():
            found.append(self._told.get())
        return found


class _Countdown:
    """Calls something when it was itself called so many times."""

    def __init__(self, count: int, last: Callable[[], None]) -> None:
        self._count, self._last, self._lock = count, last, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0:
                self._last()


def _options(place: Place) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": place.cpus, "num_gpus": place.gpus, "max_concurrency": 3}
    if place.node is not None:
        near = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        options["scheduling_strategy"] = near(place.node, soft=True)
    return options
