"""All that a schema is made of, under one name."""

from comfy_api.latest._dynamic import Autogrow, DynamicCombo, MatchType
from comfy_api.latest._kinds import *
from comfy_api.latest._node import ComfyNode, _ComfyNodeBaseInternal
from comfy_api.latest._ports import (
    ComfyType,
    ComfyTypeI,
    ComfyTypeIO,
    Custom,
    FolderType,
    Input,
    NumberDisplay,
    Output,
    RemoteOptions,
    UploadType,
    WidgetInput,
    comfytype,
)
from comfy_api.latest._schema import Hidden, HiddenHolder, NodeOutput, Schema
from comfy_api.latest._ui import UIOutput
from comfy_api.latest._widgets import Boolean, Combo, Float, Int, MultiCombo, MultiType, String, Webcam

_ComfyType, _UIOutput = ComfyType, UIOutput

__all__ = [
    "Autogrow",
    "Boolean",
    "Combo",
    "ComfyNode",
    "ComfyType",
    "ComfyTypeI",
    "ComfyTypeIO",
    "Custom",
    "DynamicCombo",
    "Float",
    "FolderType",
    "Hidden",
    "HiddenHolder",
    "Input",
    "Int",
    "MatchType",
    "MultiCombo",
    "MultiType",
    "NodeOutput",
    "NumberDisplay",
    "Output",
    "RemoteOptions",
    "Schema",
    "String",
    "UploadType",
    "Webcam",
    "WidgetInput",
    "_ComfyNodeBaseInternal",
    "comfytype",
]
