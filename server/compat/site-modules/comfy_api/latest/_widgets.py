"""The link types whose inputs have a widget: numbers, texts, choices."""

from enum import Enum
from typing import Any, ClassVar

from comfy_api.latest._ports import (
    ComfyTypeI,
    ComfyTypeIO,
    FolderType,
    InputPort,
    NumberDisplay,
    OutputPort,
    RemoteOptions,
    UploadType,
    WidgetInput,
    comfytype,
)


@comfytype("BOOLEAN")
class Boolean(ComfyTypeIO):
    """Yes or no."""

    Type = bool

    class Input(WidgetInput):
        """An input of this type."""

        NAMES: ClassVar = {"label_on": "label_on", "label_off": "label_off"}

        def __init__(
            self, id: str, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, default: bool | None = None,
            label_on: str | None = None, label_off: str | None = None, socketless: bool | None = None,
            force_input: bool | None = None, **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, **more
            )
            self.label_on, self.label_off = label_on, label_off


@comfytype("INT")
class Int(ComfyTypeIO):
    """A whole number."""

    Type = int

    class Input(WidgetInput):
        """An input of this type."""

        NAMES: ClassVar = {
            "min": "min",
            "max": "max",
            "step": "step",
            "control_after_generate": "control_after_generate",
            "display_mode": "display",
        }

        def __init__(
            self, id: str, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, default: int | None = None,
            min: int | None = None, max: int | None = None, step: int | None = None,
            control_after_generate: Any = None, display_mode: NumberDisplay | None = None,
            socketless: bool | None = None, force_input: bool | None = None, **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, **more
            )
            self.min, self.max, self.step = min, max, step
            self.control_after_generate, self.display_mode = control_after_generate, display_mode


@comfytype("FLOAT")
class Float(ComfyTypeIO):
    """A number."""

    Type = float

    class Input(WidgetInput):
        """An input of this type."""

        NAMES: ClassVar = {
            "min": "min",
            "max": "max",
            "step": "step",
            "round": "round",
            "display_mode": "display",
        }

        def __init__(
            self, id: str, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, default: float | None = None,
            min: float | None = None, max: float | None = None, step: float | None = None,
            round: float | None = None, display_mode: NumberDisplay | None = None,
            socketless: bool | None = None, force_input: bool | None = None, **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, **more
            )
            self.min, self.max, self.step, self.round = min, max, step, round
            self.display_mode = display_mode


@comfytype("STRING")
class String(ComfyTypeIO):
    """A text."""

    Type = str

    class Input(WidgetInput):
        """An input of this type."""

        NAMES: ClassVar = {
            "multiline": "multiline",
            "placeholder": "placeholder",
            "dynamic_prompts": "dynamicPrompts",
        }

        def __init__(
            self, id: str, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, multiline: bool = False,
            placeholder: str | None = None, default: str | None = None, dynamic_prompts: bool | None = None,
            socketless: bool | None = None, force_input: bool | None = None, **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, **more
            )
            self.multiline, self.placeholder, self.dynamic_prompts = multiline, placeholder, dynamic_prompts


@comfytype("COMBO")
class Combo(ComfyTypeIO):
    """One of some choices."""

    Type = str

    class Input(WidgetInput):
        """An input of this type."""

        NAMES: ClassVar = {
            "multiselect": "multiselect",
            "options": "options",
            "control_after_generate": "control_after_generate",
            "image_folder": "image_folder",
            "remote": "remote",
        }
        multiselect = False

        def __init__(
            self, id: str, options: Any = None, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, default: Any = None,
            control_after_generate: Any = None, upload: UploadType | None = None,
            image_folder: FolderType | None = None, remote: RemoteOptions | None = None,
            socketless: bool | None = None, **more: Any,
        ) -> None:  # fmt: skip
            default = default.value if isinstance(default, Enum) else default
            super().__init__(id, display_name, optional, tooltip, lazy, default, socketless, **more)
            self.options = _choices(options)
            self.control_after_generate, self.upload = control_after_generate, upload
            self.image_folder, self.remote = image_folder, remote

        def as_dict(self) -> dict[str, Any]:
            """The options that are set."""
            found: dict[str, Any] = super().as_dict()
            return found | ({self.upload.value: True} if self.upload else {})

    class Output(OutputPort):
        """An output of this type, with the choices that it may give."""

        def __init__(
            self, id: str | None = None, display_name: str | None = None, options: Any = None,
            tooltip: str | None = None, is_output_list: bool = False,
        ) -> None:  # fmt: skip
            super().__init__(id, display_name, tooltip, is_output_list)
            self.options = _choices(options) or []

        @property
        def io_type(self) -> Any:
            """The choices."""
            return self.options


def _choices(options: Any) -> list[Any] | None:
    """Choices as a list; those of an enum are its values."""
    if options is None:
        return None
    return [o.value if isinstance(o, Enum) else o for o in options]


@comfytype("COMBO")
class MultiCombo(ComfyTypeI):
    """Some of some choices."""

    Type = list

    class Input(Combo.Input):
        """An input of this type."""

        NAMES: ClassVar = {"multi_select": "multi_select", "placeholder": "placeholder", "chip": "chip"}
        multiselect = multi_select = True

        def __init__(
            self, id: str, options: Any, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, default: list[str] | None = None,
            placeholder: str | None = None, chip: bool | None = None, control_after_generate: Any = None,
            socketless: bool | None = None, **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(
                id, options, display_name, optional, tooltip, lazy, default, control_after_generate,
                socketless=socketless, **more,
            )  # fmt: skip
            self.placeholder, self.chip = placeholder, chip


@comfytype("WEBCAM")
class Webcam(ComfyTypeIO):
    """A picture taken in the editor."""

    Type = str

    class Input(WidgetInput):
        """An input of this type."""


@comfytype("COMFY_MULTITYPED_V3")
class MultiType:
    """One of several link types."""

    Type = Any

    class Input(InputPort):
        """An input that takes any of these types.

        Args:
            id: Its name; or an input with a widget, which it then has.
        """

        def __init__(
            self, id: Any, types: list[Any], display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, extra_dict: dict[str, Any] | None = None,
            **more: Any,
        ) -> None:  # fmt: skip
            own: Any = id if isinstance(id, InputPort) else None
            self.own: Any = own
            if own:
                id, display_name = own.id, own.display_name if display_name is None else display_name
                optional, lazy = optional or own.optional, own.lazy if lazy is None else lazy
                tooltip = own.tooltip if tooltip is None else tooltip
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, **more)
            self.io_types = types

        @property
        def io_type(self) -> str:
            """All of the types, separated by commas."""
            names = [self.own.get_io_type()] if self.own else []
            return ",".join(dict.fromkeys([*names, *(t.io_type for t in self.io_types)]))

        def as_dict(self) -> dict[str, Any]:
            """The options that are set, those of its widget among them."""
            own = {**self.own.as_dict(), "widgetType": self.own.get_io_type()} if self.own else {}
            return {**own, **super().as_dict()}
