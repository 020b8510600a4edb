"""The gallery's pages and search, and what a card tells of a job."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from engine.config import read_settings
from engine.registry import Registry
from engine.workflow import parse
from server.app import make_app
from server.config import read_server_settings
from server.editor_form import as_editor
from server.overview import (
    SHOWN_WAITING,
    Cursor,
    Search,
    Titles,
    card_of,
    title_of,
    waiting,
    waiting_count,
)
from server.queue.jobs import Ending, NewJob
from server.queue.opening import open_database
from server.queue.store import Queue
from server.serving import started


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(open_database(f"sqlite:///{tmp_path / 'queue.sqlite'}"))
    yield opened
    opened.close()


def prompt_of(text: str, title: str = "Prompt") -> dict[str, Any]:
    encode = {"class_type": "CLIPTextEncode", "inputs": {"text": text}, "_meta": {"title": title}}
    return {"1": encode, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}


def accept(queue: Queue, id: str, text: str = "a house") -> None:
    queue.accept(NewJob(id, prompt_of(text), {}, ("2",)), queue.next_number(), True).result()


def end(queue: Queue, id: str, text: str = "a house", **facts: Any) -> None:
    accept(queue, id, text)
    (job,) = queue.lease("me").result()
    shown = {"2": {"images": [{"filename": f"{id}.png", "subfolder": "deep", "type": "output"}]}}
    queue.finish(job, Ending(**{"status": "success", "outputs": shown, **facts})).result()


def ids(jobs: list[Any]) -> list[str]:
    return [job.id for job in jobs]


def test_pages_join_without_gap_or_repetition_even_where_jobs_ended_at_the_same_time(tmp_path: Path) -> None:
    queue = Queue(open_database(f"sqlite:///{tmp_path / 'q.sqlite'}"), clock=lambda: 7.25)
    for number in range(25):
        end(queue, f"job{number}")
    jobs, following = Search().page(queue, None, 4)
    found = ids(jobs)
    while following:
        jobs, following = Search().page(queue, Cursor.read(str(following)), 4)
        found += ids(jobs)
    assert found == [f"job{n}" for n in reversed(range(25))]
    queue.close()


def test_a_page_is_read_with_one_question_of_its_own_size(queue: Queue) -> None:
    for number in range(30):
        end(queue, f"job{number}")
    asked: list[Any] = []
    event.listen(queue.engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    assert len(Search().page(queue, None, 5)[0]) == 5
    ((statement, values),) = [(s, v) for s, v in asked if s.startswith("SELECT")]
    assert "LIMIT" in statement
    assert 5 in values
    explained = queue.read(
        lambda c: c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(values)).all()
    )
    assert any("jobs_finished" in row[-1] for row in explained), "in order by the index, not by sorting all"


@pytest.mark.parametrize(
    "words",
    [
        "castle",
        "CASTLE",
        "red castle",
        "textENCODE",
        "job3.png",
        "deep/job3",
        "job3",
        "größe",
        "GRÖßE",
        '"q"',
        "50%",
        "城堡",
        "堡",
        "замок",
        "ЗАМОК",
        "a\\b",
    ],
)
def test_a_search_finds_texts_classes_titles_files_and_ids(queue: Queue, words: str) -> None:
    end(queue, "job1", "a house", outputs={})
    end(queue, "job3", 'a red castle, "q" Größe 50% 城堡 a\\b Замок')
    end(queue, "job2", "a boat", outputs={})
    found = ids(Search(tuple(words.split())).page(queue, None, 10)[0])
    assert "job3" in found
    assert found == (["job2", "job3", "job1"] if words == "textENCODE" else ["job3"])


@pytest.mark.parametrize("words", ["class_type", "inputs", "50_", "red_castle", "cas tle", "success"])
def test_a_search_finds_no_words_of_the_file_format(queue: Queue, words: str) -> None:
    end(queue, "job3", "a red castle, 50%")
    found = ids(Search(tuple(words.split())).page(queue, None, 10)[0])
    assert found == (["job3"] if words == "cas tle" else [])


def test_a_search_reads_on_until_the_page_is_full(queue: Queue) -> None:
    for number in range(230):
        end(queue, f"job{number}", "rare inputs" if number % 100 == 0 else "a house")
    assert ids(Search(("inputs",)).page(queue, None, 10)[0]) == ["job200", "job100", "job0"]


def test_a_search_looks_at_a_bounded_number_of_jobs_and_can_be_continued(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.overview.MOST_READ", 200)
    for number in range(450):
        end(queue, f"job{number}", "rare inputs" if number == 3 else "a house")
    search, before, pages = Search(("inputs",)), None, []
    while not pages or before:
        jobs, before = search.page(queue, before, 10)
        pages.append(ids(jobs))
    assert pages == [[], [], ["job3"]]


def test_a_status_selects(queue: Queue) -> None:
    end(queue, "good")
    end(queue, "bad", status="error")
    accept(queue, "waits")
    queue.cancel_waiting(["waits"]).result()
    for status, wanted in (("success", "good"), ("error", "bad"), ("cancelled", "waits")):
        assert ids(Search((), (status,)).page(queue, None, 10)[0]) == [wanted]


def test_an_error_tells_its_node_and_its_hint(queue: Queue, registry: Registry) -> None:
    error = {
        "node_id": "1",
        "node_type": "CLIPTextEncode",
        "exception_message": "too long\nmake it shorter",
    }
    end(queue, "bad", status="error", error={**error, "exception_type": "ValueError"}, outputs={})
    told = card_of(Search().page(queue, None, 1)[0][0], registry)["error"]
    assert (told["title"], told["message"], told["hint"]) == ("Prompt", "too long", "make it shorter")


def test_a_job_is_called_by_its_prompt() -> None:
    prompt = {"0": {"class_type": "X", "inputs": {"text": "other"}}, **prompt_of("  a\n red   house ")}
    assert title_of(prompt) == "a red house"
    assert title_of({"1": {"class_type": "LoadImage", "inputs": {}}}) == "LoadImage"
    assert title_of({}) == "no nodes"
    assert len(title_of(prompt_of("x" * 5000))) == 200


@pytest.mark.parametrize("broken", [{"1": None}, {"1": {"inputs": 3, "_meta": 4}}, {"1": {"class_type": 5}}])
def test_odd_prompts_have_titles_too(broken: Any, registry: Registry) -> None:
    assert isinstance(title_of(broken), str)


def test_of_many_that_wait_the_first_are_shown_and_all_are_counted(queue: Queue) -> None:
    for number in range(SHOWN_WAITING + 20):
        accept(queue, f"job{number}", f"picture {number}")
    titles = Titles()
    rows = queue.read(lambda connection: waiting(connection, titles))
    assert [row["title"] for row in rows] == [f"picture {n}" for n in range(SHOWN_WAITING)]
    assert queue.read(waiting_count) == SHOWN_WAITING + 20
    asked: list[str] = []
    event.listen(queue.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    assert queue.read(lambda connection: waiting(connection, titles)) == rows
    assert not any("prompt" in statement for statement in asked), "prompts are read once"


def test_cursors_keep_their_value() -> None:
    cursor = Cursor(1795250886.8322246, 22)
    assert Cursor.read(str(cursor)) == cursor
    assert json.loads(json.dumps(str(cursor))) == "1795250886.8322246-22"


# ------------------------------------------------------------ over HTTP


async def test_bad_questions_are_refused(tmp_path: Path, registry: Registry, aiohttp_client: Any) -> None:
    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    async with started(settings, read_server_settings(max_prompt_mb=0.01), registry) as state:
        client = await aiohttp_client(make_app(state))
        for query in ("before=x", "before=1-", "limit=many", "status=odd", "status=", f"q={'x' * 501}"):
            assert (await client.get(f"/api/latentgraph/gallery?{query}")).status == 400, query
        for path in ("gallery/none", "jobs/none/preview"):
            assert (await client.get(f"/api/latentgraph/{path}")).status == 404, path
        for body, status in ((b"{}", 400), (b"[", 400), (b"\xff\xd8", 400), (b" " * 20_000, 413)):
            assert (await client.post("/api/latentgraph/form", data=body)).status == status, body[:9]
        body = json.dumps(prompt_of("a house")).encode()
        answer = await (await client.post("/api/latentgraph/form", data=body)).json()
        assert [p["value"] for p in answer["form"] if p["input"] == "text"] == ["a house"]
        assert answer["workflow"] == prompt_of("a house")
        form = as_editor(parse(body), state.registry, state.env)
        answer = await (await client.post("/api/latentgraph/form", data=json.dumps(form))).json()
        assert answer["workflow"]["1"]["inputs"]["text"] == "a house", "the editor's own form is taken too"
