"""The guide to batches: its commands run as they stand, in their order, with small pictures of one step."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import PIL.Image
import pytest
from typer.testing import CliRunner

from engine import cli
from engine.registry import Registry
from server import assembly
from server.batch.contact_sheet import NAME
from server.batch.folder import OWN

GUIDE = Path(__file__).parents[3] / "docs" / "batch.md"
SMALL = ("Sampler.steps=1", "Size.width=64", "Size.height=64")


@pytest.mark.slow
def test_the_commands_run_as_they_stand(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assembly, "installed", lambda: registry)
    said = []
    for example in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL):
        if not example.startswith("latentgraph "):
            subprocess.run(["bash", "-ec", example], check=True)
            continue
        for command in example.splitlines():
            words = [*shlex.split(command)[1:], *(w for text in SMALL for w in ("--set", text))]
            if "--workers" in words:
                words.append("--dry-run")  # processes of their own have tests of their own
            result = CliRunner().invoke(cli.app, words)
            assert result.exit_code == 0, (command, result.output, result.exception)
            said.append(result.stderr)
    assert "15" in said[0]
    assert all("nothing to do" in text for text in said[-3:-1])
    made = {
        folder: pictures(tmp_path / folder) for folder in ("sweep", "pairs", "guidance", "people", "rows")
    }
    assert {folder: len(names) for folder, names in made.items()} == {
        "sweep": 15, "pairs": 3, "guidance": 4, "people": 2, "rows": 4,
    }  # fmt: skip
    assert made["people"] == ["dawn_00001_.png", "night_00001_.png"]
    assert "cfg 2/1_1_00001_.png" in made["guidance"]
    assert not (tmp_path / "parallel").exists()
    assert fields(tmp_path) <= set(re.findall(r"`(\w+)`", GUIDE.read_text(encoding="utf-8")))


def pictures(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    return sorted(name for name in found if not name.startswith(NAME) and name not in OWN)


def fields(base: Path) -> set[str]:
    """The fields of all lines of all manifests."""
    texts = (path.read_text(encoding="utf-8") for path in base.glob("*/manifest.jsonl"))
    return {name for text in texts for line in text.splitlines() for name in json.loads(line)}


def test_the_sheet_of_the_guide_is_small_enough_to_load() -> None:
    path = GUIDE.with_name("batch_contact_sheet.png")
    assert path.stat().st_size < 400_000
    with PIL.Image.open(path) as picture:
        assert picture.width > 600
