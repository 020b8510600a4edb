"""What packs ask of the server: routes, messages, a look at each prompt."""

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from packworld import World, n

from server.compat.prompt_server import PromptServer


async def answer(request: web.Request) -> web.Response:
    return web.Response(text=request.path)


async def test_routes_of_packs_are_there_under_both_paths_and_never_in_place_of_ours(
    aiohttp_client: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.js").write_text("export {}")
    packs = PromptServer()
    packs.routes.get("/mine/{name}")(answer)
    packs.routes.post("/queue")(answer)
    packs.app.router.add_static("/scripts", tmp_path)
    app = web.Application()

    async def ours(request: web.Request) -> web.Response:
        return web.Response(text="ours")

    app.add_routes([web.post("/queue", ours), web.post("/api/queue", ours)])
    packs.install(app)
    client = await aiohttp_client(app)
    for path in ("/mine/x", "/api/mine/x"):
        assert await (await client.get(path)).text() == path
    assert await (await client.post("/queue")).text() == "ours"
    assert await (await client.get("/scripts/a.js")).text() == "export {}"


async def test_messages_go_where_the_server_says() -> None:
    packs, sent = PromptServer(), []
    packs.send_sync("lost", {})
    packs.attach(asyncio.get_running_loop(), lambda *message: sent.append(message))
    packs.send_sync("mine", {"a": 1}, "client")
    await packs.send_json("all", {})
    packs.send_progress_text("half", "3")
    text = ("progress_text", {"node": "3", "text": "half"}, None)
    assert sent == [("mine", {"a": 1}, "client"), ("all", {}, None), text]
    assert packs.loop is asyncio.get_running_loop()


def test_handlers_may_change_a_prompt_and_one_that_raises_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    packs = PromptServer()

    def broken(request: dict[str, Any]) -> Any:
        raise RuntimeError("broken handler")

    packs.add_on_prompt_handler(lambda request: {**request, "a": 1})
    packs.add_on_prompt_handler(broken)
    packs.add_on_prompt_handler(lambda request: None)
    assert packs.trigger_on_prompt({"prompt": {}}) == {"prompt": {}, "a": 1}
    assert "broken handler" in caplog.text


def test_packs_find_the_server_by_its_module(world: World) -> None:
    module: Any = importlib.import_module("server")
    assert module.PromptServer.instance.routes is PromptServer.instance.routes
    assert module.PromptServer.instance.client_id is None
    assert module.web is web
    world.run({"1": n("Num", value=1), "2": n("Show", value=["1", 0])})
