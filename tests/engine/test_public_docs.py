"""The Python API as people get it: its guide and its notebook run as they stand, the wheel has it."""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_guide_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTGRAPH_CACHE", str(tmp_path / "cache"))
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(examples) >= 8
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), names)
    with PIL.Image.open("house.png") as picture:
        assert picture.size == (128, 128)


@pytest.mark.slow
def test_the_notebook_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel")
    monkeypatch.setenv("LATENTGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "engine" / "public"))))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ROOT / "docs" / "latentgraph.ipynb", 4)
    saved = [kinds_of(cell) for cell in notebook.cells]
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert [kinds_of(cell) for cell in notebook.cells] == saved, "what is saved in it is what it shows"
    pictures = [text for cell in notebook.cells for text in re.findall('<img title="128×128"', str(cell))]
    assert len(pictures) >= 12
    bars = [
        text for cell in notebook.cells for text in re.findall(r"\d+ of \d+ jobs, \d+ nodes ran", str(cell))
    ]
    assert bars[0].startswith("6 of 6 jobs")


def kinds_of(cell: Any) -> list[list[str]]:
    """The kinds of what a cell shows."""
    return [sorted(output.get("data", {"text": ""})) for output in cell.get("outputs", [])]


def test_the_wheel_has_the_module_at_its_top(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling")
    (made,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
    assert {"latentgraph/__init__.py", "latentgraph/session.py", "engine/__init__.py"} <= set(names)
    assert [name for name in names if name.startswith("engine/public")] == []
