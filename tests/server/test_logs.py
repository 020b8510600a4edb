import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from server.logs import LINES, LOG_LINES, JsonLines, LogLines
from tests.server.files_app import RecordingHub, files_app, files_state

log = logging.getLogger("toys")


@pytest.fixture
def lines() -> Iterator[LogLines]:
    handler = LogLines()
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


async def told(hub: RecordingHub, count: int) -> list[tuple[str | None, str]]:
    """Who was sent which text, once that many messages were sent."""
    async with asyncio.timeout(5):
        while len(hub.sent) < count:
            await asyncio.sleep(0)
    return [(sid, "".join(e["m"] for e in data["entries"])) for sid, _, data in hub.sent]


async def test_only_the_last_lines_are_kept(lines: LogLines) -> None:
    for number in range(LINES + 5):
        log.warning("line %d", number)
    assert len(lines.entries) == LINES
    assert lines.entries[0]["m"] == "WARNING toys: line 5\n"


async def test_a_subscriber_is_sent_what_any_thread_logs(lines: LogLines) -> None:
    hub = RecordingHub()
    log.warning("before")
    lines.subscribe("c1", hub.send)
    thread = threading.Thread(target=log.warning, args=("from a thread",))
    thread.start()
    thread.join()
    assert await told(hub, 1) == [("c1", "WARNING toys: from a thread\n")]
    lines.unsubscribe("c1")
    log.warning("after")
    await asyncio.sleep(0)
    assert len(hub.sent) == 1
    (_, type, data) = hub.sent[0]
    assert (type, data["size"]) == ("logs", None)


async def test_what_sending_logs_is_not_sent(lines: LogLines) -> None:
    hub = RecordingHub()

    def send(sid: str | None, type: str, data: Any) -> None:
        log.warning("sending")
        hub.send(sid, type, data)

    lines.subscribe("c1", send)
    log.warning("one")
    await told(hub, 1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(hub.sent) == 1
    assert [e["m"] for e in lines.entries] == ["WARNING toys: one\n", "WARNING toys: sending\n"]


async def test_subscribers_are_limited(lines: LogLines) -> None:
    hub = RecordingHub()
    for number in range(1_500):
        lines.subscribe(f"c{number}", hub.send)
    log.warning("one")
    assert len(await told(hub, 1_000)) == 1_000


async def test_a_log_line_can_be_json() -> None:
    def line(*args: Any, **more: Any) -> Any:
        record = log.makeRecord("toys", logging.ERROR, "", 0, *args, **more)
        text = JsonLines().format(record)
        assert "\n" not in text
        return json.loads(text)

    found = line("a %s\nb", ("ü",), None)
    assert (found["level"], found["logger"], found["message"]) == ("error", "toys", "a ü\nb")
    assert found["time"].endswith("+00:00")
    assert "exception" not in found
    with pytest.raises(ValueError, match="wrong") as raised:
        raise ValueError("wrong")
    error = raised.value
    assert "ValueError: wrong" in line("x", (), (type(error), error, None))["exception"]


@pytest.fixture
async def client(tmp_path: Path, aiohttp_client: Any, lines: LogLines) -> TestClient[Any, Any]:
    app = files_app(files_state(tmp_path))
    app[LOG_LINES] = lines
    client: TestClient[Any, Any] = await aiohttp_client(app)
    return client


async def test_the_log_can_be_read(client: TestClient[Any, Any]) -> None:
    log.warning("hello")
    text = await (await client.get("/internal/logs")).json()
    assert text.endswith(" - WARNING toys: hello\n")
    raw = await (await client.get("/internal/logs/raw")).json()
    assert raw["entries"][-1]["m"] == "WARNING toys: hello\n"
    assert set(raw["size"]) == {"cols", "rows"}
    assert (await client.get("/api/internal/logs")).status == 404


async def test_the_log_can_be_subscribed_to(client: TestClient[Any, Any]) -> None:
    async def subscribe(body: Any) -> int:
        return (await client.patch("/internal/logs/subscribe", json=body)).status

    from server.state import STATE

    hub: Any = client.app[STATE].hub  # type: ignore[index]
    assert await subscribe({"clientId": "c1", "enabled": True}) == 200
    log.warning("one")
    assert await told(hub, 1) == [("c1", "WARNING toys: one\n")]
    assert await subscribe({"clientId": "c1", "enabled": False}) == 200
    for bad in (
        {},
        [],
        None,
        {"clientId": 1, "enabled": True},
        {"clientId": "", "enabled": True},
        {"clientId": "x"},
    ):
        assert await subscribe(bad) == 400
    assert await subscribe({"clientId": "x" * 300, "enabled": True}) == 400


async def test_files_are_listed_newest_first(client: TestClient[Any, Any], tmp_path: Path) -> None:
    import os

    assert await (await client.get("/internal/files/output")).json() == []
    (tmp_path / "output" / "sub").mkdir(parents=True)
    for age, name in enumerate(("new.png", "old.png", ".draft-1")):
        (tmp_path / "output" / name).write_bytes(b"")
        os.utime(tmp_path / "output" / name, (2e9 - age, 2e9 - age))
    assert await (await client.get("/internal/files/output")).json() == ["new.png", "old.png"]
    answer = await client.get("/internal/files/models")
    assert (answer.status, await answer.json()) == (400, {"error": "Invalid directory type"})
