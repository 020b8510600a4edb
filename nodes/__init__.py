"""The nodes of image generation, under the ecosystem's names; one file a subject."""

from pathlib import Path

from engine.registry import Pack

_HERE = Path(__file__).parent
_STORYBOOK = _HERE / "storybook"
_UPSCALER = "storybook_x2.safetensors"

PACK = Pack(
    name="latentgraph",
    modules=(
        "nodes.loaders",
        "nodes.text",
        "nodes.latent",
        "nodes.latent_batch",
        "nodes.latent_files",
        "nodes.sampling",
        "nodes.custom_sampling",
        "nodes.sigmas",
        "nodes.model_sampling",
        "nodes.vae",
        "nodes.image",
        "nodes.image_files",
        "nodes.animation",
        "nodes.image_filters",
        "nodes.image_transform",
        "nodes.mask",
        "nodes.control",
        "nodes.preprocess",
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
)
