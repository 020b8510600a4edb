"""Further clients, unmodified, each from a virtual environment of its own where there is one.

`LATENTGRAPH_CLIENT_VENVS` names a folder with an environment for each, called as the client is:
comfykit, comfyui-autograph, comfy-toolkit, comfy-headless, comfyui-skill-cli, comfy-mcp, comfy-api-proxy,
and comfy-script (with its extra `client` and tqdm). They are not in the `test` extra as their dependencies
do not fit together.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.server.clients.graphs import drawing, offline, picture

pytestmark = pytest.mark.slow
Elsewhere = Callable[..., str]


@pytest.fixture
def graph(tmp_path: Path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(picture("other")))
    return str(path)


KIT = """
import asyncio, sys
from comfykit import ComfyKit

async def main(address, way, path):
    result = await ComfyKit(comfyui_url=address, executor_type=way).execute(path, {})
    print(result.status, len(result.images))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("way", ["http", "websocket"])
def test_comfykit(elsewhere: Elsewhere, address: str, graph: str, way: str) -> None:
    told = elsewhere("comfykit", "-c", KIT, address, way, graph)
    assert told.strip().splitlines()[-1] == "completed 1"


AUTOGRAPH = """
import sys
from autograph import ApiFlow, NodeInfo

address, path = sys.argv[1:]
done = ApiFlow(path).submit(address, wait=True)
[file] = done.fetch_files()
print(file["ref"]["kind"], "KSampler" in NodeInfo("fetch", server_url=address))
"""


def test_comfyui_autograph(elsewhere: Elsewhere, address: str, graph: str) -> None:
    told = elsewhere("comfyui-autograph", "-c", AUTOGRAPH, address, graph)
    assert told.strip().splitlines()[-1] == "images True"


TOOLKIT = """
import sys
from comfy_toolkit import ComfyClient

client = ComfyClient(sys.argv[1])
assert client.is_online() and client.vram_stats()["vram_total"] > 0
[image] = client.wait_for_images(client.submit(client.load_workflow(sys.argv[2])))
client.interrupt()
print(client.queue_status(), client.download(image)[:4])
"""


def test_comfy_toolkit(elsewhere: Elsewhere, address: str, graph: str) -> None:
    told = elsewhere("comfy-toolkit", "-c", TOOLKIT, address, graph)
    assert told.strip() == str({"running": 0, "pending": 0}) + r" b'\x89PNG'"


HEADLESS = """
import json, sys
from comfy_headless.client import ComfyClient

client = ComfyClient(sys.argv[1])
graph = json.load(open(sys.argv[2]))
assert client.is_online() and client.get_checkpoints() and "euler" in client.get_samplers()
assert not client.check_workflow_types(graph)["errors"]
entry = client.wait_for_completion(client.queue_prompt(graph), timeout=30)
assert client.cancel_current() and client.clear_queue()
made = client.generate_image("a house", checkpoint="storybook", width=64, height=64, steps=2)
print(entry["status"]["status_str"], made["success"], len(made["images"]))
"""


def test_comfy_headless(elsewhere: Elsewhere, address: str, graph: str) -> None:
    told = elsewhere("comfy-headless", "-c", HEADLESS, address, graph)
    assert told.strip().splitlines()[-1] == "success True 1"


def test_comfyui_skill(elsewhere: Elsewhere, address: str, tmp_path: Path) -> None:
    """Its job must not end before it opens its socket, which is after it has the answer to its POST."""
    (tmp_path / "data").mkdir()
    (tmp_path / "draw.json").write_text(json.dumps(drawing(20, "skill")))

    def skill(*words: str) -> dict[str, Any]:
        told = elsewhere(
            "comfyui-skill-cli", "--no-update-check", "-j", "-s", "s", *words, program="comfyui-skill"
        )
        found: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
        return found

    assert skill("server", "add", "--id", "s", "--url", address)["added"]
    assert skill("server", "status", "s")["status"] == "online"
    assert skill("workflow", "import", "draw.json", "--name", "draw")["node_count"] == 6
    done = skill("run", "s/draw")
    assert done["status"] in ("success", "completed")
    assert skill("run", "s/draw", "--validate")["status"] == "valid"
    assert skill("submit", "s/draw")["status"] == "submitted"
    assert "checkpoints" in skill("models", "list")["folders"]
    assert skill("free")["actions"] == ["models_unloaded", "memory_freed"]
    for words in (("queue", "list"), ("nodes", "list"), ("logs", "show"), ("templates", "list")):
        skill(*words)


MCP = """
import asyncio, os, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main(server, path):
    server = StdioServerParameters(command=server, env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as client:
        await client.initialize()
        for name, asked in (("run_workflow", {"workflow_path": path}), ("system_stats", {})):
            told = await client.call_tool(name, asked)
            failed = told.model_dump(by_alias=True)["isError"]
            print(name, "failed" if failed else "completed" in told.content[0].text)

asyncio.run(main(*sys.argv[1:]))
"""


def test_comfy_mcp(elsewhere: Elsewhere, graph: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = Path(os.environ.get("LATENTGRAPH_CLIENT_VENVS", ""), "comfy-mcp", "bin", "comfy-mcp")
    told = elsewhere("comfy-mcp", "-c", MCP, str(server), graph, PATH=path)
    assert told.strip().splitlines() == ["run_workflow True", "system_stats False"]


SCRIPT = """
import sys
from comfy_script.runtime import *

load(sys.argv[1])
from comfy_script.runtime.nodes import *

with Workflow(wait=True):
    model, clip, vae = CheckpointLoaderSimple("storybook")
    text = CLIPTextEncode("a house", clip)
    latent = EmptyLatentImage(64, 64, 1)
    latent = KSampler(model, int(sys.argv[2]), 20, 1.0, "euler", "normal", text, text, latent, 1.0)
    SaveImage(VAEDecode(latent, vae), "script")
print("drawn")
"""


def test_comfy_script(elsewhere: Elsewhere, address: str, tmp_path: Path, base_directory: Path) -> None:
    (tmp_path / "draw.py").write_text(SCRIPT)
    assert "drawn" in elsewhere("comfy-script", "draw.py", address, "7")
    assert (base_directory / "output" / "script_00001_.png").is_file()


@pytest.fixture
def proxy(address: str, tmp_path: Path) -> Iterator[str]:
    """The v2 API that comfy-api-proxy makes of our classic one."""
    root = os.environ.get("LATENTGRAPH_CLIENT_VENVS", "/nowhere")
    program = Path(root, "comfy-api-proxy", "bin", "comfy-api-proxy")
    if not program.exists():
        pytest.skip("needs LATENTGRAPH_CLIENT_VENVS with comfy-api-proxy in a virtual environment there")
    command = [str(program), "run", "--comfyui", address, "--port", "8931"]
    environment = offline(tmp_path, address) | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        assert "8931" in run.stdout.readline()
        yield "http://127.0.0.1:8931/api/v2"
        run.terminate()


def test_comfy_api_proxy(proxy: str) -> None:
    def call(path: str, **body: Any) -> dict[str, Any]:
        data = json.dumps(body).encode() if body else None
        with urlopen(Request(proxy + path, data, {"Content-Type": "application/json"})) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    job = call("/jobs", workflow=picture("proxy"))
    while (now := call(f"/jobs/{job['id']}"))["status"] in ("queued", "pending", "running"):
        pass
    assert now["status"] == "succeeded"
    assert [o["name"] for o in now["outputs"]] == ["proxy_00001_.png"]
