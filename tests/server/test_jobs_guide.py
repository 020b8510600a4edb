"""The guide to jobs over HTTP: its examples run as they stand, in their order."""

import asyncio
import io
import json
import re
import shutil
from pathlib import Path

import PIL.Image
import pytest

from engine.registry import Registry
from tests.server.jobs_app import ended, served

GUIDE = Path(__file__).parents[2] / "docs" / "jobs_api.md"


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_the_examples_run_as_they_stand(tmp_path: Path, registry: Registry) -> None:
    examples = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(examples) >= 6
    script = "set -euo pipefail\n" + "echo; echo ====\n".join(examples)
    folder = tmp_path / "here"
    folder.mkdir()
    async with served(tmp_path / "base", registry) as (client, _):
        address = str(client._base_url).rstrip("/")
        environment = {"SERVER": address, "PATH": "/usr/local/bin:/usr/bin:/bin", "no_proxy": "*"}
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, out.decode()
        parts = [part.strip() for part in out.decode().split("====")]
        job = json.loads((folder / "done.json").read_text())
        assert (job["status"], job["metadata"]) == ("succeeded", {"batch": "guide"})
        assert PIL.Image.open(folder / "picture.png").getpixel((0, 0)) == (255, 0, 0)
        inverted = await ended(client, json.loads(parts[2])["id"])
        async with client.get(inverted["outputs"][0]["url"]) as response:
            picture = PIL.Image.open(io.BytesIO(await response.read()))
        assert picture.getpixel((0, 0)) == (0, 255, 255)
        assert "200 OK" in parts[3]
        assert "event: status" in parts[4]
        assert f'"id": "{job["id"]}"' in parts[5]
