"""What a client hears of a run, in the classic order: success, a rerun from the cache, error, interrupt."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import events
from server.queue.jobs import Job, NewJob, job_of, row_of
from server.telling import FEW, Message, Place, Telling
from tests.server.crew import Crew
from tests.server.faulty import prompt

CLIENT = {"client_id": "me"}


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path)
    crew.worker.start()
    yield crew
    crew.close()


def heard(crew: Crew, id: str) -> list[Message]:
    """The classic messages of a job that has ended."""
    return [m for m in crew.messages(id) if m.type != "job"]


def story(messages: list[Message]) -> list[str]:
    """Messages in short: the type and the node, for states the node that changed and its state."""
    told, states = [], {}
    for m in messages:
        if m.type == "progress_state":
            new = {k: v["state"] for k, v in m.data["nodes"].items()}
            told += [f"{k} {state}" for k, state in new.items() if states.get(k) != state] or ["same states"]
            states = new
        else:
            told.append(f"{m.type} {m.data['node']}" if "node" in m.data else m.type)
    return told


def test_a_run_is_told_in_the_classic_order(crew: Crew) -> None:
    crew.put("a", prompt(1, "p"), extra_data=CLIENT)
    _, ending = crew.ended("a")
    messages = heard(crew, "a")
    assert story(messages) == [
        "execution_start", "execution_cached",
        "1 running", "executing 1", "1 finished",
        "9 running", "executing 9", "executed 9", "9 finished",
        "execution_success",
    ]  # fmt: skip
    assert {m.sid for m in messages} == {"me"}
    by_type = {m.type: m.data for m in messages}
    assert by_type["execution_cached"]["nodes"] == []
    assert by_type["executing"] == {"node": "9", "display_node": "9", "prompt_id": "a"}
    assert by_type["executed"] == {
        "node": "9", "display_node": "9", "prompt_id": "a",
        "output": {"images": [{"filename": "p_00001_.png", "subfolder": "", "type": "output"}]},
    }  # fmt: skip
    assert by_type["progress_state"]["nodes"]["9"] == {
        "value": 1, "max": 1, "state": "finished", "node_id": "9", "prompt_id": "a", "display_node_id": "9",
        "parent_node_id": None, "real_node_id": "9",
    }  # fmt: skip
    for type in ("execution_start", "execution_cached", "execution_success"):
        assert by_type[type]["prompt_id"] == "a"
        assert isinstance(by_type[type]["timestamp"], int)
    assert [type for type, _ in ending.messages] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]


def test_a_rerun_shows_what_is_cached_and_executes_nothing(crew: Crew) -> None:
    crew.put("a", prompt(1, "p"), extra_data=CLIENT)
    crew.put("b", prompt(1, "p"), extra_data=CLIENT)
    crew.ended("b")
    messages = heard(crew, "b")
    assert story(messages) == [
        "execution_start", "execution_cached", "executed 9", "9 finished", "execution_success"
    ]  # fmt: skip
    assert messages[1].data["nodes"] == ["1", "9"]
    assert messages[2].data["output"] == heard(crew, "a")[-3].data["output"]
    state = messages[3].data["nodes"]["9"]
    assert (state["value"], state["max"]) == (1, 1)


def test_steps_are_told_as_states_and_progress(crew: Crew) -> None:
    crew.put("a", prompt(1, "p", "Slow", steps=2, seconds=0.0), extra_data=CLIENT)
    crew.ended("a")
    at = story(heard(crew, "a"))
    assert at[at.index("5 running") : at.index("5 finished") + 1] == [
        "5 running", "executing 5",
        "same states", "progress 5", "same states", "progress 5",
        "5 finished",
    ]  # fmt: skip
    steps = [m.data for m in heard(crew, "a") if m.type == "progress"]
    assert steps == [{"value": i, "max": 2, "prompt_id": "a", "node": "5"} for i in (1, 2)]


def test_an_error_is_told_last_with_its_node_and_what_ran_before(crew: Crew) -> None:
    crew.put("a", prompt(1, "p", "Raise"), extra_data=CLIENT)
    _, ending = crew.ended("a")
    messages = heard(crew, "a")
    assert story(messages)[-3:] == ["5 running", "executing 5", "execution_error"]
    error = messages[-1].data
    assert error == ending.error
    assert set(error) == {
        "prompt_id", "node_id", "node_type", "executed", "exception_message", "exception_type", "traceback",
        "current_inputs", "current_outputs", "timestamp",
    }  # fmt: skip
    assert (error["node_id"], error["node_type"], error["executed"]) == ("5", "Raise", ["1"])
    assert (error["exception_type"], error["exception_message"]) == ("ValueError", "out of order\n")
    assert error["traceback"]
    assert list(error["current_inputs"]) == ["picture"]
    assert error["current_outputs"] == ["1"]
    assert [type for type, _ in ending.messages] == ["execution_start", "execution_cached", "execution_error"]


@pytest.mark.parametrize(("extra", "sid"), [(CLIENT, "me"), ({}, None)])
def test_an_interrupt_is_told_to_the_client_or_to_all_where_there_is_none(
    crew: Crew, extra: dict[str, Any], sid: str | None
) -> None:
    crew.put("a", prompt(1, "p", "Gate"), extra_data=extra)
    assert crew.gates.come.acquire(timeout=30)
    crew.worker.cancel("a")
    _, ending = crew.ended("a")
    last = heard(crew, "a")[-1]
    assert (last.type, last.sid) == ("execution_interrupted", sid)
    assert set(last.data) == {"prompt_id", "node_id", "node_type", "executed", "timestamp"}
    assert (last.data["node_id"], last.data["node_type"], last.data["executed"]) == ("5", "Gate", ["1"])
    assert ending.messages[-1][0] == "execution_interrupted"


def test_a_prompt_without_a_client_is_told_by_states_and_progress_alone_to_all(crew: Crew) -> None:
    crew.put("a", prompt(1, "p", "Slow", steps=1, seconds=0.0))
    _, ending = crew.ended("a")
    assert {(m.type, m.sid) for m in heard(crew, "a")} == {("progress_state", None), ("progress", None)}
    assert [type for type, _ in ending.messages] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]


def test_the_end_is_told_after_it_is_committed_and_all_else_before(crew: Crew) -> None:
    crew.put("a", prompt(1, "p"), extra_data=CLIENT)
    crew.ended("a")
    kinds = [
        (kind, getattr(what, "type", "")) for kind, what in crew.seen if getattr(what, "type", "") != "job"
    ]
    assert kinds[0] == ("taken", "")
    assert kinds[-2:] == [("message", "execution_success"), ("ended", "")]


# ---------------------------------------------------------------- events by hand


def told(client: str | None = "me", **facts: Any) -> tuple[Telling, list[Message]]:
    sent: list[Message] = []
    new = NewJob("a", {}, {"client_id": client} if client else {}, ())
    blank = {"seq": 1, "started": None, "finished": None, "owner": None, "ending": None}
    job: Job = job_of({**row_of(new, 0, True, 0.0), **blank})
    place = facts.pop("place", lambda id: Place(id, None, id))
    return Telling(job, sent.append, place, **facts), sent


def test_a_blocked_output_is_told_as_an_error_that_does_not_end_the_run() -> None:
    telling, sent = told()
    telling.tell(events.NodeSkipped("3", "PreviewImage", "blocked", "Blocked Execution"))
    telling.tell(events.RunFinished("success", (), (), ()))
    (error,) = sent
    assert error.type == "execution_error"
    assert error.data == {
        "node_id": "3", "node_type": "PreviewImage", "executed": [], "exception_type": "ExecutionBlocked",
        "exception_message": "Execution Blocked: Blocked Execution", "traceback": [], "current_inputs": [],
        "current_outputs": [], "prompt_id": "a",
    }  # fmt: skip
    assert [m.type for m in telling.held] == ["execution_success"]
    assert telling.error is None
    assert [type for type, _ in telling.messages] == ["execution_success"]


def test_an_added_node_is_told_under_its_own_id_beside_the_one_that_shows_it() -> None:
    telling, sent = told(place=lambda id: Place("5", "5", "5"))
    telling.tell(events.NodeStarted("5.0.1", "5", "X"))
    telling.tell(events.NodeFinished("5.0.1", "X", 0.1, {"text": ["t"]}, "5"))
    by_type = {m.type: m.data for m in sent}
    assert by_type["executing"] == {"node": "5.0.1", "display_node": "5", "prompt_id": "a"}
    assert by_type["executed"]["node"] == "5.0.1"
    state = by_type["progress_state"]["nodes"]["5.0.1"]
    assert (state["display_node_id"], state["parent_node_id"], state["real_node_id"]) == ("5", "5", "5")


def test_only_the_first_error_ends_a_run_and_no_interrupt_follows_it() -> None:
    telling, _ = told()
    for id in "12":
        telling.tell(events.NodeFailed(id, "X", "", "broken", exception_type="builtins.ValueError"))
    telling.tell(events.RunFinished("cancelled", (), (), ()))
    assert [(m.type, m.data["node_id"]) for m in telling.held] == [("execution_error", "1")]


def test_a_preview_comes_between_its_state_and_its_progress() -> None:
    telling, sent = told()
    telling.tell(events.NodeProgress("3", 1, 4, preview="picture"))
    assert [m.type for m in sent if m.type != "job"] == ["progress_state", "preview", "progress"]
    assert sent[1].picture == "picture"
    assert sent[1].data["node_id"] == "3"


def test_a_run_of_many_nodes_is_told_in_messages_that_do_not_grow_with_its_square() -> None:
    telling, sent = told()
    for i in range(2_000):
        telling.tell(events.NodeStarted(str(i), str(i), "X"))
        telling.tell(events.NodeFinished(str(i), "X", 0.0, {}))
    states = [len(m.data["nodes"]) for m in sent if m.type == "progress_state"]
    assert len([n for n in states if n <= FEW]) == 2 * FEW
    assert sum(states) < 2_000 * 100
    assert sum(m.type == "executing" for m in sent) == 2_000


def test_digests_are_not_shown() -> None:
    telling, sent = told()
    entry = {"filename": "a.png", "subfolder": "", "type": "output", "sha256": "0" * 64}
    telling.tell(events.NodeFinished("1", "X", 0.1, {"images": [entry], "text": ["t"]}))
    shown = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}], "text": ["t"]}
    assert next(m for m in sent if m.type == "executed").data["output"] == shown
    assert telling.outputs == {"1": shown}
    assert telling.meta == {
        "1": {"node_id": "1", "display_node": "1", "parent_node": None, "real_node_id": "1"}
    }
