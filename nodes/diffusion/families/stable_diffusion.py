"""Stable Diffusion 1.x: single-file checkpoints of any width, diffusers folders, and its VAEs alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.families import Checkpoint, Found, ldm
from nodes.diffusion.model import Model
from nodes.diffusion.preview import SD1_RGB
from nodes.diffusion.sampling_space import ModelSampling, Prediction
from nodes.diffusion.tensors import Shapes, read_json, shapes, tensors
from nodes.diffusion.text import Clip
from nodes.diffusion.tokenizer import OPENAI_CLIP
from nodes.diffusion.weights import Part, Recipe

NAME = "stable_diffusion"
SCALE = 0.18215
"""Latents in the denoiser's space over latents in the VAE's space (Rombach et al. 2022, appendix G)."""

CHANNELS = 4
"""Of a latent."""

_CLASSES = {"unet": "UNet2DConditionModel", "text_encoder": "CLIPTextModel", "vae": "AutoencoderKL"}
_PREFIXES: dict[str, tuple[str, ...]] = {
    "unet": ("model.diffusion_model.", ""),
    "vae": ("first_stage_model.", "vae.", ""),
    "text_encoder": (
        "cond_stage_model.transformer.text_model.",
        "cond_stage_model.transformer.",
        "text_model.",
        "",
    ),
}
_DIFFUSERS_UNET = "time_embedding.linear_1.weight"
_TELLING = {
    "unet": ("input_blocks.0.0.weight", _DIFFUSERS_UNET),
    "vae": ("decoder.conv_in.weight",),
    "text_encoder": ("embeddings.token_embedding.weight",),
}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v_prediction", "sample": "x0"}


def recognises(found: Found) -> bool:
    """Whether it is a diffusers folder of this pipeline, or a file with a CLIP-L and 1x1 projections."""
    if found.index:
        listed = {part: (found.index.get(part) or [None, None])[1] for part in _CLASSES}
        return listed == _CLASSES and "text_encoder_2" not in found.index
    if not all(_prefix(found.shapes, part) is not None for part in _CLASSES):
        return False
    unet = _part_shapes(found.shapes, "unet")
    projections = {len(shape) for key, shape in unet.items() if key.endswith(".proj_in.weight")}
    return projections == {4} and "label_emb.0.0.weight" not in unet


def checkpoint(found: Found, digest: str, devices: Devices) -> Checkpoint:
    """The model, text encoder and VAE of a file or folder, as recipes; reads configurations only."""
    return Checkpoint(
        _model(found, digest, devices),
        _clip(found, digest, devices),
        Vae(_recipe(found, "vae", digest), devices),
    )


def part(found: Found, part: Part, digest: str, devices: Devices) -> Model | Clip | Vae | None:
    """One part of a checkpoint, or a network that lies alone; None where it is not there."""
    if found.index:
        named = (found.index.get(part) or [None, None])[1]
        alone = (found.index.get("_class_name"), *found.index.get("architectures", ()))
        if named != _CLASSES[part] and _CLASSES[part] not in alone:
            return None
    elif _prefix(found.shapes, part) is None:
        return None
    match part:
        case "unet":
            return _model(found, digest, devices)
        case "text_encoder":
            return _clip(found, digest, devices)
        case _:
            return Vae(_recipe(found, "vae", digest), devices)


def _model(found: Found, digest: str, devices: Devices) -> Model:
    folder = found.path if "unet" in found.index else None
    if found.index:
        config = read_json(folder / "unet" / "config.json") if folder else found.index
        channels = config.get("in_channels", 4)
    else:
        unet = _part_shapes(found.shapes, "unet")
        channels = next(unet[k][1] for k in ("input_blocks.0.0.weight", "conv_in.weight") if k in unet)
    if channels != CHANNELS:
        raise NodeFailure(
            f"{found.path.name}: the UNet takes {channels} channels where a latent has {CHANNELS}",
            "inpainting checkpoints cannot be sampled from yet; use a text-to-image checkpoint",
        )
    recipe = _recipe(found, "unet", digest)
    return Model(recipe, devices, _sampling(folder), _scale(folder), CHANNELS, latent_rgb=_latent_rgb(folder))


def _clip(found: Found, digest: str, devices: Devices) -> Clip:
    vocabulary = found.path / "tokenizer" if "tokenizer" in found.index else OPENAI_CLIP
    return Clip(_recipe(found, "text_encoder", digest), devices, vocabulary)


def _recipe(found: Found, part: Part, digest: str) -> Recipe:
    return Recipe(digest, part, NAME, found.path)


def build(part: Part, path: Path) -> nn.Module:
    """One network of a checkpoint, or a VAE or text encoder that lies alone."""
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    if path.is_dir():
        return networks.from_folder(part, path / part if (path / part).is_dir() else path)
    found = shapes(path)
    prefix = _prefix(found, part)
    if prefix is None:
        raise NodeFailure(f"{path.name} holds no {part} of Stable Diffusion 1.x")
    try:
        config, rename = _layout(part, _part_shapes(found, part))
    except (KeyError, ValueError, StopIteration) as error:
        raise NodeFailure(f"{path.name}: the {part} is incomplete: {error} is missing") from error
    state: dict[str, Tensor] = {}
    for key, value in tensors(path, lambda key: key.startswith(prefix)).items():
        if (name := rename(key.removeprefix(prefix))) is not None:
            state[name] = value
    return networks.assembled(part, config, state, path.name)


def _layout(part: Part, found: Shapes) -> tuple[Mapping[str, Any], Callable[[str], str | None]]:
    """The configuration of one network of a single file, and diffusers' names for its tensors."""
    if part == "text_encoder":
        return ldm.text_config(found), lambda key: key
    if part == "vae":
        levels = ldm.vae_levels(found)
        config = ldm.vae_config({ldm.vae_key(key, levels): shape for key, shape in found.items()})
        return config, lambda key: ldm.vae_key(key, levels)
    plain = ldm.unet_keys(found) if _DIFFUSERS_UNET in found else {key: key for key in found}
    config = ldm.unet_config({theirs: found[key] for key, theirs in plain.items()})
    names = ldm.unet_names(config)
    return config, lambda key: ldm.unet_key(plain[key], names) if key in plain else None


def _prefix(found: Shapes, part: str) -> str | None:
    """What stands before the keys of one network of a single file, or None where it is not there."""
    return next((p for p in _PREFIXES[part] for telling in _TELLING[part] if p + telling in found), None)


def _part_shapes(found: Shapes, part: str) -> Shapes:
    """The shapes of one network of a single file, without the prefix of their keys."""
    prefix = _prefix(found, part) or ""
    return {key.removeprefix(prefix): shape for key, shape in found.items() if key.startswith(prefix)}


def _sampling(folder: Path | None) -> ModelSampling:
    """The noise schedule that a folder states; a single file has that of Stable Diffusion 1.x."""
    if folder is None:
        return ModelSampling()
    stated = read_json(folder / "scheduler" / "scheduler_config.json")
    prediction, schedule = (
        stated.get("prediction_type", "epsilon"),
        stated.get("beta_schedule", "scaled_linear"),
    )
    if (
        prediction not in _PREDICTIONS
        or schedule not in ("linear", "scaled_linear")
        or stated.get("trained_betas")
    ):
        raise NodeFailure(
            f"{folder.name}: cannot sample with prediction {prediction!r} and beta schedule {schedule!r}",
            f"known: {', '.join(_PREDICTIONS)}; linear, scaled_linear",
        )
    return ModelSampling(
        prediction=_PREDICTIONS[prediction],
        beta_start=stated.get("beta_start", 0.00085),
        beta_end=stated.get("beta_end", 0.012),
        beta_schedule=schedule,
        zero_snr=stated.get("rescale_betas_zero_snr", False),
        steps=stated.get("num_train_timesteps", 1000),
    )


def _scale(folder: Path | None) -> float:
    return float(read_json(folder / "vae" / "config.json").get("scaling_factor", SCALE)) if folder else SCALE


def _latent_rgb(folder: Path | None) -> tuple[tuple[float, ...], ...]:
    """How latents are previewed: as `vae/latent_rgb.json` says, [C + 1, 3], else as those of 1.x."""
    path = folder / "vae" / "latent_rgb.json" if folder else None
    if path is None or not path.is_file():
        return SD1_RGB
    return tuple(tuple(map(float, row)) for row in read_json(path)["rows"])
