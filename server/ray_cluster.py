"""A Ray cluster: reaching it, what there is room for on it, and settings that mean the same on all of it."""

import importlib
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from engine.config import Settings
from engine.problems import Problem, WorkflowError
from server.config import ServerSettings

log = logging.getLogger(__name__)
ANSWER_S = 5.0
"""Seconds in which a named cluster must answer."""


@dataclass(frozen=True)
class Place:
    """What a worker takes of the cluster.

    Args:
        node: Ray's id of the node where it should be; one that is gone is made up for by any other.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    node: str | None = None


def places_on(nodes: Iterable[Mapping[str, Any]], cpus: float | None, gpus: bool = True) -> list[Place]:
    """Where workers go on the nodes of a cluster, in a fixed order.

    Args:
        nodes: As `ray.nodes()` gives them.
        cpus: CPUs of each worker; None for one beside a GPU, and for all of a node where there is no GPU.
        gpus: Whether GPUs are to be used.
    """
    having = sorted((str(n["NodeID"]), n["Resources"]) for n in nodes)
    if gpus and (
        each := [Place(cpus or 1.0, 1.0) for _, has in having for _ in range(int(has.get("GPU", 0)))]
    ):
        return each
    found: list[Place] = []
    for node, has in having:
        room = float(has.get("CPU", 0.0))
        if room > 0:
            found += [Place(cpus or room, 0.0, node)] * int(room // (cpus or room))
    return found


def located(settings: Settings, server: ServerSettings) -> tuple[Settings, ServerSettings]:
    """Settings that mean the same in whatever folder they are read, with the queue's address in them."""
    from server.serving import database_url

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().resolve()

    named = (
        "base_directory",
        "output_directory",
        "input_directory",
        "temp_directory",
        "extra_model_paths_config",
    )
    paths: dict[str, Any] = {name: absolute(getattr(settings, name)) for name in named}
    if str(settings.cache) != "off":
        paths["cache"] = absolute(settings.cache)
    if settings.store is not None and ":" not in settings.store:
        paths["store"] = str(absolute(Path(settings.store)))
    if settings.device is not None and settings.device.startswith("cuda"):
        paths["device"] = "cuda"  # Ray shows each worker its own GPU, as the only one
    url = make_url(database_url(settings, server))
    if _is_file(server) and url.database:
        url = url.set(database=str(absolute(Path(url.database))))
    packs = tuple(path.expanduser().resolve() for path in server.custom_nodes)
    database = url.render_as_string(hide_password=False)
    return settings.model_copy(update=paths), server.model_copy(
        update={"database": database, "custom_nodes": packs}
    )


def load_ray() -> Any:
    """The package, without its telemetry.

    Raises:
        WorkflowError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it is read on import
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        message = f"workers on Ray need the package ray ({error})"
        raise WorkflowError(
            [Problem("ray_missing", message, hint="pip install 'latentgraph[ray]'")]
        ) from error


def connect(ray: Any) -> None:
    """Join the cluster that Ray's own configuration names, quietly; what happens on SIGTERM stays as it was.

    Raises:
        WorkflowError: It cannot be reached.
    """
    before = signal.getsignal(signal.SIGTERM)
    where = os.environ.get("RAY_ADDRESS", "")
    try:
        if named := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", where):  # Ray itself tries for minutes
            socket.create_connection((named[1].strip("[]"), int(named[2])), timeout=ANSWER_S).close()
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, OverflowError, OSError) as error:
        message = f"the Ray cluster at {where or 'this machine'} cannot be reached: {error}"
        hint = "start it with `ray start --head`, and set RAY_ADDRESS to what that prints"
        raise WorkflowError([Problem("ray_unreachable", message, hint=hint)]) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    # what Ray says of dying nodes goes to stdout, whatever `log_to_driver` is
    driver: Any = importlib.import_module("ray._private.worker")
    driver.print_to_stdstream = _note


def _note(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
    del ignore_prefix
    log.debug("Ray: %s", "\n".join(map(str, data.get("lines", ()))))


def refuse_lone_queue(server: ServerSettings, nodes: Iterable[Mapping[str, Any]]) -> None:
    """See that all machines reach the queue.

    Raises:
        WorkflowError: There are several, and it is a file of one of them.
    """
    machines = sorted({str(node["NodeManagerAddress"]) for node in nodes})
    if len(machines) > 1 and _is_file(server):
        some = ", ".join(machines[:4])
        message = f"the Ray cluster has {len(machines)} machines ({some}), and the queue is an SQLite file"
        hint = "keep the queue in PostgreSQL: see docs/workers.md"
        raise WorkflowError([Problem("queue_not_shared", message, hint=hint)])


def _is_file(server: ServerSettings) -> bool:
    return server.database is None or make_url(server.database).get_backend_name() == "sqlite"
