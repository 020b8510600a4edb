"""A pack's class as `/object_info` shows it."""

import logging
from typing import Any

from server.compat.jsonable import jsonable
from server.compat.methods import is_v3

log = logging.getLogger(__name__)


def object_info(cls: type, name: str, display_name: str, module: str) -> dict[str, Any] | None:
    """The interface of a class in the ecosystem's JSON; None where the class's own code raises.

    Args:
        module: Whose it is, "custom_nodes.<pack>".
    """
    try:
        if is_v3(cls):
            info: dict[str, Any] = cls.GET_NODE_INFO_V1()  # type: ignore[attr-defined]
            info = info | {"python_module": module}
        else:
            info = _of_dicts(cls, name, display_name, module)
        found: dict[str, Any] = jsonable(info)
    except Exception:
        log.warning("node %s cannot be described", name, exc_info=True)
        return None
    return found


def _of_dicts(cls: Any, name: str, display_name: str, module: str) -> dict[str, Any]:
    declared = cls.INPUT_TYPES()
    types = tuple(cls.RETURN_TYPES)
    info: dict[str, Any] = {
        "input": declared,
        "input_order": {category: list(ports) for category, ports in declared.items()},
        "output": types,
        "output_is_list": getattr(cls, "OUTPUT_IS_LIST", [False] * len(types)),
        "output_name": getattr(cls, "RETURN_NAMES", types),
        "name": name,
        "display_name": display_name,
        "description": getattr(cls, "DESCRIPTION", ""),
        "python_module": module,
        "category": getattr(cls, "CATEGORY", "sd"),
        "output_node": getattr(cls, "OUTPUT_NODE", False) is True,
    }
    if hasattr(cls, "OUTPUT_TOOLTIPS"):
        info["output_tooltips"] = cls.OUTPUT_TOOLTIPS
    for attribute in ("DEPRECATED", "EXPERIMENTAL"):
        if getattr(cls, attribute, False):
            info[attribute.lower()] = True
    if hasattr(cls, "API_NODE"):
        info["api_node"] = cls.API_NODE
    return info
