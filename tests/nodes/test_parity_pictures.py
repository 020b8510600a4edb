"""Pictures, masks and latents against ComfyUI's own results, where the parity kit is at hand."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
from torch import Tensor

from engine.files import Files
from engine.node import Node
from nodes import (
    image,
    image_files,
    image_filters,
    image_transform,
    latent,
    latent_batch,
    latent_files,
    mask,
    preprocess,
)
from nodes.ports import Latent

KIT = Path(__file__).parents[3] / "shared" / "parity"
pytestmark = pytest.mark.skipif(not (KIT / "cases.json").is_file(), reason="no ../shared/parity")
CASES = {c["name"]: c for c in json.loads((KIT / "cases.json").read_text())["cases"]} if KIT.is_dir() else {}
MODULES = (
    image, image_files, image_filters, image_transform, latent, latent_batch, latent_files, mask, preprocess,
)  # fmt: skip
NODES = {x.name: x for m in MODULES for x in vars(m).values() if isinstance(x, Node)}
PICTURE_CASES = (
    "image_basic", "image_composite_alpha", "image_filters", "image_outpaint_pad", "image_scale",
    "image_scale_by", "mask_nodes",
)  # fmt: skip


def evaluated(prompt: Mapping[str, Any], node_id: str, files: Files, known: dict[str, Any]) -> Any:
    """The result of a node: a tuple of outputs, or what it shows; `known` remembers the nodes that ran."""
    if node_id not in known:
        entry = prompt[node_id]
        node = NODES[entry["class_type"]]
        inputs: dict[str, Any] = {"files": files} if node.given else {}
        for name, value in entry["inputs"].items():
            linked = isinstance(value, list)
            inputs[name] = evaluated(prompt, value[0], files, known)[value[1]] if linked else value
        result = node(**inputs)
        known[node_id] = result if isinstance(result, tuple) else (result,)
    return known[node_id]


def saved(prompt: Mapping[str, Any], node_id: str, files: Files, known: dict[str, Any]) -> list[Path]:
    """The files that an output node wrote."""
    (shown,) = evaluated(prompt, node_id, files, known)
    (links,) = shown.ui.values()
    paths = [files.saved(link) for link in links]
    assert all(paths)
    return [path for path in paths if path]


def picture(path: Path) -> Tensor:
    return torch.from_numpy(np.asarray(PIL.Image.open(io.BytesIO(path.read_bytes())), dtype=np.float32) / 255)


def outputs(*cases: str) -> list[tuple[str, str]]:
    return [(case, output) for case in cases if case in CASES for output in CASES[case]["outputs"]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    items = {"input": {path.name: path for path in (KIT / "inputs").glob("*.png")}}
    return Files.under(tmp_path_factory.mktemp("base"), items=items)


@pytest.mark.parametrize(("case", "output"), outputs(*PICTURE_CASES))
def test_pictures_equal_the_references(case: str, output: str, files: Files) -> None:
    entry = CASES[case]["outputs"][output]
    expected = safetensors.torch.load_file(KIT / "expected" / f"{case}.safetensors")[output]
    found = torch.stack([picture(path) for path in saved(CASES[case]["prompt"], entry["node"], files, {})])
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= entry["tol"]


def encoded_inputs(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The results of the nodes that encode pictures, from the outputs that keep them whole."""
    combined = safetensors.torch.load_file(KIT / "expected" / "latent_combine.safetensors")
    pasted = combined["composite"][
        ..., 2:10, 4:12
    ]  # the third picture, laid over the first at (32, 16) pixels
    encoded = {"5": combined["batch"][:1], "7": combined["batch"][1:], "9": pasted}
    return {id: (Latent(z),) for id, z in encoded.items() if graph[id]["class_type"] == "VAEEncode"}


@pytest.mark.parametrize(("case", "output"), outputs("latent_combine", "latent_upscale"))
def test_latents_equal_the_references(case: str, output: str, files: Files) -> None:
    graph, entry = CASES[case]["prompt"], CASES[case]["outputs"][output]
    expected = safetensors.torch.load_file(KIT / "expected" / f"{case}.safetensors")[output]
    (path,) = saved(graph, entry["node"], files, encoded_inputs(graph))
    found = safetensors.torch.load_file(path)["latent_tensor"]
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= entry["tol"] * float(expected.abs().max())
