"""What inputs hold, but for videos."""

from comfy_api.latest._values import AudioInput, ImageInput, LatentInput, MaskInput

__all__ = ["AudioInput", "ImageInput", "LatentInput", "MaskInput"]
