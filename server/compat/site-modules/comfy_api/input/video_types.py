"""What inputs of videos hold."""

from comfy_api.latest._values import VideoInput

__all__ = ["VideoInput"]
