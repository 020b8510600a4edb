"""Owners of leases: one that has ended on this machine is known to be gone, of others nothing is known."""

import multiprocessing
from pathlib import Path

from server.queue.jobs import NewJob
from server.queue.opening import open_database
from server.queue.owners import is_gone, new_owner, recover_lost
from server.queue.store import Queue


def named(path: Path) -> None:
    path.write_text(new_owner(), encoding="utf-8")


def ended(tmp_path: Path) -> str:
    """The owner that a process was which has ended."""
    process = multiprocessing.get_context("spawn").Process(target=named, args=(tmp_path / "owner",))
    process.start()
    process.join()
    return (tmp_path / "owner").read_text(encoding="utf-8")


def test_only_an_owner_of_this_machine_whose_process_has_ended_is_gone(tmp_path: Path) -> None:
    gone = ended(tmp_path)
    host, pid, where, number = gone.split(":")
    assert is_gone(gone)
    assert not is_gone(new_owner())
    assert not is_gone(f"{host}:{pid}:{'0' * len(where)}:{number}"), "another machine's processes"
    for text in ("", "me", "a:b:c", f"{host}:x:{where}:{number}", f"{host}:{pid}::{number}"):
        assert not is_gone(text)


def test_what_ran_in_a_process_that_ended_here_need_not_wait_for_its_lease(tmp_path: Path) -> None:
    queue = Queue(open_database(f"sqlite:///{tmp_path / 'q.sqlite'}"))
    owners = {"a": ended(tmp_path), "b": new_owner(), "c": "other:1:12345678:abc"}
    for id, owner in owners.items():
        queue.accept(NewJob(id, {}, {}, ()), 0, True).result()
        assert len(queue.lease(owner).result()) == 1
    assert recover_lost(queue) == []
    assert [job.id for job in queue.waiting()] == ["a"]
    queue.close()
