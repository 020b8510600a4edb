"""A Ray cluster: what there is room for on it, what is refused, settings that mean the same everywhere."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_settings
from engine.problems import WorkflowError
from server.config import read_server_settings
from server.processes import apart_workers
from server.ray_cluster import Place, located, places_on, refuse_lone_queue
from server.worker import Told

NOBODY = Told(lambda _: None, lambda _: None, lambda *_: None, lambda _: None)


def node(id: str, address: str = "10.0.0.1", **resources: float) -> dict[str, Any]:
    return {"NodeID": id, "NodeManagerAddress": address, "Alive": True, "Resources": resources}


def test_each_gpu_has_a_worker() -> None:
    nodes = [node("b", CPU=16.0, GPU=2.0), node("a", CPU=8.0), node("c", CPU=4.0, GPU=1.0)]
    assert places_on(nodes, None) == [Place(1.0, 1.0)] * 3
    assert places_on(nodes, 4.0) == [Place(4.0, 1.0)] * 3


def test_without_gpus_each_node_has_a_worker_or_as_many_as_its_cpus_allow() -> None:
    nodes = [node("b", CPU=16.0), node("a", CPU=6.0), node("c")]
    assert places_on(nodes, None) == [Place(6.0, 0.0, "a"), Place(16.0, 0.0, "b")]
    assert places_on(nodes, 5.0) == [Place(5.0, 0.0, "a")] + [Place(5.0, 0.0, "b")] * 3
    assert places_on(nodes, 32.0) == []


def test_gpus_are_left_alone_where_jobs_are_to_run_on_the_cpu() -> None:
    assert places_on([node("a", CPU=16.0, GPU=2.0)], None, gpus=False) == [Place(16.0, 0.0, "a")]


def test_a_file_as_the_queue_of_several_machines_is_refused() -> None:
    nodes = [node("a", "10.0.0.1"), node("b", "10.0.0.2")]
    for database in (None, "sqlite:////tmp/q.sqlite"):
        with pytest.raises(WorkflowError, match=r"2 machines \(10\.0\.0\.1, 10\.0\.0\.2\)"):
            refuse_lone_queue(read_server_settings(database=database), nodes)
    refuse_lone_queue(read_server_settings(), [node("a"), node("b")])
    refuse_lone_queue(read_server_settings(database="postgresql+psycopg://u@h/q"), nodes)


def test_settings_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings(
        base_directory=Path("b"), output_directory=Path("o"), cache=Path("c"), device="cuda:1"
    )
    found, server = located(settings, read_server_settings(custom_nodes=(Path("p"),)))
    assert (found.base_directory, found.output_directory) == (tmp_path / "b", tmp_path / "o")
    assert (found.cache, found.input_directory) == (tmp_path / "c", None)
    assert found.device == "cuda"
    assert server.custom_nodes == (tmp_path / "p",)
    assert server.database == f"sqlite:///{tmp_path}/b/user/latentgraph.sqlite"
    _, server = located(read_settings(cache=Path("off")), read_server_settings(database="sqlite:///q.sqlite"))
    assert server.database == f"sqlite:///{tmp_path}/q.sqlite"
    secret = "postgresql+psycopg://me:secret@host/q"
    assert located(read_settings(), read_server_settings(database=secret))[1].database == secret


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkflowError, match="need the package ray") as raised:
        apart_workers(read_settings(), read_server_settings(workers="ray"), NOBODY, lambda _: None)
    assert raised.value.problems[0].hint == "pip install 'latentgraph[ray]'"


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'latentgraph[ray]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # it does not listen
        monkeypatch.setenv("RAY_ADDRESS", address := f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(WorkflowError, match=f"at {address} cannot be reached: .*refused"):
            apart_workers(read_settings(), read_server_settings(workers="ray"), NOBODY, lambda _: None)
