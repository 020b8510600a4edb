"""Several processes on one queue: clients hear of jobs that others ran, nobody takes what another runs."""

import sys
from pathlib import Path

import pytest

from engine.config import read_settings
from engine.registry import Registry
from server.config import read_server_settings
from server.serving import working
from server.worker import Told
from tests.server.database_server import Database
from tests.server.served import LET_GO, Served, heard_until_end, pair, served


async def running(server: Served, id: str) -> None:
    """Wait until a job runs."""
    async with server.socket() as socket:
        while id not in server.state.workers.running:
            await socket.receive(timeout=30)


async def test_a_client_hears_of_its_job_that_a_worker_elsewhere_ran(
    tmp_path: Path, registry: Registry, postgres: Database
) -> None:
    url = postgres.new()
    settings = read_settings(base_directory=tmp_path, cache=tmp_path / "cache", device="cpu")
    told = Told(*[lambda *_: None] * 4)
    async with served(tmp_path, registry, database=url) as server, server.socket("me") as socket:
        held = await server.send(pair(1, "Hold"))
        await running(server, held)
        with working(settings, read_server_settings(database=url), told) as worker:
            worker.start()
            id = await server.send(pair(7), client_id="me")
            heard = [m for m in await heard_until_end(socket, id) if m["data"].get("prompt_id") == id]
            worker.stop(5)
        kinds = [message["type"] for message in heard]
        assert kinds[:2] == ["execution_start", "execution_cached"]
        assert kinds[-3:] == ["executed", "execution_success", "executing"]
        (picture,) = heard[-3]["data"]["output"]["images"]
        async with server.session.get(server.address + "/view", params=picture) as answer:
            assert answer.status == 200
        assert server.state.queue.remaining == 1
        LET_GO.set()
        await server.ended(held)


async def test_another_server_on_the_queue_takes_what_waits_and_leaves_what_runs(
    tmp_path: Path, registry: Registry, postgres: Database
) -> None:
    url = postgres.new()
    async with served(tmp_path / "a", registry, database=url) as first, first.socket("me") as socket:
        held = await first.send(pair(1, "Hold"))
        await running(first, held)
        id = await first.send(pair(7), client_id="me")
        async with served(tmp_path / "b", registry, database=url) as second:
            await heard_until_end(socket, id)
            assert [path.name for path in (tmp_path / "b" / "output").iterdir()] == ["pair_00001_.png"]
            LET_GO.set()
            await first.ended(held)
            found = await second.get(f"/history/{held}")
            assert found[held]["status"]["status_str"] == "success"
        assert [job.attempt for job in first.state.queue.history()] == [1, 1]


async def test_texts_that_postgresql_does_not_take_are_no_fault_of_the_server(
    tmp_path: Path, registry: Registry, postgres: Database
) -> None:
    async with served(tmp_path, registry, database=postgres.new()) as server:
        prompt = pair(3)
        prompt["1"]["_meta"] = {"title": "nul \0"}
        id = await server.send(prompt, client_id="c\0" + "x" * 1_000, prompt_id="i\0d")
        assert id == "i\0d"
        async with server.socket() as socket:
            while not await server.get("/history"):
                await socket.receive(timeout=30)
        status, told = await server.post("/prompt", {"prompt": prompt, "prompt_id": "i\0d"})
        assert (status, told["error"]["type"]) == (409, "id_taken")


def test_a_queue_that_cannot_be_opened_ends_the_command_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from engine.cli import app

    monkeypatch.setenv("LATENTGRAPH_SERVER_DATABASE", "postgresql://u:sesame@127.0.0.1:1/x")
    result = CliRunner().invoke(app, ["serve", "--base-directory", str(tmp_path), "--cpu"])
    assert result.exit_code == 2
    shown = result.output + capsys.readouterr().err
    assert "127.0.0.1:1, database x as u" in shown
    assert "sesame" not in shown


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_missing_driver_is_named_with_the_whole_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    from typer.testing import CliRunner

    from engine.cli import app

    monkeypatch.setitem(sys.modules, "psycopg.types.string", None)
    monkeypatch.setenv("LATENTGRAPH_SERVER_DATABASE", "postgresql://127.0.0.1:1/x")
    result = CliRunner().invoke(app, [command, "--base-directory", str(tmp_path), "--cpu"])
    assert result.exit_code == 2
    assert "pip install 'latentgraph[postgres]'" in result.output + capsys.readouterr().err
