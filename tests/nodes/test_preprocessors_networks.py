"""Preprocessors with networks: random weights, stored, found and run, against controlnet_aux's detectors."""

import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.files import Files
from engine.problems import NodeFailure
from nodes import preprocessors_depth as depth
from nodes import preprocessors_edges as edges
from nodes import preprocessors_segments as segments
from nodes.annotators import segments as sam
from nodes.annotators.anyline import merged_lines
from nodes.annotators.weights import quiet
from tests.nodes.annotator_files import Pixels, annotators, image, made, network, picture, pixels, save

HOUSE = picture("house.png", 64, 128)
SIDE = {"detect_resolution": 64, "image_resolution": 64, "output_type": "np"}
"""At a multiple of 64 controlnet_aux scales nothing either."""


def packaged(name: str) -> Any:
    """A class of controlnet_aux by its dotted name."""
    with quiet():
        import controlnet_aux  # noqa: F401
    module, _, attribute = f"controlnet_aux.{name}".rpartition(".")
    with quiet():
        return getattr(__import__(module, fromlist=[attribute]), attribute)


def stored(folder: Path, name: str, build: Callable[[], nn.Module], key: str = "", prefix: str = "") -> None:
    state = {prefix + k: v for k, v in network(build).state_dict().items()}
    save(folder / name, {key: state} if key else state)


def reference(name: str, folder: Path, shown: Pixels, *files: str, **options: Any) -> Any:
    """What controlnet_aux's detector, with its own loader, makes of a picture."""
    with quiet(), torch.inference_mode():
        return packaged(name).from_pretrained(str(folder), *files)(shown, **SIDE, **options)


def hed(folder: Path) -> None:
    stored(folder, "ControlNetHED.pth", packaged("hed.ControlNetHED_Apache2"))


@pytest.mark.parametrize("safe", ["enable", "disable"])
def test_hed_equals_controlnet_auxs_for_each_picture_of_a_batch(tmp_path: Path, safe: str) -> None:
    hed(folder := annotators(tmp_path))
    batch = HOUSE, np.ascontiguousarray(HOUSE[:, ::-1])
    found = pixels(made(edges.hed, tmp_path, image=image(*batch), safe=safe, resolution=64))
    for shown, drawn in zip(batch, found, strict=True):
        assert np.array_equal(drawn, reference("HEDdetector", folder, shown, safe=safe == "enable"))
    assert found.std() > 10


def test_a_scribble_from_hed_equals_controlnet_auxs(tmp_path: Path) -> None:
    hed(folder := annotators(tmp_path))
    found = pixels(made(edges.fake_scribble, tmp_path, image=image(HOUSE), resolution=64))[0]
    assert np.array_equal(found, reference("HEDdetector", folder, HOUSE, safe=True, scribble=True))


def test_a_picture_of_any_size_is_seen_padded_and_its_padding_cut_off(tmp_path: Path) -> None:
    hed(folder := annotators(tmp_path))
    shown = HOUSE[:, :70]
    found = pixels(made(edges.hed, tmp_path, image=image(shown), safe="disable", resolution=64))[0]
    padded = np.pad(shown, ((0, 0), (0, 58), (0, 0)), mode="edge")
    assert np.array_equal(found, reference("HEDdetector", folder, padded)[:, :70])


def test_pidinet_and_its_scribble_equal_controlnet_auxs(tmp_path: Path) -> None:
    folder = annotators(tmp_path)
    stored(folder, "table5_pidinet.pth", packaged("pidi.model.pidinet"), "state_dict", "module.")
    found = pixels(made(edges.pidinet, tmp_path, image=image(HOUSE), resolution=64))[0]
    assert np.array_equal(found, reference("PidiNetDetector", folder, HOUSE, safe=True))
    strokes = pixels(made(edges.scribble_pidinet, tmp_path, image=image(HOUSE), resolution=64))
    assert set(np.unique(strokes)) == {0, 255}


@pytest.mark.parametrize("coarse", ["disable", "enable"])
def test_line_art_equals_controlnet_auxs(tmp_path: Path, coarse: str) -> None:
    folder, generator = annotators(tmp_path), packaged("lineart.Generator")
    for name in ("sk_model.pth", "sk_model2.pth"):
        stored(folder, name, lambda: generator(3, 1, 3))
    found = pixels(made(edges.lineart, tmp_path, image=image(HOUSE), coarse=coarse, resolution=64))[0]
    assert np.array_equal(found, reference("LineartDetector", folder, HOUSE, coarse=coarse == "enable"))


def test_anime_line_art_equals_controlnet_auxs_where_that_scales_nothing(tmp_path: Path) -> None:
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    unet = packaged("lineart_anime.UnetGenerator")
    folder = annotators(tmp_path)
    stored(
        folder, "netG.pth", lambda: unet(3, 1, 8, 64, norm_layer=norm, use_dropout=False), prefix="module."
    )
    shown = np.tile(HOUSE, (4, 2, 1))
    found = pixels(made(edges.anime_lineart, tmp_path, image=image(shown), resolution=256))[0]
    with quiet(), torch.inference_mode():
        detector = packaged("LineartAnimeDetector").from_pretrained(str(folder))
        expected = detector(shown, detect_resolution=256, image_resolution=256, output_type="np")
    assert np.array_equal(found, expected)


def test_straight_lines_equal_controlnet_auxs(tmp_path: Path) -> None:
    folder = annotators(tmp_path)
    stored(folder, "mlsd_large_512_fp32.pth", packaged("mlsd.MobileV2_MLSD_Large"))
    found = pixels(made(edges.mlsd, tmp_path, image=image(HOUSE), score_threshold=0.05, resolution=64))[0]
    assert np.array_equal(found, reference("MLSDdetector", folder, HOUSE, thr_v=0.05, thr_d=0.1))


def test_teed_equals_controlnet_auxs(tmp_path: Path) -> None:
    folder = annotators(tmp_path, "bdsqlsz/qinglong_controlnet-lllite")
    stored(folder / "Annotators", "7_model.pth", packaged("teed.TED"))
    found = pixels(made(edges.teed, tmp_path, image=image(HOUSE), safe_steps=3, resolution=64))[0]
    with quiet(), torch.inference_mode():
        detector = packaged("TEEDdetector").from_pretrained(str(folder / "Annotators"), "7_model.pth")
        assert np.array_equal(found, detector(HOUSE, 64, 3, "np"))


def test_anyline_draws_line_art_over_edges(tmp_path: Path) -> None:
    stored(annotators(tmp_path, "TheMistoAI/MistoLine") / "Anyline", "MTEED.pth", packaged("teed.TED"))
    found = made(edges.anyline, tmp_path, image=image(HOUSE), resolution=64)
    assert found.shape == (1, 64, 128, 3)
    with pytest.raises(NodeFailure, match="manga_line"):
        made(edges.anyline, tmp_path, image=image(HOUSE), resolution=64, merge_with_lineart="manga_line")


def test_line_art_over_edges_multiplies_the_light_they_leave_and_drops_small_spots() -> None:
    base = np.full((64, 64), 51, np.uint8)
    top = np.zeros((64, 64), np.uint8)
    top[:2, :6], top[10, 10:21] = 102, 102
    draw = merged_lines(lambda _: base, lambda _: top, 64, (0.0, 1.0), 36, 1)
    found = draw(np.zeros((64, 64, 3), np.uint8))
    assert found[:2, :6] == pytest.approx(1 - 0.8 * 0.6)
    assert found[10, 10:21] == pytest.approx(0.2)


def test_normals_of_bae_equal_controlnet_auxs_and_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = SimpleNamespace(
        mode="client", architecture="BN", pretrained="scannet", sampling_ratio=0.4, importance_ratio=0.7
    )
    folder, nnet = annotators(tmp_path), packaged("normalbae.NNET")
    with quiet():
        state = nnet(options).state_dict()
    save(folder / "scannet.pt", {"model": {f"module.{key}": value for key, value in state.items()}})
    capsys.readouterr()
    found = pixels(made(depth.bae_normal, tmp_path, image=image(HOUSE), resolution=64))[0]
    assert capsys.readouterr() == ("", "")
    assert np.array_equal(found, reference("NormalBaeDetector", folder, HOUSE))


@pytest.mark.slow
def test_depth_and_normals_of_midas_equal_controlnet_auxs(tmp_path: Path) -> None:
    folder, dpt = annotators(tmp_path), packaged("midas.midas.dpt_depth.DPTDepthModel")
    build = functools.partial(dpt, path=None, backbone="vitb_rn50_384", non_negative=True)
    stored(folder, "dpt_hybrid-midas-501f0c75.pt", build)
    with quiet(), torch.inference_mode():
        detector = packaged("MidasDetector").from_pretrained(str(folder))
        expected = detector(HOUSE, 3.0, 0.2, True, 64, 64)
    found = made(depth.midas_depth, tmp_path, image=image(HOUSE), resolution=64)
    assert np.array_equal(pixels(found)[0], expected[0])
    assert expected[0].std() > 1
    found = made(depth.midas_normal, tmp_path, image=image(HOUSE), a=3.0, bg_threshold=0.2, resolution=64)
    assert np.array_equal(pixels(found)[0], expected[1])


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "depth_model"])
def test_depth_of_leres_equals_controlnet_auxs(tmp_path: Path, key: str) -> None:
    from nodes.diffusion import tensors

    if key and key not in tensors._WRAPPERS:
        pytest.skip("nodes/diffusion/tensors.py does not look into 'depth_model' yet")
    folder, model, leres = annotators(tmp_path), packaged("leres.RelDepthModel"), packaged("LeresDetector")
    with quiet():
        weights = model(backbone="resnext101")
        state = {f"module.{name}": value for name, value in weights.state_dict().items()}
    save(folder / "res101.pth", {key: state} if key else state)
    options = {"rm_nearest": 20.0, "rm_background": 30.0, "resolution": 64}
    found = pixels(made(depth.leres_depth, tmp_path, image=image(HOUSE), **options))[0]
    with quiet(), torch.inference_mode():
        assert np.array_equal(found, leres(weights, None)(HOUSE, 20.0, 30.0, **SIDE))


@pytest.mark.slow
def test_depth_of_zoe_needs_every_weight_but_indices(tmp_path: Path) -> None:
    save(annotators(tmp_path) / "ZoeD_M12_N.pt", {"model": {"core.a": torch.zeros(1)}})
    with pytest.raises(NodeFailure, match=r"ZoeD_M12_N\.pt does not hold ZoeDepth: it lacks"):
        made(depth.zoe_depth, tmp_path, image=image(HOUSE))


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (depth.depth_anything_first, "depth_anything_vits14.pth"),
        (depth.depth_anything_second, "depth_anything_v2_vits.pth"),
    ],
)
def test_missing_depth_anything_weights_are_named(tmp_path: Path, node: Any, name: str) -> None:
    with pytest.raises(NodeFailure, match=f"no weights '{name}'"):
        made(node, tmp_path, image=image(HOUSE), ckpt_name=name)


def test_segments_are_drawn_large_under_small_in_the_same_colours_each_time() -> None:
    whole, part = np.ones((64, 64), bool), np.zeros((64, 64), bool)
    part[10:20] = True
    found = [{"segmentation": part, "area": 640}, {"segmentation": whole, "area": 4096}]
    draw = sam.coloured_segments(SimpleNamespace(generate=lambda _: found))
    drawn = draw(np.zeros((64, 64, 3), np.uint8))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2
    assert (drawn[part] != drawn[0, 0]).any()
    assert np.array_equal(drawn, draw(np.zeros((64, 64, 3), np.uint8)))


def test_the_fingerprint_is_the_content_of_the_weights(tmp_path: Path) -> None:
    hed(folder := annotators(tmp_path))
    assert edges.hed.fingerprint
    before = edges.hed.fingerprint(files=Files.under(tmp_path))
    save(folder / "ControlNetHED.pth", {"norm": torch.zeros(1)})
    assert edges.hed.fingerprint(files=Files.under(tmp_path)) != before


def test_missing_weights_of_segments_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        NodeFailure, match=r"'mobile_sam\.pt': mobile_sam\.pt of the hub repository dhkim2810/MobileSAM"
    ):
        made(segments.sam, tmp_path, image=image(HOUSE))
