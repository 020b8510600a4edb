"""The link types by name, and what a node's class may hold."""

from enum import StrEnum
from typing import Any, TypeAlias

InputTypeDict: TypeAlias = dict[str, Any]
InputTypeOptions: TypeAlias = dict[str, Any]
HiddenInputTypeDict: TypeAlias = dict[str, Any]
FileLocator: TypeAlias = dict[str, Any]


class IO(StrEnum):
    """Link types; `ANY` fits all, and a union fits what it holds."""

    STRING = "STRING"
    IMAGE = "IMAGE"
    MASK = "MASK"
    LATENT = "LATENT"
    BOOLEAN = "BOOLEAN"
    INT = "INT"
    FLOAT = "FLOAT"
    COMBO = "COMBO"
    CONDITIONING = "CONDITIONING"
    SAMPLER = "SAMPLER"
    SIGMAS = "SIGMAS"
    GUIDER = "GUIDER"
    NOISE = "NOISE"
    CLIP = "CLIP"
    CONTROL_NET = "CONTROL_NET"
    VAE = "VAE"
    MODEL = "MODEL"
    LORA_MODEL = "LORA_MODEL"
    LOSS_MAP = "LOSS_MAP"
    CLIP_VISION = "CLIP_VISION"
    CLIP_VISION_OUTPUT = "CLIP_VISION_OUTPUT"
    STYLE_MODEL = "STYLE_MODEL"
    GLIGEN = "GLIGEN"
    UPSCALE_MODEL = "UPSCALE_MODEL"
    AUDIO = "AUDIO"
    WEBCAM = "WEBCAM"
    POINT = "POINT"
    FACE_ANALYSIS = "FACE_ANALYSIS"
    BBOX = "BBOX"
    SEGS = "SEGS"
    VIDEO = "VIDEO"
    ANY = "*"
    NUMBER = "FLOAT,INT"
    PRIMITIVE = "STRING,FLOAT,INT,BOOLEAN"

    def __ne__(self, value: object) -> bool:
        if not isinstance(value, str):
            return True
        if "*" in (str(self.value), str.__str__(value)):
            return False
        mine, other = set(str(self.value).split(",")), set(str.__str__(value).split(","))
        return not (mine <= other or other <= mine)

    def __eq__(self, value: object) -> bool:
        return isinstance(value, str) and str(self.value) == str.__str__(value)

    def __hash__(self) -> int:
        return hash(str(self.value))


class ComfyNodeABC:
    """A base that says what a node's class may hold."""

    DESCRIPTION: str
    CATEGORY: str
    EXPERIMENTAL: bool
    DEPRECATED: bool
    API_NODE: bool | None
    INPUT_IS_LIST: bool
    OUTPUT_NODE: bool
    OUTPUT_IS_LIST: tuple[bool, ...]
    RETURN_TYPES: tuple[Any, ...]
    RETURN_NAMES: tuple[str, ...]
    OUTPUT_TOOLTIPS: tuple[str, ...]
    FUNCTION: str

    @classmethod
    def INPUT_TYPES(cls) -> InputTypeDict:
        """The inputs by category."""
        return {"required": {}}


class CheckLazyMixin:
    """Asks for every lazy input that is not there."""

    def check_lazy_status(self, **kwargs: Any) -> list[str]:
        """The names of the inputs that are None."""
        return [name for name, value in kwargs.items() if value is None]
