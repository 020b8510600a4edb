"""What packs look at to tell the two kinds of node classes apart."""

from comfy_api.latest._node import _ComfyNodeBaseInternal as _ComfyNodeInternal
from comfy_api.latest._schema import NodeOutput as _NodeOutputInternal

__all__ = ["_ComfyNodeInternal", "_NodeOutputInternal"]
