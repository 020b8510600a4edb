"""ControlNets: files in every layout against diffusers, and their use on conditionings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import save_file

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes import control as nodes
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.control import ControlNet
from nodes.diffusion.families import controlnet
from nodes.diffusion.weights import Recipe
from nodes.ports import Cond, Conditioning
from tests.nodes.ldm_files import CONTEXT, WIDTH, control

CONFIG = {
    "block_out_channels": [WIDTH] * 4,
    "cross_attention_dim": CONTEXT,
    "attention_head_dim": 8,
    "class_embed_type": None,
    "addition_embed_type": None,
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        held = control()
    net = ControlNetModel.from_config(CONFIG).eval()
    net.load_state_dict(convert_controlnet_checkpoint(dict(held), {**CONFIG, "layers_per_block": 2}))
    return net


@pytest.mark.parametrize("layout", ["cldm", "cldm without prefix", "diffusers", "folder"])
def test_every_layout_gives_the_network_of_diffusers(layout: str, theirs: Any, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        held = control()
    path = tmp_path / "net.safetensors"
    if layout == "folder":
        path = tmp_path / "net"
        theirs.save_pretrained(path)
    elif layout == "diffusers":
        save_file(theirs.state_dict(), path)
    else:
        cut = "control_model." if layout == "cldm without prefix" else ""
        save_file({key.removeprefix(cut): value for key, value in held.items()}, path)
    net = controlnet.control_net(path, str(path), Devices("cpu"))
    assert (net.channels, net.context, net.relative) == (3, CONTEXT, frozenset())
    ours = net.recipe.module(Devices("cpu"))
    x, context, hint = torch.randn(1, 4, 16, 16), torch.randn(1, 77, CONTEXT), torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        outputs = [
            net(
                x, torch.tensor([500]), encoder_hidden_states=context, controlnet_cond=hint, return_dict=False
            )
            for net in (ours, theirs)
        ]
    for a, b in zip((*outputs[0][0], outputs[0][1]), (*outputs[1][0], outputs[1][1]), strict=True):
        assert torch.equal(a, b)


def test_what_is_no_control_net_is_named(tmp_path: Path) -> None:
    save_file({"double_blocks.0.img_attn.norm.key_norm.scale": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(NodeFailure, match="Flux") as caught:
        controlnet.control_net(tmp_path / "x.safetensors", "x", Devices("cpu"))
    assert "cldm" in caught.value.hint
    with pytest.raises(NodeFailure, match=r"config\.json"):
        controlnet.control_net(tmp_path, "x", Devices("cpu"))


NET = ControlNet(Recipe("n", "controlnet", "controlnet", Path("n")), Devices("cpu"))
SIDE = Conditioning((Cond(torch.zeros(1, 77, 8)), Cond(torch.ones(1, 77, 8))))
IMAGE = torch.rand(1, 8, 8, 3)


def test_a_use_is_added_to_every_entry_of_both_sides() -> None:
    positive, negative = nodes.controlnet_apply_advanced(
        positive=SIDE,
        negative=SIDE,
        control_net=NET,
        image=IMAGE,
        strength=0.5,
        start_percent=0.1,
        end_percent=0.9,
    )
    uses = [entry.get("control") for entry in (*positive.entries, *negative.entries)]
    assert len(uses) == 4
    assert all(len(use) == 1 and use[0] is uses[0][0] for use in uses)
    assert (uses[0][0].strength, uses[0][0].start_percent, uses[0][0].end_percent) == (0.5, 0.1, 0.9)
    assert not positive.entries[0].get("control_apply_to_uncond")


def test_uses_are_chained_in_order() -> None:
    once = nodes.controlnet_apply(conditioning=SIDE, control_net=NET, image=IMAGE, strength=0.5)
    twice = nodes.controlnet_apply(conditioning=once, control_net=NET, image=IMAGE, strength=0.7)
    assert [use.strength for use in twice.entries[0].get("control")] == [0.5, 0.7]
    assert twice.entries[0].get("control_apply_to_uncond")


def test_strength_0_changes_nothing() -> None:
    assert nodes.controlnet_apply(conditioning=SIDE, control_net=NET, image=IMAGE, strength=0.0) is SIDE
    both = nodes.controlnet_apply_advanced(
        positive=SIDE, negative=SIDE, control_net=NET, image=IMAGE, strength=0.0
    )
    assert both == (SIDE, SIDE)


def test_networks_that_see_latents_have_no_part_in_stable_diffusion() -> None:
    vae = Vae(Recipe("v", "vae", "stable_diffusion", Path("v")), Devices("cpu"))
    given: dict[str, Any] = {"positive": SIDE, "negative": SIDE, "control_net": NET, "image": IMAGE}
    plain = nodes.controlnet_apply_advanced(**given, strength=0.5, end_percent=0.8)
    with_vae = nodes.controlnet_apply_sd3(**given, vae=vae, strength=0.5, end_percent=0.8)
    mask = torch.ones(1, 8, 8)
    inpainting = nodes.controlnet_inpainting_apply(**given, vae=vae, mask=mask, strength=0.5, end_percent=0.8)
    for sides in (with_vae, inpainting):
        for side, expected in zip(sides, plain, strict=True):
            (use,), (like,) = (s.entries[0].get("control") for s in (side, expected))
            assert vars(use) == vars(like)
