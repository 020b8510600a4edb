"""The lines of Stable Diffusion: how a UNet shows which it is, and what belongs to each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.problems import NodeFailure
from nodes.diffusion.added import Added, Concat, Vector
from nodes.diffusion.families import Found
from nodes.diffusion.latent_format import PLAYGROUND, SD1, SDXL, LatentFormat
from nodes.diffusion.levels import Continuous, Discrete
from nodes.diffusion.sampling_space import ModelSampling, Prediction
from nodes.diffusion.tensors import Shapes, read_json, tensors
from nodes.diffusion.text import Encoder

V_SPREAD = 0.09
"""Above this standard deviation of one bias a UNet of 2.x predicts v; the 512 px models stay below."""

_V_TELLING = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
_V_TELLING_DIFFUSERS = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
_EDM_ENDS = {"edm_vpred.sigma_min": 0.002, "edm_vpred.sigma_max": 120.0}
_PREDICTIONS: Mapping[str, Prediction] = {"epsilon": "eps", "v_prediction": "v_prediction", "sample": "x0"}


@dataclass(frozen=True)
class Line:
    """One line of models.

    Args:
        name: As people call it.
        towers: Its text encoders.
        vector: What its vector holds; see `Added`.
    """

    name: str
    towers: tuple[Encoder, ...]
    latent: LatentFormat = SD1
    vector: Vector | None = None


SD1X = Line("Stable Diffusion 1.x", ("l",))
SD2X = Line("Stable Diffusion 2.x", ("h",))
UNCLIP = Line("Stable Diffusion 2.1 unCLIP", ("h",), SD1, "unclip")
SDXL_BASE = Line("SDXL", ("l", "g"), SDXL, "sdxl")
SDXL_REFINER = Line("the SDXL refiner", ("g",), SDXL, "refiner")
_BY_WIDTHS = {
    (768, None): SD1X,
    (1024, None): SD2X,
    (1024, 1536): UNCLIP,
    (1024, 2048): UNCLIP,
    (2048, 2816): SDXL_BASE,
    (1280, 2560): SDXL_REFINER,
}
"""By the widths of the text embeddings and of the vector."""

_CONCAT: Mapping[int, Concat | None] = {4: None, 9: "inpaint", 8: "instruct"}


@dataclass(frozen=True)
class Unet:
    """What a UNet shows before its weights are read.

    Args:
        context: Width of the text embeddings.
        vector: Width of the vector, or None where it takes none.
        channels: Of its input.
        convolutions: Whether the projections around its attention are 1x1 convolutions, as in 1.x.
    """

    context: int
    vector: int | None
    channels: int
    convolutions: bool

    @classmethod
    def of(cls, found: Shapes) -> "Unet":
        """From shapes in the latent-diffusion layout or that of diffusers.

        Raises:
            KeyError: It is no UNet with cross attention.
        """
        widths = [s[1] for key, s in found.items() if key.endswith("attn2.to_k.weight")]
        conv_in = next((found[k] for k in ("input_blocks.0.0.weight", "conv_in.weight") if k in found), None)
        if not widths or conv_in is None:
            raise KeyError("attn2.to_k.weight" if conv_in else "input_blocks.0.0.weight")
        vectors = ("label_emb.0.0.weight", "add_embedding.linear_1.weight", "class_embedding.linear_1.weight")
        vector = next((found[key][1] for key in vectors if key in found), None)
        projections = {len(s) for key, s in found.items() if key.endswith(".proj_in.weight")}
        return cls(widths[0], vector, conv_in[1], projections == {4})

    @classmethod
    def configured(cls, config: Mapping[str, Any]) -> "Unet":
        """From the configuration of a diffusers folder."""
        vector = config.get("projection_class_embeddings_input_dim")
        linear = config.get("use_linear_projection", False)
        return cls(config.get("cross_attention_dim", 1280), vector, config.get("in_channels", 4), not linear)

    @property
    def line(self) -> Line | None:
        """The line that it belongs to; any width with convolutions and without a vector is of 1.x."""
        known = _BY_WIDTHS.get((self.context, self.vector))
        return known or (SD1X if self.convolutions and self.vector is None else None)

    def added(self, line: Line, found: Found) -> Added:
        """What it takes beside the text.

        Raises:
            NodeFailure: It takes an input that we do not know.
        """
        if self.channels not in _CONCAT:
            raise NodeFailure(
                f"{found.path.name}: the UNet takes {self.channels} channels; a latent has 4",
                "known: 4 (text to image), 9 (inpainting), 8 (editing by instructions)",
            )
        return Added(line.vector, _CONCAT[self.channels], self.vector or 0)


def stated_sampling(folder: Path) -> ModelSampling:
    """The noise schedule that a diffusers folder states.

    Raises:
        NodeFailure: It is one that we do not know.
    """
    stated = read_json(folder / "scheduler" / "scheduler_config.json")
    prediction = stated.get("prediction_type", "epsilon")
    schedule = stated.get("beta_schedule", "scaled_linear")
    known = prediction in _PREDICTIONS and schedule in ("linear", "scaled_linear")
    if not known or stated.get("trained_betas"):
        raise NodeFailure(
            f"{folder.name}: cannot sample with prediction {prediction!r} and beta schedule {schedule!r}",
            f"known: {', '.join(_PREDICTIONS)}; linear, scaled_linear",
        )
    levels = Discrete(
        beta_start=stated.get("beta_start", 0.00085),
        beta_end=stated.get("beta_end", 0.012),
        beta_schedule=schedule,
        zero_snr=stated.get("rescale_betas_zero_snr", False),
        steps=stated.get("num_train_timesteps", 1000),
    )
    return ModelSampling(_PREDICTIONS[prediction], levels)


def shown_sampling(line: Line, found: Found, unet: Unet, prefix: str) -> tuple[ModelSampling, LatentFormat]:
    """The noise schedule and the latent format of a single file, as marker keys and one bias show them.

    Args:
        prefix: Of the UNet's keys.
    """
    keys = found.shapes
    if line in (SD2X, UNCLIP) and unet.channels == 4 and _predicts_v(found, prefix):
        return ModelSampling("v_prediction"), line.latent
    if line is SDXL_BASE and {"edm_mean", "edm_std"} <= keys.keys():
        return ModelSampling("edm", Continuous(0.002, 80.0), spread=0.5), PLAYGROUND
    if line is SDXL_BASE and "edm_vpred.sigma_max" in keys:
        ends = {key: float(value) for key, value in tensors(found.path, _EDM_ENDS.__contains__).items()}
        lowest, highest = (ends.get(key, default) for key, default in _EDM_ENDS.items())
        return ModelSampling("v_prediction", Continuous(lowest, highest)), line.latent
    if line is SDXL_BASE and "v_pred" in keys:
        return ModelSampling("v_prediction", Discrete(zero_snr="ztsnr" in keys)), line.latent
    return ModelSampling(), line.latent


def _predicts_v(found: Found, prefix: str) -> bool:
    names = {prefix + _V_TELLING, prefix + _V_TELLING_DIFFUSERS}
    held = tensors(found.path, names.__contains__)
    return any(float(bias.float().std()) > V_SPREAD for bias in held.values())


def scaled_as(latent: LatentFormat, folder: Path) -> LatentFormat:
    """The latent format of a diffusers folder, which may state its own factor and preview colours."""
    scale = float(read_json(folder / "vae" / "config.json").get("scaling_factor", latent.scale))
    colours = folder / "vae" / "latent_rgb.json"
    if colours.is_file():
        latent = replace(latent, rgb=tuple(tuple(map(float, row)) for row in read_json(colours)["rows"]))
    return replace(latent, scale=scale)
