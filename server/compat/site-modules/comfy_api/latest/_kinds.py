"""The link types without a widget."""

from typing import Any

from torch import Tensor

from comfy_api.latest._ports import ComfyTypeIO, comfytype


def _kind(name: str, io_type: str, values: Any = Any) -> Any:
    """A link type that has nothing of its own."""
    doc = f"The link type {io_type}."
    return comfytype(io_type)(type(name, (ComfyTypeIO,), {"__doc__": doc, "Type": values}))


Image = _kind("Image", "IMAGE", Tensor)
Mask = _kind("Mask", "MASK", Tensor)
Latent = _kind("Latent", "LATENT", dict)
Conditioning = _kind("Conditioning", "CONDITIONING", list)
Sampler = _kind("Sampler", "SAMPLER")
Sigmas = _kind("Sigmas", "SIGMAS", Tensor)
Noise = _kind("Noise", "NOISE")
Guider = _kind("Guider", "GUIDER")
Clip = _kind("Clip", "CLIP")
ControlNet = _kind("ControlNet", "CONTROL_NET")
Vae = _kind("Vae", "VAE")
Model = _kind("Model", "MODEL")
ClipVision = _kind("ClipVision", "CLIP_VISION")
ClipVisionOutput = _kind("ClipVisionOutput", "CLIP_VISION_OUTPUT")
AudioEncoder = _kind("AudioEncoder", "AUDIO_ENCODER")
AudioEncoderOutput = _kind("AudioEncoderOutput", "AUDIO_ENCODER_OUTPUT")
StyleModel = _kind("StyleModel", "STYLE_MODEL")
Gligen = _kind("Gligen", "GLIGEN")
UpscaleModel = _kind("UpscaleModel", "UPSCALE_MODEL")
Audio = _kind("Audio", "AUDIO", dict)
Video = _kind("Video", "VIDEO")
SVG = _kind("SVG", "SVG")
LoraModel = _kind("LoraModel", "LORA_MODEL", dict)
LossMap = _kind("LossMap", "LOSS_MAP", dict)
Voxel = _kind("Voxel", "VOXEL")
Mesh = _kind("Mesh", "MESH")
Hooks = _kind("Hooks", "HOOKS")
HookKeyframes = _kind("HookKeyframes", "HOOK_KEYFRAMES")
TimestepsRange = _kind("TimestepsRange", "TIMESTEPS_RANGE", tuple)
LatentOperation = _kind("LatentOperation", "LATENT_OPERATION")
FlowControl = _kind("FlowControl", "FLOW_CONTROL", tuple)
Accumulation = _kind("Accumulation", "ACCUMULATION", dict)
Load3DCamera = _kind("Load3DCamera", "LOAD3D_CAMERA", dict)
Load3D = _kind("Load3D", "LOAD_3D", dict)
Load3DAnimation = _kind("Load3DAnimation", "LOAD_3D_ANIMATION", dict)
Photomaker = _kind("Photomaker", "PHOTOMAKER")
Point = _kind("Point", "POINT")
FaceAnalysis = _kind("FaceAnalysis", "FACE_ANALYSIS")
BBOX = _kind("BBOX", "BBOX")
SEGS = _kind("SEGS", "SEGS")
AnyType = _kind("AnyType", "*")
MODEL_PATCH = _kind("MODEL_PATCH", "MODEL_PATCH")
WanCameraEmbedding = _kind("WanCameraEmbedding", "WAN_CAMERA_EMBEDDING", Tensor)
