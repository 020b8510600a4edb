"""Preprocessors by name, the sizes of hints, and the preprocessors of workflows that people share."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.check import check
from engine.devices import Devices
from engine.files import Files
from engine.graph import bind
from engine.node import Node
from engine.ports import Env
from engine.problems import NodeFailure
from engine.registry import Registry
from engine.steps import run_alone
from engine.workflow import from_json
from nodes import PACK, preprocessors, preprocessors_colour, preprocessors_lines, preprocessors_pose
from nodes.preprocessors import CHOICES, PREPROCESSORS, WITHOUT_NETWORK
from tests.nodes.annotator_files import annotators, image, picture, save

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
OURS: dict[str, Node[..., Any]] = dict(PREPROCESSORS) | {
    value.name: value
    for module in (preprocessors, preprocessors_colour, preprocessors_pose)
    for value in vars(module).values()
    if isinstance(value, Node)
}
SOURCES = {
    "IMAGE": "EmptyImage",
    "MASK": "SolidMask",
    "LATENT": "EmptyLatentImage",
    "POSE_KEYPOINT": "OpenposePreprocessor",
}
REFUSED: set[tuple[str, str, Any]] = {
    ("OpenposePreprocessor", "resolution", "v1.1"),
    ("DWPreprocessor", "bbox_detector", "yolox_m.onnx"),
    ("MiDaS-DepthMapPreprocessor", "bg_threshold", 6.283185307),
    ("CannyEdgePreprocessor", "resolution", "disable"),
}
"""Values, most of older versions' widgets, that the ecosystem's own pack refuses too."""
HOUSE = image(picture("house.png", 64, 100))


def by_name(name: str, base: Path, resolution: int = 64) -> Any:
    inputs = {"image": HOUSE, "preprocessor": name, "resolution": resolution}
    return run_alone(
        preprocessors.any_preprocessor(**inputs, files=Files.under(base), devices=Devices("cpu"))
    )


def test_a_preprocessor_by_name_runs_with_its_defaults(tmp_path: Path) -> None:
    expected = preprocessors_lines.canny_edges(image=HOUSE, resolution=128)
    assert by_name("CannyEdgePreprocessor", tmp_path, 128).equal(expected)
    assert by_name("TTPlanet_TileSimple_Preprocessor", tmp_path).shape == HOUSE.shape
    assert by_name("none", tmp_path) is HOUSE


def test_one_with_a_network_asks_for_its_weights(tmp_path: Path) -> None:
    with pytest.raises(NodeFailure, match=r"'dw-ll_ucoco_384\.onnx'"):
        by_name("DWPreprocessor", tmp_path)
    digest = preprocessors.any_preprocessor.fingerprint
    assert digest
    save(annotators(tmp_path) / "ControlNetHED.pth", {"norm": torch.zeros(1)})
    assert digest(preprocessor="HEDPreprocessor", files=Files.under(tmp_path))
    assert digest(preprocessor="CannyEdgePreprocessor", files=Files.under(tmp_path)) == ""


@pytest.mark.parametrize("name", sorted(WITHOUT_NETWORK))
def test_one_that_cannot_run_here_says_what_it_needs(tmp_path: Path, name: str) -> None:
    with pytest.raises(NodeFailure, match=f"{name} cannot run here: it needs"):
        by_name(name, tmp_path)


def test_the_choices_are_every_preprocessor_once() -> None:
    assert len(CHOICES) == len(set(CHOICES)) == 1 + len(PREPROCESSORS) + len(WITHOUT_NETWORK)
    assert preprocessors.selector(preprocessor="none") == "none"


@pytest.mark.parametrize(
    ("mode", "expected"), [("Just Resize", 1024), ("Crop and Resize", 1024), ("Resize and Fill", 512)]
)
def test_the_perfect_resolution_is_the_shorter_side_after_fitting(mode: Any, expected: int) -> None:
    wide = torch.zeros(1, 100, 200, 3)
    assert (
        preprocessors.pixel_perfect_resolution(
            original_image=wide, image_gen_width=1024, image_gen_height=1024, resize_mode=mode
        )
        == expected
    )


def test_every_preprocessor_takes_a_picture_and_optional_widgets() -> None:
    for node in PREPROCESSORS.values():
        first, *others = node.inputs
        assert (first.name, first.kind, first.optional) == ("image", "IMAGE", False)
        assert all(value.optional for value in others)
        assert (node.outputs[0].kind, len(node.outputs)) == (
            "IMAGE",
            2 if "POSE_KEYPOINT" in str(node.outputs) else 1,
        )


def used() -> Iterator[tuple[str, dict[str, Any]]]:
    """The preprocessors of shared workflows: class names and what stands in their widgets."""
    for path in sorted(CORPUS.glob("api/*.json")):
        prompt = json.loads(path.read_text())
        for node in prompt.get("prompt", prompt).values():
            if isinstance(node, dict) and node.get("class_type") in {*OURS, *WITHOUT_NETWORK}:
                yield node["class_type"], {k: v for k, v in node["inputs"].items() if not isinstance(v, list)}
    for path in sorted(CORPUS.glob("ui/*.json")):
        graph = json.loads(path.read_text())
        inner = [n for s in (graph.get("definitions") or {}).get("subgraphs", []) for n in s["nodes"]]
        for node in (*graph["nodes"], *inner):
            if node.get("type") in {*OURS, *WITHOUT_NETWORK}:
                yield (
                    node["type"],
                    dict(zip(widgets(node["type"]), node.get("widgets_values") or [], strict=False)),
                )


def widgets(name: str) -> list[str]:
    return [value.name for value in OURS[name].inputs if value.is_widget] if name in OURS else []


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no ../shared/corpus")
def test_the_preprocessors_of_shared_workflows_bind(record_property: Any) -> None:
    known = {node.name for node in OURS.values()}
    registry = Registry().with_pack(PACK)
    registry = registry.with_nodes(*(node for node in OURS.values() if node.name not in registry.nodes))
    env = Env(Files.under(Path("/nonexistent"), items=PACK.items), Devices("cpu"))
    bound, without, wrong = 0, 0, []
    for name, literals in used():
        if name not in known:
            without += 1
            continue
        if REFUSED & {(name, port, value) for port, value in literals.items()}:
            continue
        prompt: dict[str, Any] = {"n": {"class_type": name, "inputs": dict(literals)}}
        for value in OURS[name].inputs:
            if not value.is_widget:
                prompt["n"]["inputs"][value.name] = [value.kind, 1 if value.kind == "POSE_KEYPOINT" else 0]
                prompt[value.kind] = {
                    "class_type": SOURCES[value.kind],
                    "inputs": defaults(registry, SOURCES[value.kind]),
                }
            elif not value.optional:
                prompt["n"]["inputs"].setdefault(value.name, value.default)
        if OURS[name].outputs and OURS[name].outputs[0].kind == "IMAGE":
            prompt["out"] = {"class_type": "PreviewImage", "inputs": {"images": ["n", 0]}}
        found = [p for p in check(bind(from_json(prompt), registry), env).problems if p.node_id == "n"]
        bound += not found
        wrong += [(name, literals, str(problem)) for problem in found]
    record_property(
        "preprocessors of shared workflows that bind", f"{bound} of {bound + without + len(wrong)}"
    )
    assert wrong == []
    assert bound > 170
    assert without < 0.1 * bound


def defaults(registry: Registry, name: str) -> dict[str, Any]:
    return {v.name: v.default for v in registry.nodes[name].inputs if v.is_widget}
