"""Code in model files is never executed, whichever loader reads them, however it is packed and named."""

import io
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch

from engine.config import make_env, open_tiers, read_settings
from engine.folders import MODEL_ROLES
from engine.node import Node, node
from engine.ports import OneOf, Port, Shown
from engine.registry import Registry, installed
from engine.runner import Engine
from engine.workflow import from_json

NAMES = ("w.ckpt", "w.pt", "w.pth", "w.bin", "w.pkl", "w.safetensors")
SLOTS = {"MODEL": 0, "CLIP": 1, "VAE": 2}


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def zipped(held: Any) -> bytes:
    out = io.BytesIO()
    torch.save(held, out)
    return out.getvalue()


def legacy(held: Any) -> bytes:
    out = io.BytesIO()
    torch.save(held, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


FORMS: dict[str, Callable[[Any], bytes]] = {
    "zip": zipped,
    "legacy": legacy,
    "globals by name": lambda held: pickle.dumps(held, protocol=0),
    "globals by stack": lambda held: pickle.dumps(held, protocol=4),
}


@node("Sink", category="test", is_output=True, volatile=True)
def sink(*, value: Annotated[Any, Port("*")]) -> Shown[None]:
    """Ask for something."""
    return Shown(None, {})


def _ports(declared: Node[..., Any]) -> list[tuple[str, str]]:
    found = [(value.name, value.fact(OneOf)) for value in declared.inputs]
    return [(name, one_of.role) for name, one_of in found if one_of and one_of.role in MODEL_ROLES]


REGISTRY: Registry = installed().with_nodes(sink)
LOADERS = {name: ports for name, declared in REGISTRY.nodes.items() if (ports := _ports(declared))}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[Engine]:
    settings = read_settings(base_directory=base, cache=Path("off"), device="cpu")
    tiers = open_tiers(settings)
    engine = Engine(REGISTRY, make_env(settings, REGISTRY, tiers), tiers)
    yield engine
    engine.close()


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


USES = {  # some files are read when they are first used
    "MODEL": n(
        "KSampler",
        model=["2", 0],
        positive=["text", 0],
        negative=["text", 0],
        latent_image=["latent", 0],
        steps=1,
        cfg=1.0,
        seed=0,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    ),
    "CLIP": n("CLIPTextEncode", clip=["2", 0], text="a castle"),
    "UPSCALE_MODEL": n("ImageUpscaleWithModel", upscale_model=["2", 0], image=["image", 0]),
}
CHOSEN = {"type": "stable_diffusion", "weight_dtype": "default", "strength_model": 1.0, "strength_clip": 1.0}
AROUND = {
    "1": n("CheckpointLoaderSimple", ckpt_name="storybook"),
    "text": n("CLIPTextEncode", clip=["1", 1], text="a castle"),
    "latent": n("EmptyLatentImage", width=64, height=64, batch_size=1),
    "image": n("EmptyImage", width=8, height=8, batch_size=1, color=0),
}


def graph(loader: str, name: str) -> dict[str, Any]:
    """The loader reads the file, and what it gives is used; what else it needs is the embedded model's."""
    declared = REGISTRY.nodes[loader]
    inputs: dict[str, Any] = {port: name for port, _ in LOADERS[loader]}
    inputs |= {"type": "sdxl"} if loader == "DualCLIPLoader" else {}
    for value in declared.inputs:
        if value.kind in SLOTS:
            inputs[value.name] = ["1", SLOTS[value.kind]]
        elif value.name in CHOSEN and value.name not in inputs:
            inputs[value.name] = CHOSEN[value.name]
    nodes = AROUND | {"2": n(loader, **inputs)}
    if (kind := declared.outputs[0].kind) not in USES:
        return nodes | {"3": n("Sink", value=["2", 0])}
    return nodes | {"use": USES[kind], "3": n("Sink", value=["use", 0])}


def test_the_loaders_are_those_that_are_known() -> None:
    assert len(LOADERS) >= 13
    assert {"CheckpointLoaderSimple", "LoraLoader", "VAELoader", "ControlNetLoader"} <= LOADERS.keys()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loader", LOADERS.keys() - {"DiffusersLoader"})
def test_a_loader_refuses_code_and_runs_none(engine: Engine, base: Path, loader: str, form: str) -> None:
    made = base / "made"
    keys = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4), "trap": Trap(made)}
    for held in (keys, {"state_dict": keys}, Trap(made)):
        for name in NAMES:
            for _, role in LOADERS[loader]:
                path = base / "models" / role / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(FORMS[form](held))
            run = engine.run(engine.plan(from_json(graph(loader, name), "a test")))
            assert run.status == "error", (name, run.status)
            (failure,) = run.failures
            assert f"cannot read {name}" in failure.message, "nothing else is wrong"
            assert not made.exists(), (name, type(held))


@pytest.mark.parametrize("form", FORMS)
def test_a_model_folder_with_code_is_refused(engine: Engine, base: Path, form: str) -> None:
    made, folder = base / "made", base / "models" / "diffusers" / f"trap {form}"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    (folder / "unet" / "config.json").write_text("{}")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(FORMS[form]({"trap": Trap(made)}))
    run = engine.run(engine.plan(from_json(graph("DiffusersLoader", folder.name), "a test")))
    assert run.status == "error"
    assert not made.exists()


@pytest.mark.parametrize("form", FORMS)
def test_an_embedding_with_code_is_not_run(engine: Engine, base: Path, form: str) -> None:
    made = base / "made"
    for name in NAMES:
        path = base / "models" / "embeddings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FORMS[form]({"string_to_param": {"*": torch.zeros(1, 768)}, "trap": Trap(made)}))
        text = n("CLIPTextEncode", clip=["1", 1], text=f"a embedding:{name} b embedding:w")
        nodes = {"1": AROUND["1"], "2": text, "3": n("Sink", value=["2", 0])}
        engine.run(engine.plan(from_json(nodes, "a test")))
        assert not made.exists(), name
        path.unlink()


@pytest.mark.parametrize("form", FORMS)
def test_the_trap_works(tmp_path: Path, form: str) -> None:
    data = FORMS[form](Trap(tmp_path / "made"))
    torch.load(io.BytesIO(data), weights_only=False) if form in ("zip", "legacy") else pickle.loads(data)
    assert (tmp_path / "made").is_dir()
