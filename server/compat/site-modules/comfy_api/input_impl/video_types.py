"""Videos."""

from comfy_api.latest._videos import VideoFromComponents, VideoFromFile

__all__ = ["VideoFromComponents", "VideoFromFile"]
