"""The nodes of image generation, under the ecosystem's names; one file a subject."""

from collections.abc import Iterable
from pathlib import Path

from engine.registry import Pack

_HERE = Path(__file__).parent
_STORYBOOK = _HERE / "storybook"
_UPSCALER = "storybook_x2.safetensors"


def _provided() -> Iterable[object]:
    from engine.replay import SavedValues
    from nodes.reading import saved_values

    return (SavedValues(saved_values),)


PACK = Pack(
    name="latentgraph",
    modules=(
        "nodes.loaders",
        "nodes.text_loaders",
        "nodes.text",
        "nodes.sdxl",
        "nodes.editing",
        "nodes.vision",
        "nodes.latent",
        "nodes.latent_batch",
        "nodes.latent_files",
        "nodes.sampling",
        "nodes.custom_sampling",
        "nodes.custom_samplers",
        "nodes.schedulers",
        "nodes.sigmas",
        "nodes.model_sampling",
        "nodes.model_guidance",
        "nodes.model_patches",
        "nodes.model_merging",
        "nodes.model_saving",
        "nodes.vae",
        "nodes.image",
        "nodes.image_files",
        "nodes.animation",
        "nodes.image_filters",
        "nodes.image_transform",
        "nodes.mask",
        "nodes.control",
        "nodes.preprocess",
        "nodes.preprocessors",
        "nodes.preprocessors_lines",
        "nodes.preprocessors_edges",
        "nodes.preprocessors_depth",
        "nodes.preprocessors_pose",
        "nodes.preprocessors_segments",
        "nodes.preprocessors_colour",
        "nodes.upscale",
        "nodes.flow",
        "nodes.strings",
    ),
    items={
        "checkpoints": {"storybook": _STORYBOOK},
        "diffusers": {"storybook": _STORYBOOK},
        "vae": {"storybook": _STORYBOOK / "vae"},
        "controlnet": {"storybook_canny": _STORYBOOK / "controlnet" / "storybook_canny"},
        "loras": {"storybook_sketch.safetensors": _STORYBOOK / "loras" / "storybook_sketch.safetensors"},
        "upscale_models": {_UPSCALER: _STORYBOOK / "upscale_models" / _UPSCALER},
        "input": {p.name: p for p in sorted((_STORYBOOK / "input").glob("*.png"))},
    },
    workflows=_HERE.parent / "workflows",
    provides=_provided,
)
