"""Inputs that make more inputs: rows that grow, choices with inputs of their own, types that must agree."""

from typing import Any, ClassVar

from comfy_api.latest._kinds import AnyType
from comfy_api.latest._ports import ComfyTypeI, ComfyTypeIO, InputPort, OutputPort, comfytype


def _declared(inputs: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"required": {}, "optional": {}}
    for port in inputs:
        found["optional" if port.optional else "required"][port.id] = (port.get_io_type(), port.as_dict())
    return {category: ports for category, ports in found.items() if ports}


class TemplatePrefix:
    """Rows with numbered names."""

    def __init__(self, input: Any, prefix: str, min: int = 1, max: int = 10) -> None:
        self.input, self.prefix, self.min, self.max = input, prefix, min, max

    def as_dict(self) -> dict[str, Any]:
        """As the editor knows it."""
        rows = {"prefix": self.prefix, "min": self.min, "max": self.max}
        return {"input": _declared([self.input]), **rows}


class TemplateNames:
    """Rows with names of their own."""

    def __init__(self, input: Any, names: list[str], min: int = 1) -> None:
        self.input, self.names, self.min = input, names, min

    def as_dict(self) -> dict[str, Any]:
        """As the editor knows it."""
        return {"input": _declared([self.input]), "names": self.names, "min": self.min}


@comfytype("COMFY_AUTOGROW_V3")
class Autogrow(ComfyTypeI):
    """As many inputs of a kind as are linked, given as a dict."""

    Type = dict
    TemplatePrefix = TemplatePrefix
    TemplateNames = TemplateNames

    class Input(InputPort):
        """An input of this type."""

        NAMES: ClassVar = {"template_dict": "template"}

        def __init__(
            self, id: str, template: Any, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, extra_dict: dict[str, Any] | None = None,
            **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, **more)
            self.template = template

        @property
        def template_dict(self) -> dict[str, Any]:
            """What each of the inputs is like."""
            found: dict[str, Any] = self.template.as_dict()
            return found


class Option:
    """A choice with inputs of its own."""

    def __init__(self, key: str, inputs: list[Any]) -> None:
        self.key, self.inputs = key, inputs

    def as_dict(self) -> dict[str, Any]:
        """As the editor knows it."""
        return {"key": self.key, "inputs": _declared(self.inputs)}


@comfytype("COMFY_DYNAMICCOMBO_V3")
class DynamicCombo(ComfyTypeI):
    """A choice that decides which further inputs there are; all are given as a dict."""

    Type = dict
    Option = Option

    class Input(InputPort):
        """An input of this type."""

        NAMES: ClassVar = {"option_dicts": "options"}

        def __init__(
            self, id: str, options: list[Option], display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, extra_dict: dict[str, Any] | None = None,
            **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, **more)
            self.options = options

        @property
        def option_dicts(self) -> list[dict[str, Any]]:
            """The choices and their inputs."""
            return [option.as_dict() for option in self.options]


class Template:
    """Ports that have the same type, whichever of some it is."""

    def __init__(self, template_id: str, allowed_types: Any = AnyType) -> None:
        self.template_id = template_id
        self.allowed_types = allowed_types if isinstance(allowed_types, list) else [allowed_types]

    def as_dict(self) -> dict[str, Any]:
        """As the editor knows it."""
        types = ",".join(t.io_type for t in self.allowed_types)
        return {"template_id": self.template_id, "allowed_types": types}


@comfytype("COMFY_MATCHTYPE_V3")
class MatchType(ComfyTypeIO):
    """A type that other ports of the node have too."""

    Template = Template

    class Input(InputPort):
        """An input of this type."""

        NAMES: ClassVar = {"template_dict": "template"}

        def __init__(
            self, id: str, template: Template, display_name: str | None = None, optional: bool = False,
            tooltip: str | None = None, lazy: bool | None = None, extra_dict: dict[str, Any] | None = None,
            **more: Any,
        ) -> None:  # fmt: skip
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, **more)
            self.template = template

        @property
        def template_dict(self) -> dict[str, Any]:
            """The types that it may have."""
            return self.template.as_dict()

    class Output(OutputPort):
        """An output of this type."""

        def __init__(
            self, template: Template, id: str | None = None, display_name: str | None = None,
            tooltip: str | None = None, is_output_list: bool = False,
        ) -> None:  # fmt: skip
            super().__init__(id, display_name, tooltip, is_output_list)
            self.template = template
