"""Pictures of workflows: every node is there, whatever the workflow; large ones take no square of time."""

import io
import itertools
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import PIL.Image
import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.problems import Problem, WorkflowError
from engine.registry import Registry, installed
from engine.workflow import Workflow, from_json
from nodes.drawing.boxes import Diagram, diagram
from nodes.drawing.layout import Layout, laid_out
from nodes.drawing.png import as_png
from nodes.drawing.scene import Curve, scene
from nodes.drawing.svg import as_svg
from nodes.drawing.words import cut, width, wrapped

TEXT_TO_IMAGE = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "storybook"}},
    "2": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "a <red> house & a moon " * 40, "clip": ["1", 1]},
        "_meta": {"title": "Prompt <1> & 2"},
    },
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    "5": {
        "class_type": "KSampler",
        "inputs": {
            **{"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]},
            **{
                "seed": 1,
                "steps": 4,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "x"}},
}


def drawn(value: dict[str, object]) -> tuple[Diagram, Layout]:
    found = diagram(from_json(value), Registry(), (), "test")
    return found, laid_out(found)


def svg_texts(text: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]


def test_every_node_is_in_the_svg_and_it_is_well_formed() -> None:
    found = diagram(from_json(TEXT_TO_IMAGE), installed(), (), "t <&> i")
    texts = svg_texts(as_svg(scene(found, laid_out(found)), "t <&> i"))
    assert "Prompt <1> & 2" in texts
    assert {"1", "2", "3", "4", "5", "6", "7"} <= set(texts)
    assert {n["class_type"] for n in TEXT_TO_IMAGE.values()} <= set(texts)
    assert texts.count("output") == 1
    assert {"MODEL", "CLIP", "VAE", "IMAGE", "LATENT", "CONDITIONING"} <= set(texts)


def test_boxes_do_not_overlap_and_links_go_right() -> None:
    found = diagram(from_json(TEXT_TO_IMAGE), installed())
    layout = laid_out(found)
    for a, b in itertools.combinations(found.boxes, 2):
        (ax, ay), (bx, by) = layout.corners[a], layout.corners[b]
        apart = ax + layout.widths[a] <= bx or bx + layout.widths[b] <= ax
        assert apart or ay + found.boxes[a].height <= by or by + found.boxes[b].height <= ay
    for route in layout.routes:
        xs = [x for x, _ in route.points]
        assert xs == sorted(xs)


def test_long_links_pass_between_the_boxes() -> None:
    found = diagram(from_json(TEXT_TO_IMAGE), installed())
    layout = laid_out(found)
    for route in layout.routes:
        for x, y in route.points[1:-1]:
            for id, (left, top) in layout.corners.items():
                inside = left <= x <= left + layout.widths[id] and top <= y <= top + found.boxes[id].height
                assert not inside


def test_the_png_opens_and_is_not_blank() -> None:
    found = diagram(from_json(TEXT_TO_IMAGE), installed())
    image = PIL.Image.open(io.BytesIO(as_png(scene(found, laid_out(found)))))
    image.load()
    assert image.format == "PNG"
    assert image.width > 1000
    assert len(image.getcolors(2**20) or ()) > 50


def test_a_cycle_is_drawn_backwards() -> None:
    found, layout = drawn(
        {
            "a": {"class_type": "X", "inputs": {"in": ["c", 0], "self": ["a", 1]}},
            "b": {"class_type": "X", "inputs": {"in": ["a", 0]}},
            "c": {"class_type": "X", "inputs": {"in": ["b", 0]}},
        }
    )
    assert [r.backward for r in layout.routes].count(True) == 2
    curves = [s for g in scene(found, layout).groups for s in g.shapes if isinstance(s, Curve)]
    assert sum(c.dashed for c in curves) == 2


def test_unknown_classes_and_problems_are_red() -> None:
    value = {
        "1": {"class_type": "NoSuchNode", "inputs": {"gone": ["77", 0], "n": 3}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 2]}},
    }
    problems = (Problem("x", "it is broken", "2", input="images"), Problem("y", "nothing to do"))
    found = diagram(from_json(value), installed(), problems)
    text = as_svg(scene(found, laid_out(found)), "x")
    assert text.count('stroke="#d92d20"') == 2
    assert {"NoSuchNode", "output 2", "images: it is broken", "nothing to do", "2 problems"} <= set(
        svg_texts(text)
    )


@pytest.mark.parametrize(
    "odd", ["\x00\x1b[31m", "\ud800", "]]>", "ｆｕｌｌ 日本語 🙂", "\u202e" * 5, "x" * 100_000]
)
def test_any_text_can_be_drawn(odd: str) -> None:
    value = {odd: {"class_type": odd, "inputs": {odd: odd, "many": [odd, 10**9]}, "_meta": {"title": odd}}}
    found, layout = drawn(value)
    ET.fromstring(as_svg(scene(found, layout), "x").encode())
    assert as_png(scene(found, layout)).startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", ["chain", "wide", "hub"])
def test_a_thousand_nodes_are_drawn_quickly(shape: str) -> None:
    def inputs(i: int) -> dict[str, object]:
        before = {"chain": [i - 1] * (i > 0), "wide": [0] * (i > 0), "hub": [0, i - 1] * (i > 0)}[shape]
        return {f"in{k}": [str(source), 0] for k, source in enumerate(before)}

    value = {str(i): {"class_type": "X", "inputs": inputs(i)} for i in range(1000)}
    started = time.process_time()
    found, layout = drawn(value)
    shapes = scene(found, layout)
    assert len(svg_texts(as_svg(shapes, "x"))) >= 3000
    assert time.process_time() - started < 5
    assert as_png(shapes).startswith(b"\x89PNG")


def test_no_workflow_is_too_small() -> None:
    found = diagram(Workflow({}), Registry())
    assert as_png(scene(found, laid_out(found))).startswith(b"\x89PNG")


def test_text_is_cut_to_its_room() -> None:
    assert cut("short", 11, 100) == "short"
    long = cut("a long line of words", 11, 60)
    assert long.endswith("…")
    assert width(long, 11) <= 66
    assert wrapped("one two three four five six seven", 11, 50, 2)[-1].endswith("…")


def test_the_command_writes_what_the_suffix_says(tmp_path: Path) -> None:
    for name in ("a.svg", "b.png"):
        done = CliRunner().invoke(app, ["draw", "text_to_image", "-o", str(tmp_path / name)])
        assert done.exit_code == 0
    assert "Prompt" in svg_texts((tmp_path / "a.svg").read_text("utf-8"))
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in ("a.jpg", "noend", "file/a.svg"):
        done = CliRunner().invoke(app, ["draw", "text_to_image", "-o", str(tmp_path / target)])
        assert isinstance(done.exception, WorkflowError)


def test_help_imports_neither_torch_nor_pillow() -> None:
    code = "import sys, engine.cli; sys.exit(bool({'torch', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_draws_a_cycle_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "round.json").write_text(
        '{"1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},'
        ' "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},'
        ' "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}'
    )
    target = tmp_path / "deep" / "round.svg"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from engine.cli import main; main()",
            "draw",
            tmp_path / "round.json",
            "-o",
            target,
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "depend on themselves" in done.stderr
    assert "Invert Image" in svg_texts(target.read_text("utf-8"))
