"""Workers on a Ray cluster of two nodes: the same bytes as in one process, and deaths that cost nothing."""

import fcntl
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from engine.config import Settings, read_settings
from server.config import ServerSettings, read_server_settings
from server.processes import apart_workers
from server.queue.jobs import Ending, Job, NewJob
from server.queue.opening import open_database
from server.queue.store import Queue
from server.serving import working
from server.worker import Told

pytestmark = pytest.mark.slow
PATIENCE_S = 120.0
PACK = '''
import fcntl
import torch

class Gate:
    """Hands on a picture once nobody holds the file's lock, with the number of threads in it."""
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "wait", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "lock": ("STRING", {})}}

    def wait(self, image, lock):
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        image = image.clone()
        image[0, 0, 0] = torch.get_num_threads() / 255
        return (image,)

NODE_CLASS_MAPPINGS = {"Gate": Gate}
'''


def prompt(number: int, lock: Path | None = None) -> dict[str, Any]:
    image = {"width": 8, "height": 8, "batch_size": 1, "color": number}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "Gate", "inputs": {"image": ["1", 0], "lock": str(lock)}},
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2" if lock else "1", 0], "filename_prefix": f"n{number}"},
        },
    }


class Batch:
    """A queue, workers on it, and what they told."""

    def __init__(self, base: Path) -> None:
        (base / "packs" / "gate").mkdir(parents=True)
        (base / "packs" / "gate" / "__init__.py").write_text(PACK)
        self.output, self.lock = base / "output", base / "lock"
        self.lock.touch()
        self.settings: Settings = read_settings(base_directory=base, cache=base / "cache", device="cpu")
        database = f"sqlite:///{base / 'queue.sqlite'}"
        packs = (base / "packs",)
        self.server: ServerSettings = read_server_settings(
            database=database, workers="ray", custom_nodes=packs, stop_seconds=5
        )
        self.queue = Queue(open_database(database))
        self.changed = threading.Condition()
        self.owners: dict[str, str] = {}
        self.ends: Counter[tuple[str, str]] = Counter()
        self.lost: list[str] = []
        self.told = Told(lambda _: None, self._taken, self._ended, lambda _: None)
        self.workers: list[Any] = []

    def submit(self, *numbers: int, gated: bool = False) -> None:
        for number in numbers:
            graph = prompt(number, self.lock if gated else None)
            self.queue.accept(NewJob(f"job-{number}", graph, {}, ("3",)), number, True).result()
        for worker in self.workers:
            worker.wake()

    def until(self, there: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(there, PATIENCE_S), (self.owners, self.ends, self.lost)

    def until_ended(self, *numbers: int) -> None:
        self.until(lambda: all((f"job-{n}", "success") in self.ends for n in numbers))

    @contextmanager
    def closed_gates(self) -> Iterator[None]:
        with self.lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def gone(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.queue.recover(owner=job.owner).result()
        with self.changed:
            self.lost += [job.id for job in jobs]
            for job in jobs:
                self.owners.pop(job.id, None)
            self.changed.notify_all()

    def _taken(self, job: Job) -> None:
        with self.changed:
            self.owners[job.id] = str(job.owner)
            self.changed.notify_all()

    def _ended(self, job: Job, ending: Ending) -> None:
        with self.changed:
            del self.owners[job.id]
            self.ends[job.id, ending.status] += 1
            self.changed.notify_all()

    def close(self) -> None:
        for worker in self.workers:
            worker.stop(5)
        self.queue.close()


def pid_of(owner: str) -> int:
    return int(owner.split(":")[1])


def of_ray() -> list[psutil.Process]:
    """The processes of clusters that this one has started."""
    return [p for p in psutil.Process().children(recursive=True) if "ray" in " ".join(p.cmdline())]


class Two:
    """A cluster of two nodes of one CPU each, and the workers on it."""

    def __init__(self, base: Path) -> None:
        from ray.cluster_utils import Cluster

        self.node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        self.cluster = Cluster(initialize_head=True, head_node_args=self.node | {"include_dashboard": False})
        self.second = self.cluster.add_node(**self.node)
        self.batch = Batch(base)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'latentgraph[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        found = Two(tmp_path_factory.mktemp("ray"))
        patch.setenv("RAY_ADDRESS", found.cluster.address)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)  # Ray gives a worker as many as it has CPUs, which is one
        batch = found.batch
        batch.workers = list(apart_workers(batch.settings, batch.server, batch.told, batch.gone))
        for worker in batch.workers:
            worker.start()
        yield found
        batch.close()
        torch.set_num_threads(threads)
        assert not ray.is_initialized()
        found.cluster.shutdown()
    psutil.wait_procs(of_ray(), timeout=10)
    assert of_ray() == []


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_jobs_give_the_same_bytes_as_in_one_process(two: Two, tmp_path: Path) -> None:
    numbers = range(100, 124)
    assert len(two.batch.workers) == 2
    with two.batch.closed_gates():
        two.batch.submit(*numbers, gated=True)
        two.batch.until(lambda: len(set(two.batch.owners.values())) == 2)  # both take part
    two.batch.until_ended(*numbers)
    assert set(two.batch.ends.values()) == {1}
    alone = Batch(tmp_path)
    alone.lock = two.batch.lock  # its name is in the pictures
    with working(alone.settings, alone.server, alone.told) as worker:
        worker.start()
        alone.submit(*numbers, gated=True)
        alone.until_ended(*numbers)
        worker.stop(5)
    alone.queue.close()
    assert files(alone.output) == files(two.batch.output)
    assert len(files(alone.output)) == len(numbers)


def test_an_actor_that_is_killed_in_the_midst_of_a_job_loses_nothing(two: Two) -> None:
    batch = two.batch
    with batch.closed_gates():
        batch.submit(*range(6), gated=True)
        batch.until(lambda: len(batch.owners) == 2)
        killed, owner = next(iter(batch.owners.items()))
        os.kill(pid_of(owner), signal.SIGKILL)
        batch.until(lambda: killed in batch.lost)
        batch.until(lambda: killed in batch.owners)  # the one that was started again has it
        assert batch.owners[killed] != owner
    batch.until_ended(*range(6))
    assert set(batch.ends.values()) == {1}
    assert batch.lost == [killed]
    jobs = {job.id: job.attempt for job in batch.queue.jobs()}
    assert [jobs[f"job-{n}"] for n in range(6)] == [2 if f"job-{n}" == killed else 1 for n in range(6)]
    assert len([path for path in batch.output.iterdir() if len(path.stem.split("_")[0]) == 2]) == 6


def test_a_node_that_is_removed_loses_nothing_and_one_that_comes_is_used(
    two: Two, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    batch = two.batch
    batch.lost.clear()
    with batch.closed_gates():
        batch.submit(*range(10, 16), gated=True)
        batch.until(lambda: len(batch.owners) == 2)
        two.cluster.remove_node(two.second, allow_graceful=False)
        batch.until(lambda: bool(batch.lost))
        assert len(batch.owners) == 1
    batch.until_ended(*range(10, 16))  # on the node that is left
    with batch.closed_gates():
        two.second = two.cluster.add_node(**two.node)
        batch.submit(20, 21, gated=True)
        batch.until(lambda: len(set(batch.owners.values())) == 2)
    batch.until_ended(20, 21)
    assert set(batch.ends.values()) == {1}
    assert len(batch.lost) == 1
    assert "a worker on Ray ended" in caplog.text
    assert "ray" not in capfd.readouterr().out  # Ray prints much when a node dies
    assert len({name[:3] for name in files(batch.output) if len(name.split("_")[0]) == 3}) == 8
