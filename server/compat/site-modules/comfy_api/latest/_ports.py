"""What an input and an output of a schema are, and how a link type gets them."""

from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar, TypeAlias, TypeVar

T = TypeVar("T", bound=type)


class FolderType(str, Enum):
    """Where a file is."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):
    """What may be uploaded at a choice of files."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(str, Enum):
    """How a number is edited."""

    number = "number"
    slider = "slider"


class RemoteOptions:
    """Choices that the editor asks a server for."""

    def __init__(
        self, route: str, refresh_button: bool, control_after_refresh: str = "first",
        timeout: int | None = None, max_retries: int | None = None, refresh: int | None = None,
    ) -> None:  # fmt: skip
        self.route, self.refresh_button, self.control_after_refresh = (
            route,
            refresh_button,
            control_after_refresh,
        )
        self.timeout, self.max_retries, self.refresh = timeout, max_retries, refresh

    def as_dict(self) -> dict[str, Any]:
        """The options that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Port:
    """An input or an output; `Parent` is its link type."""

    Parent: ClassVar[Any] = None
    NAMES: ClassVar[dict[str, str]] = {}
    """What is set of it, by attribute, and the name of the option in JSON."""

    @property
    def io_type(self) -> Any:
        """The name of the link type; for an output with choices of its own, the choices."""
        return self.Parent.io_type

    @property
    def Type(self) -> Any:
        """The Python type of its values."""
        return self.Parent.Type

    def get_io_type(self) -> Any:
        """The name of the link type."""
        return self.io_type

    def as_dict(self) -> dict[str, Any]:
        """The options that are set, as the editor knows them."""
        found: dict[str, Any] = {}
        for cls in reversed(type(self).__mro__):
            for attribute, option in cls.__dict__.get("NAMES", {}).items():
                value = getattr(self, attribute, None)
                if value is not None:
                    found[option] = _plain(value)
        return found | dict(getattr(self, "extra_dict", None) or {})


def _plain(value: Any) -> Any:
    if isinstance(value, RemoteOptions):
        return value.as_dict()
    return value.value if isinstance(value, Enum) else value


class InputPort(Port):
    """An input that takes a link.

    Args:
        extra_dict: More options for the editor, as they are.
        more: Options of newer versions.
    """

    NAMES: ClassVar = {"display_name": "display_name", "tooltip": "tooltip", "lazy": "lazy"}

    def __init__(
        self, id: str, display_name: str | None = None, optional: bool = False, tooltip: str | None = None,
        lazy: bool | None = None, extra_dict: dict[str, Any] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        self.id, self.display_name, self.optional = id, display_name, optional
        self.tooltip, self.lazy = tooltip, lazy
        newer = {NEWER.get(name, name): value for name, value in more.items() if value is not None}
        self.extra_dict = {**newer, **(extra_dict or {})}


NEWER = {"raw_link": "rawLink"}


class WidgetInput(InputPort):
    """An input that takes a link or a value."""

    NAMES: ClassVar = {
        "default": "default",
        "socketless": "socketless",
        "widget_type": "widgetType",
        "force_input": "forceInput",
    }

    def __init__(
        self, id: str, display_name: str | None = None, optional: bool = False, tooltip: str | None = None,
        lazy: bool | None = None, default: Any = None, socketless: bool | None = None,
        widget_type: str | None = None, force_input: bool | None = None,
        extra_dict: dict[str, Any] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, **more)
        self.default, self.socketless = default, socketless
        self.widget_type, self.force_input = widget_type, force_input


class OutputPort(Port):
    """An output."""

    NAMES: ClassVar = {"display_name": "display_name", "tooltip": "tooltip"}

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:  # fmt: skip
        self.id, self.display_name, self.tooltip = id, display_name, tooltip
        self.is_output_list = is_output_list


Input: TypeAlias = InputPort
Output: TypeAlias = OutputPort


class ComfyType:
    """A link type."""

    Type: Any = Any
    io_type: str = ""
    Input: Any
    Output: Any


class ComfyTypeI(ComfyType):
    """A link type that inputs may have."""

    class Input(InputPort):
        """An input of this type."""


class ComfyTypeIO(ComfyTypeI):
    """A link type that inputs and outputs may have."""

    class Output(OutputPort):
        """An output of this type."""


def comfytype(io_type: str, **_: Any) -> Callable[[T], T]:
    """Make a class the link type of this name."""

    def mark(cls: T) -> T:
        cls.io_type = io_type  # type: ignore[attr-defined]
        for name in ("Input", "Output"):
            port = getattr(cls, name, None)
            if port is not None:
                own: Any = port if name in cls.__dict__ else type(name, (port,), {"__doc__": port.__doc__})
                own.Parent = cls
                setattr(cls, name, own)
        return cls

    return mark


def Custom(io_type: str) -> type[ComfyTypeIO]:
    """The link type of this name."""
    return comfytype(io_type)(type(io_type, (ComfyTypeIO,), {"__doc__": f"The link type {io_type}."}))
