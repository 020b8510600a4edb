"""A graph that was checked a moment ago serves the job that runs at once, and no other."""

from pathlib import Path

import pytest

from engine import plan
from engine.check import check
from engine.graph import Graph, bind
from engine.workflow import from_json
from server import lately
from server.lately import MOST, Lately
from server.queue.jobs import Job, NewJob, job_of, row_of
from server.queue.statements import LATER
from tests.server.crew import Crew
from tests.server.faulty import TINY, expected, prompt
from tests.server.jobs_app import graph, served, submit, tiny


def job(id: str, seq: int) -> Job:
    row = row_of(NewJob(id, {}, {}, ()), 1, True, 0.0)
    return job_of({**row, **dict.fromkeys(LATER), "seq": seq})


def test_a_graph_serves_once_its_own_job_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, graph = Lately(), bind(from_json(prompt(1, "a"), "a test"), TINY)
    kept.put(job("a", 1), graph)
    assert kept.take(job("b", 2)) is None
    assert kept.take(job("a", 3)) is None, "the same id, given again"
    assert kept.take(job("a", 1)) is graph
    assert kept.take(job("a", 1)) is None
    kept.put(job("a", 1), graph)
    monkeypatch.setattr(lately, "GOOD_S", 0.0)
    assert kept.take(job("a", 1)) is None


def test_of_many_the_last_are_kept() -> None:
    kept, graph = Lately(), bind(from_json(prompt(1, "a"), "a test"), TINY)
    for n in range(MOST + 3):
        kept.put(job(str(n), n), graph)
    found = [kept.take(job(str(n), n)) is not None for n in range(MOST + 3)]
    assert found == [False] * 3 + [True] * MOST


def test_a_job_whose_graph_is_kept_is_not_checked_again_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew, checks = Crew(tmp_path), []

    def counted(*args: object) -> object:
        checks.append(args)
        return check(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(plan, "check", counted)
    checked = check(bind(from_json(prompt(7, "p"), "a test"), TINY), crew.engine.env).graph
    crew.put("a", prompt(7, "p"))
    crew.put("b", prompt(7, "p"))
    first_job = crew.queue.job("a")
    assert first_job is not None
    crew.worker.lately.put(first_job, checked)
    crew.worker.start()
    first, second = crew.ended("a")[1], crew.ended("b")[1]
    assert len(checks) == 1, "of the second"
    assert (tmp_path / "output" / "p_00001_.png").read_bytes() == expected(7)
    assert (first.status, first.outputs["9"], first.files[0]["sha256"]) == (
        second.status,
        second.outputs["9"] | {"images": first.outputs["9"]["images"]},
        second.files[0]["sha256"],
    )
    crew.close()


@pytest.mark.parametrize("version", [1, 2])
async def test_what_a_client_sends_is_kept_as_it_was_checked(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[str, Graph]] = []
    monkeypatch.setattr(Lately, "put", lambda _, job, graph: kept.append((job.id, graph)))
    async with served(tmp_path, tiny()) as (client, _):
        if version == 1:
            async with client.post("/prompt", json={"prompt": graph()}) as answer:
                id = (await answer.json())["prompt_id"]
        else:
            id = (await submit(client, graph()))["id"]
        ((kept_id, checked),) = kept
        assert kept_id == id
        assert checked.workflow.as_api() == graph()
