"""`latentgraph fetch` in a process of its own, with the real huggingface_hub, against a stand-in hub."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from engine.files import Files
from engine.problems import WorkflowError
from nodes.fetching.choice import WEIGHTS, folder, role_of
from nodes.fetching.hub import RemoteFile, Repository
from tests.nodes.hub_stand_in import COMMIT, Hub, serving

COMMAND = [sys.executable, "-c", "from engine.cli import main; main()"]
STORYBOOK = Path(__file__).parents[2] / "nodes" / "storybook"
MIB = 2**20
BIG = random.Random(7).randbytes(5 * MIB + 123)
LORA = save(
    {"lora_unet_x.lora_up.weight": torch.ones(64, 4), "lora_unet_x.lora_down.weight": torch.ones(4, 64)}
)

Fetch = Callable[..., subprocess.CompletedProcess[str]]


def story() -> dict[str, bytes]:
    """The embedded model as a repository, beside it what a hub's repository has too."""
    parts = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
    files = {"model_index.json": (STORYBOOK / "model_index.json").read_bytes()}
    for part in parts:
        files |= {f"{part}/{p.name}": p.read_bytes() for p in sorted((STORYBOOK / part).iterdir())}
    return files


def decoys() -> dict[str, bytes]:
    """What a hub's repository has beside what is wanted."""
    return {
        ".gitattributes": b"*.bin lfs",
        "README.md": b"# A model",
        "whole.safetensors": b"x",
        "unet/diffusion_pytorch_model.bin": b"x",
        "unet/diffusion_pytorch_model.fp16.safetensors": b"x",
        "unet/flax_model.msgpack": b"x",
        "text_encoder/openvino_model.bin": b"x",
        "vae_1_0/config.json": b"{}",
        "vae_1_0/diffusion_pytorch_model.safetensors": b"x",
        "safety_checker/config.json": b"{}",
        "safety_checker/model.safetensors": b"x",
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    repos = {
        "ann/storybook": {**story(), **decoys()},
        "ann/loras": {"styles/sketch.safetensors": LORA, "big.pth": BIG, "notes.md": b"-"},
        "ann/lcm": {"pytorch_lora_weights.safetensors": LORA},
    }
    with serving(Hub(repos)) as hub:
        yield hub


def environment(hub: Hub, here: Path, **more: str) -> dict[str, str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("HF_", "TRANSFORMERS_")) and "proxy" not in k.lower()
    }
    return kept | {"HF_ENDPOINT": hub.url, "HF_HOME": str(here / "hf"), "COLUMNS": "300", **more}


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Fetch:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "fetch", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path, env=environment(hub, tmp_path, **more),
        )  # fmt: skip

    return run


def begun(hub: Hub, here: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, after its first bytes have come."""
    process = subprocess.Popen(
        [*COMMAND, "fetch", *arguments, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here, env=environment(hub, here),
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            return process
    pytest.fail("it ended before any bytes came")


def last(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def names(here: Path) -> set[str]:
    """Every file below the models, hidden ones too."""
    return {p.relative_to(here / "models").as_posix() for p in (here / "models").rglob("*") if p.is_file()}


def test_a_diffusers_folder_becomes_a_checkpoint_of_the_very_content(fetch: Fetch, tmp_path: Path) -> None:
    done = fetch("ann/storybook", "--json")
    assert done.returncode == 0, done.stderr
    assert last(done) | {"path": ""} == {
        "event": "finished", "status": "success", "path": "", "role": "checkpoints", "name": "storybook",
        "bytes": sum(map(len, story().values())), "commit": COMMIT,
    }  # fmt: skip
    files = Files.under(tmp_path)
    assert files.names("checkpoints") == ["storybook"]
    original = Files.under(tmp_path, items={"checkpoints": {"it": STORYBOOK}})
    assert files.digest("checkpoints", "storybook") == original.digest("checkpoints", "it")
    assert names(tmp_path) == {f"checkpoints/storybook/{path}" for path in story()}


def test_what_is_there_already_is_not_fetched_again(fetch: Fetch, hub: Hub) -> None:
    fetch("ann/storybook")
    before = len(hub.asked)
    again = fetch("ann/storybook")
    assert again.returncode == 0
    assert "there already" in again.stderr
    assert [path for path, *_ in hub.asked[before:]] == ["model_index.json"]


def test_a_files_role_is_told_by_its_keys(fetch: Fetch, tmp_path: Path) -> None:
    done = fetch("ann/loras/styles/sketch.safetensors")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models/loras/sketch.safetensors").read_bytes() == LORA
    assert "wrote" in done.stderr
    assert done.stdout == ""


def test_a_file_of_a_name_that_says_nothing_is_named_after_its_repository(
    fetch: Fetch, tmp_path: Path
) -> None:
    assert fetch("ann/lcm/pytorch_lora_weights.safetensors").returncode == 0
    assert names(tmp_path) == {"loras/lcm.safetensors"}


def test_a_cut_connection_is_taken_up_where_it_was(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    hub.cuts["big.pth"] = [2 * MIB, MIB]
    done = fetch("ann/loras/big.pth", "--to", "upscale_models")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models/upscale_models/big.pth").read_bytes() == BIG
    assert hub.ranges("big.pth") == [None, f"bytes={2 * MIB}-", f"bytes={3 * MIB}-"]


def test_a_reset_connection_is_taken_up_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.holds["big.pth"] = 2 * MIB + 7
    process = begun(hub, tmp_path, "ann/loras/big.pth", "--to", "upscale_models")
    hub.released.set()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert (tmp_path / "models/upscale_models/big.pth").read_bytes() == BIG
    assert hub.ranges("big.pth") in ([None, f"bytes={MIB}-"], [None, f"bytes={2 * MIB}-"])


def test_two_of_the_same_do_not_mix(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    hub.holds["big.pth"] = 2 * MIB
    process = begun(hub, tmp_path, "ann/loras/big.pth", "--to", "upscale_models")
    second = fetch("ann/loras/big.pth", "--to", "upscale_models")
    assert second.returncode == 1
    assert "another process" in second.stderr
    hub.released.set()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert names(tmp_path) == {"upscale_models/big.pth"}


def test_a_killed_fetch_goes_on_where_it_was(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    hub.holds["big.pth"] = 3 * MIB
    process = begun(hub, tmp_path, "ann/loras/big.pth", "--to", "upscale_models")
    process.kill()
    process.communicate()
    hub.released.set()
    (part,) = (tmp_path / "models/upscale_models/.fetch").rglob("*.part")
    have = part.stat().st_size
    assert MIB <= have <= 3 * MIB
    assert part.read_bytes() == BIG[:have]
    assert Files.under(tmp_path).names("upscale_models") == []
    done = fetch("ann/loras/big.pth", "--to", "upscale_models", "--json")
    assert done.returncode == 0, done.stderr
    assert last(done)["bytes"] == len(BIG) - have
    assert hub.ranges("big.pth") == [None, f"bytes={have}-"]
    assert (tmp_path / "models/upscale_models/big.pth").read_bytes() == BIG
    assert names(tmp_path) == {"upscale_models/big.pth"}


def test_of_a_killed_folder_only_the_rest_is_fetched(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    large = "vae/diffusion_pytorch_model.safetensors"
    hub.repos["ann/storybook"][large] = BIG
    hub.holds[large] = MIB + 5
    process = begun(hub, tmp_path, "ann/storybook")
    while not list(
        (tmp_path / "models/checkpoints/.fetch").rglob("diffusion_pytorch_model.safetensors.*.part")
    ) or ((large, None) not in [(p, r) for p, r, _ in hub.asked]):
        assert process.poll() is None
    process.kill()
    process.communicate()
    hub.released.set()
    assert Files.under(tmp_path).names("checkpoints") == []
    before = len(hub.asked)
    assert fetch("ann/storybook").returncode == 0
    assert {path for path, *_ in hub.asked[before:]} == {"model_index.json", large}
    assert Files.under(tmp_path).names("checkpoints") == ["storybook"]
    assert (tmp_path / "models/checkpoints/storybook" / large).read_bytes() == BIG


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_so_and_keeps_what_has_come(hub: Hub, tmp_path: Path, number: int) -> None:
    hub.holds["big.pth"] = 2 * MIB
    process = begun(hub, tmp_path, "ann/loras/big.pth", "--to", "upscale_models")
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1]) == {"event": "finished", "status": "cancelled"}
    assert len(list((tmp_path / "models/upscale_models/.fetch").rglob("*.part"))) == 1


def test_a_server_without_ranges_sends_all_again(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    hub.cuts["big.pth"] = [2 * MIB]
    hub.ignores_ranges = True
    assert fetch("ann/loras/big.pth", "--to", "upscale_models").returncode == 0
    assert (tmp_path / "models/upscale_models/big.pth").read_bytes() == BIG


def test_a_damaged_file_never_gets_its_name(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    hub.damaged.add("big.pth")
    done = fetch("ann/loras/big.pth", "--to", "upscale_models")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert names(tmp_path) == set()
    assert fetch("ann/loras/big.pth", "--to", "upscale_models").returncode == 0


def test_a_gated_repository_says_how_to_be_let_in(fetch: Fetch, hub: Hub) -> None:
    hub.gated.add("ann/loras")
    done = fetch("ann/loras/big.pth", "--to", "upscale_models")
    assert done.returncode == 1
    assert "gated" in done.stderr
    assert "HF_TOKEN" in done.stderr
    assert fetch("ann/loras/big.pth", "--to", "upscale_models", HF_TOKEN="hf_good").returncode == 0
    assert [token for path, _, token in hub.asked if path == "big.pth"] == [
        False
    ]  # not told to the other host


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["ann/storybok"], "no repository ann/storybok", "'ann/storybook'"),
        (["ann/loras/sketch.safetensors"], "no file 'sketch.safetensors'", "sketch.safetensors"),
        (["ann/loras/styles/skech.safetensors"], "no file", "'styles/sketch.safetensors'"),
        (["ann/loras/big.pth"], "cannot be told", "--to ROLE"),
        (["ann/loras"], "no diffusers folder", "big.pth, styles/sketch.safetensors"),
        (["ann/loras/big.pth", "--to", "lora"], "no model folder 'lora'", "loras"),
        (["ann/loras/big.pth", "--revision", "old"], "no revision 'old'", "branch"),
        (["loras"], "names no repository", "OWNER/NAME"),
        (["ann/lo ras/x"], "is no repository", "OWNER/NAME"),
    ],
)
def test_wrong_arguments_are_told_with_what_to_do(
    fetch: Fetch, tmp_path: Path, arguments: list[str], message: str, hint: str
) -> None:
    done = fetch(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert hint in done.stderr
    assert not (tmp_path / "models").exists()


def test_offline_is_said(fetch: Fetch) -> None:
    told = fetch("ann/loras/big.pth", HF_HUB_OFFLINE="1")
    assert told.returncode == 1
    assert "HF_HUB_OFFLINE" in told.stderr
    unreachable = fetch("ann/loras/big.pth", HF_ENDPOINT="http://127.0.0.1:9")
    assert unreachable.returncode == 1
    assert "no connection to http://127.0.0.1:9" in unreachable.stderr


def test_without_room_nothing_is_begun(fetch: Fetch, hub: Hub) -> None:
    hub.sizes["big.pth"] = 10**16
    done = fetch("ann/loras/big.pth", "--to", "upscale_models")
    assert done.returncode == 1
    assert "no room: 10000000.00 GB" in done.stderr
    assert hub.asked == []


def test_another_file_of_the_name_is_left_alone(fetch: Fetch, tmp_path: Path) -> None:
    mine = tmp_path / "models/loras/sketch.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    done = fetch("ann/loras/styles/sketch.safetensors", "--json")
    assert done.returncode == 2
    assert last(done)["status"] == "error"
    assert mine.read_bytes() == b"mine"


def test_the_weights_chosen_are_those_that_the_loaders_read(tmp_path: Path) -> None:
    from nodes.diffusion.families.networks import _weight_file

    left = list(WEIGHTS)
    for name in left:
        (tmp_path / name).touch()
    while left:
        have = {f"unet/{n}": RemoteFile(f"unet/{n}", 0, "") for n in [*left, "config.json"]}
        have["model_index.json"] = RemoteFile("model_index.json", 0, "")
        have["safety_checker/model.safetensors"] = RemoteFile("safety_checker/model.safetensors", 0, "")
        index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
        index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
        role, files = folder(Repository("a/b", COMMIT, have), lambda _, index=index: index)  # type: ignore[misc]
        chosen = _weight_file(tmp_path).name
        assert [f.path for f in files] == ["model_index.json", "unet/config.json", f"unet/{chosen}"]
        assert role == "checkpoints"
        left.remove(chosen)
        (tmp_path / chosen).unlink()


def repository(*paths: str) -> Repository:
    return Repository("ann/it", COMMIT, {p: RemoteFile(p, 0, "") for p in paths})


def test_a_network_alone_goes_to_its_own_folder() -> None:
    alone = repository("config.json", "README.md", "x.png", "diffusion_pytorch_model.safetensors")
    role, files = folder(alone, lambda _: {"_class_name": "ControlNetModel"})
    assert role == "controlnet"
    assert [f.path for f in files] == ["config.json", "diffusion_pytorch_model.safetensors"]


def test_weights_that_no_loader_reads_are_refused_before_anything_comes() -> None:
    sharded = repository("model_index.json", "unet/config.json", "unet/model-00001-of-00002.safetensors")
    with pytest.raises(WorkflowError, match="no weights for unet"):
        folder(sharded, lambda _: {"unet": ["diffusers", "UNet2DConditionModel"]})


@pytest.mark.parametrize(
    ("keys", "role"),
    [
        ({"control_model.zero_convs.0.0.weight": (320, 320, 1, 1)}, "controlnet"),
        ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, "controlnet"),
        ({"lora_te_text_model_x.lora_down.weight": (4, 768)}, "loras"),
        ({"unet.down.processor.to_k_lora.up.weight": (4, 768)}, "loras"),
        ({"x.lora_A.weight": (4, 768)}, "loras"),
        ({"emb_params": (2, 768)}, "embeddings"),
        ({"decoder.conv_in.weight": (512, 4, 3, 3), "quant_conv.bias": (8,)}, "vae"),
        ({"vision_model.encoder.layers.0.mlp.fc1.bias": (4096,)}, "clip_vision"),
        ({"text_model.encoder.layers.0.mlp.fc1.bias": (3072,)}, "text_encoders"),
        ({"input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)}, "diffusion_models"),
        ({"body.0.weight": (64, 3, 3, 3)}, None),
        ({}, None),
    ],
)
def test_keys_tell_the_role(keys: dict[str, tuple[int, ...]], role: str | None) -> None:
    assert role_of(keys) == role
