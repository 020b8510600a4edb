"""One job on the engine: its ending, its files by reserved names, whether earlier results serve it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.trail import Pinned
from tests.server.asking import sha256
from tests.server.crew import Crew
from tests.server.faulty import expected, prompt
from tests.server.jobs_app import graph, served, submit, tiny


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path)
    crew.worker.start()
    yield crew
    crew.close()


def test_an_ending_records_each_file_with_its_digest_and_size(crew: Crew, tmp_path: Path) -> None:
    crew.put("a", prompt(5, "deep/er/p"))
    job, ending = crew.ended("a")
    (file,) = ending.files
    data = (tmp_path / "output" / "deep" / "er" / "p_00001_.png").read_bytes()
    assert data == expected(5)
    place = {"node_id": "9", "filename": "p_00001_.png", "subfolder": "deep/er", "type": "output"}
    assert file.items() >= {**place, "sha256": sha256(data), "size": len(data)}.items()
    assert ending.outputs["9"] == {
        "images": [{"filename": "p_00001_.png", "subfolder": "deep/er", "type": "output"}]
    }
    stored = crew.queue.job(job.id)
    assert stored is not None
    assert stored.ending == ending


def test_jobs_of_the_same_prefix_and_content_have_a_file_each(crew: Crew, tmp_path: Path) -> None:
    crew.gates.open.set()
    crew.put("a", prompt(5, "p"))
    crew.ended("a")
    crew.put("b", prompt(5, "p", "Gate"))
    crew.ended("b")
    assert sorted(p.name for p in (tmp_path / "output").iterdir()) == ["p_00001_.png", "p_00002_.png"]


def test_a_name_that_another_took_meanwhile_is_not_given_twice(crew: Crew, tmp_path: Path) -> None:
    crew.put("a", prompt(5, "p", "Gate"))
    assert crew.gates.come.acquire(timeout=30)
    job = crew.queue.job("a")
    assert job is not None
    folder = tmp_path / "output"
    crew.queue.reserve(job, str(folder.resolve() / "p_00001_.png"), sha256(expected(5))).result()
    folder.mkdir(exist_ok=True)
    (folder / "p_00001_.png").write_bytes(b"another's")
    crew.gates.open.set()
    crew.ended("a")
    assert (folder / "p_00001_.png").read_bytes() == b"another's"
    assert (folder / "p_00002_.png").read_bytes() == expected(5)


def test_results_of_earlier_jobs_serve_unless_the_job_asks_for_none(crew: Crew) -> None:
    crew.put("a", prompt(1, "p"))
    assert crew.ended("a")[1].executed == ("1", "9")
    crew.put("b", prompt(1, "p"))
    assert crew.ended("b")[1].executed == ()
    crew.put("c", prompt(1, "p"), options={"no_cache": True})
    assert crew.ended("c")[1].executed == ("1", "9")


def test_a_workflow_that_can_no_longer_be_planned_ends_with_what_is_wrong(crew: Crew) -> None:
    crew.put("a", {"9": {"class_type": "Gone", "inputs": {}}})
    _, ending = crew.ended("a")
    assert ending.status == "error"
    assert ending.error is not None
    assert ending.error["node_id"] == "9"
    assert "Gone" in ending.error["exception_message"]
    assert [type for type, _ in ending.messages] == ["execution_start", "execution_error"]


def test_a_row_without_a_readable_prompt_ends_with_an_error(crew: Crew) -> None:
    crew.put("a", {})
    assert crew.ended("a")[1].status == "error"


def test_a_node_that_raises_ends_its_job_with_its_place_and_traceback(crew: Crew) -> None:
    crew.put("a", prompt(1, "p", "Raise"))
    _, ending = crew.ended("a")
    assert ending.error is not None
    assert (ending.status, ending.error["node_id"], ending.error["node_type"]) == ("error", "5", "Raise")
    assert ending.error["exception_type"] == "ValueError"
    assert any("out of order" in line for line in ending.error["traceback"])
    assert ending.files == ()


def started_with(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the engine is given with each run."""
    found: list[dict[str, Any]] = []
    start = crew.engine.start

    def noted(*args: Any, **given: Any) -> Any:
        found.append(given)
        return start(*args, **given)

    monkeypatch.setattr(crew.engine, "start", noted)
    return found


def test_the_rungs_that_a_batch_fixed_and_the_priority_reach_the_engine(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = started_with(crew, monkeypatch)
    crew.put("a", prompt(1, "p"), options={"pinned": {"9": 4, "1": 0}}, priority=-3)
    assert crew.ended("a")[1].status == "success"
    assert found[0]["env"][Pinned] == Pinned({"9": 4, "1": 0}, otherwise=0)
    assert found[0]["priority"] == -3


@pytest.mark.parametrize("pinned", [None, 4, [4], {"9": "4"}, {"9": True}, {"9": -1}, {"9": [[[1, 1]]]}])
def test_rungs_that_are_none_are_passed_over(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, pinned: Any
) -> None:
    found = started_with(crew, monkeypatch)
    crew.put("a", prompt(1, "p"), options={"pinned": pinned})
    assert crew.ended("a")[1].status == "success"
    assert Pinned not in found[0]["env"]


async def test_no_client_can_fix_rungs_or_call_its_job_one_of_a_batch(tmp_path: Path) -> None:
    asked = {"pinned": {"9": 1}, "batch": "b"}
    async with served(tmp_path, tiny()) as (client, state):
        job = await submit(client, graph(1), options=asked, extra_data={"options": asked, **asked}, **asked)
        async with client.post("/prompt", json={"prompt": graph(2), "options": asked, **asked}) as response:
            assert response.status == 200
            second = (await response.json())["prompt_id"]
        for id in (job["id"], second):
            row = state.queue.job(id)
            assert row is not None
            assert not set(row.options) & {"pinned", "batch", "options"}
