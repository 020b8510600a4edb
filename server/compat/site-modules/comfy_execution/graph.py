"""What packs import to stop what follows a node, and to look at the prompt."""

from collections.abc import Mapping
from typing import Any

from engine.ports import Blocked as ExecutionBlocker
from server.compat.prompts import DynamicPrompt, NodeNotFoundError

__all__ = [
    "DependencyCycleError",
    "DynamicPrompt",
    "ExecutionBlocker",
    "NodeInputError",
    "NodeNotFoundError",
    "get_input_info",
]


class DependencyCycleError(Exception):
    """Nodes depend on themselves."""


class NodeInputError(Exception):
    """A node was asked for an input that it has not."""


def get_input_info(
    class_def: type, input_name: str, valid_inputs: Mapping[str, Any] | None = None
) -> tuple[Any, str | None, Any]:
    """The type of a declared input, its category and its options; None for each where it is not declared."""
    declared = valid_inputs or class_def.INPUT_TYPES()  # type: ignore[attr-defined]
    for category in ("required", "optional", "hidden"):
        if input_name in (declared.get(category) or {}):
            spec = declared[category][input_name]
            if isinstance(spec, str):
                return spec, category, {}
            return spec[0], category, spec[1] if len(spec) > 1 else {}
    return None, None, None
