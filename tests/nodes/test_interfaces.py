"""The declared nodes against the ecosystem's interfaces, where its description is at hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.files import Files
from engine.node import REQUIRED, Value
from engine.ports import Env, Hidden, Hint, Omittable, OneOf, Range
from engine.registry import Registry
from nodes import PACK

CONTRACT = Path(__file__).parents[3] / "shared" / "reference" / "node_interfaces.json"
needs_contract = pytest.mark.skipif(
    not CONTRACT.is_file(), reason="no ../shared/reference/node_interfaces.json"
)
NEEDED = (
    "CheckpointLoaderSimple", "DiffusersLoader", "VAELoader", "CLIPTextEncode", "CLIPSetLastLayer",
    "EmptyLatentImage", "KSampler", "KSamplerAdvanced", "RandomNoise", "DisableNoise", "BasicGuider",
    "CFGGuider", "KSamplerSelect", "BasicScheduler", "SamplerCustomAdvanced", "AddNoise", "VAEEncode",
    "VAEDecode", "VAEDecodeTiled", "VAEEncodeTiled", "VAEEncodeForInpaint", "SetLatentNoiseMask",
    "ImagePadForOutpaint", "LatentUpscale", "LatentUpscaleBy", "LatentBlend", "LatentInterpolate",
    "ImageScale", "ImageScaleBy", "ImageBatch", "EmptyImage", "ImageInvert", "LoadImage",
    "LoadImageMask", "MaskToImage", "ImageToMask", "InvertMask", "GrowMask", "FeatherMask",
    "MaskComposite", "SolidMask", "ImageCompositeMasked", "ControlNetLoader", "ControlNetApplyAdvanced",
    "Canny", "UpscaleModelLoader", "ImageUpscaleWithModel", "LoraLoader", "SaveImage", "PreviewImage",
    "SaveLatent", "LoadLatent",
)  # fmt: skip
GROWING_COMBOS = {"sampler_name", "scheduler"}
"""Combos of which we may offer a part, in the ecosystem's order."""
UNUSED_HIDDEN = {("GetImageSize", "unique_id")}
"""Hidden inputs that only serve the editor's display."""
STATED = {"type", "default", "min", "max", "step", "round", "choices"}
IGNORED_OPTIONS = {
    "advanced", "multiselect", "dynamicPrompts", "forceInput", "lazy",
}  # fmt: skip


NODES = Registry().with_pack(PACK).nodes
KNOWN: dict[str, Any] = json.loads(CONTRACT.read_text())["nodes"] if CONTRACT.is_file() else {}
ENV = Env(Files.under(Path("/nonexistent"), items=PACK.items))


@pytest.mark.parametrize("name", NEEDED)
def test_the_nodes_that_the_shipped_workflows_need_are_declared(name: str) -> None:
    assert name in NODES


@pytest.mark.parametrize("name", sorted(NODES))
def test_every_port_is_documented(name: str) -> None:
    ours = NODES[name]
    assert ours.doc
    assert [v.name for v in ours.inputs if not v.doc and not v.fact(Hidden)] == []


@needs_contract
@pytest.mark.parametrize("name", sorted(NODES.keys() & KNOWN.keys()))
def test_a_node_has_the_ecosystems_interface(name: str) -> None:
    ours, theirs = NODES[name], KNOWN[name]
    assert ours.category == theirs["category"]
    assert ours.title == theirs.get("display_name", name)
    assert ours.is_output == theirs["output_node"]
    assert ours.takes_lists == theirs.get("INPUT_IS_LIST", False)
    assert [v.name for v in ours.inputs if not v.fact(Hidden)] == theirs["input_order"]
    hidden = {v.name: fact.source for v in ours.inputs if (fact := v.fact(Hidden))}
    wanted = {k: v for k, v in theirs.get("hidden", {}).items() if (name, k) not in UNUSED_HIDDEN}
    assert hidden == wanted
    outputs = [(o["type"], o["name"], o.get("list", False)) for o in theirs["outputs"]]
    assert [(v.kind, v.name, v.is_list) for v in ours.outputs] == outputs


def ports() -> list[tuple[str, str]]:
    """(class, port) of all visible inputs that the contract describes too."""
    return [
        (name, port)
        for name in sorted(NODES.keys() & KNOWN.keys())
        for group in ("required", "optional")
        for port in KNOWN[name].get(group, {})
    ]


@needs_contract
@pytest.mark.parametrize(("name", "port"), ports())
def test_a_port_has_the_ecosystems_type_default_and_range(name: str, port: str) -> None:
    ours = NODES[name].input(port)
    theirs = KNOWN[name].get("required", {}).get(port)
    optional = theirs is None
    theirs = theirs or KNOWN[name]["optional"][port]
    assert ours is not None
    assert ours.optional == optional, "optional"
    assert ours.lazy == theirs.get("lazy", False), "lazy"
    assert ours.kind == theirs["type"], "type"
    check_default(ours, theirs)
    check_choices(ours, theirs)
    check_range(ours, theirs)
    hints = {
        hint.key: hint.value for hint in ours.facts if isinstance(hint, Hint) and hint.value is not False
    }
    hints = {k: v for k, v in hints.items() if k not in IGNORED_OPTIONS}
    options = {k: v for k, v in theirs.items() if k not in STATED | IGNORED_OPTIONS and v is not False}
    assert hints == options, "hints"


def check_default(ours: Value, theirs: dict[str, Any]) -> None:
    if "default" in theirs:
        assert ours.default == theirs["default"], "default"
    elif ours.fact(Omittable) is None:
        # A widget without a default shows the neutral value of its type, so declaring that says the same.
        assert ours.default in (REQUIRED, None, "", 0, False), "default"


def check_range(ours: Value, theirs: dict[str, Any]) -> None:
    bounds = ours.fact(Range)
    if "min" not in theirs and "max" not in theirs:
        return
    assert bounds is not None, "range"
    assert bounds.min == theirs.get("min", bounds.min), "min"
    assert bounds.max == theirs.get("max", bounds.max), "max"
    assert bounds.step == theirs.get("step"), "step"
    assert bounds.round == theirs.get("round"), "round"


def check_choices(ours: Value, theirs: dict[str, Any]) -> None:
    wanted = theirs.get("choices")
    if isinstance(wanted, list):
        choices = ours.choices(ENV)
        assert choices is not None, "choices"
        wanted = list(dict.fromkeys(wanted))
        if ours.name in GROWING_COMBOS:
            wanted = [choice for choice in wanted if choice in choices]
        assert list(choices) == wanted, "choices"
    elif isinstance(wanted, dict) and "files" in wanted:
        one_of = ours.fact(OneOf)
        assert one_of is not None, "choices"
        assert one_of.role == wanted["files"].split(":")[0], "folder role"
