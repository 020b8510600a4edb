"""The schema of a node, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from comfy_api.latest._ports import Input, Output


class Hidden(str, Enum):
    """What a node may ask to know beside its inputs."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


class HiddenHolder:
    """What a node is told beside its inputs, as `cls.hidden`; None for what it did not ask for."""

    def __init__(self, values: Mapping[Any, Any] | None = None) -> None:
        for hidden in Hidden:
            setattr(self, hidden.name, (values or {}).get(hidden.value))

    def __getattr__(self, key: str) -> None:
        if key.startswith("__"):
            raise AttributeError(key)

    @classmethod
    def from_dict(cls, d: Mapping[Any, Any] | None) -> "HiddenHolder":
        """The holder of these values, by source."""
        return cls(d)


@dataclass
class Schema:
    """The interface of a node.

    Args:
        not_idempotent: Whether two nodes with the same inputs give different results.
        enable_expand: Whether the node may give further nodes to be run.
    """

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    is_dev_only: bool = False
    search_aliases: list[str] = field(default_factory=list)
    essentials_category: str | None = None
    has_intermediate_output: bool = False
    price_badge: Any = None

    def validate(self) -> None:
        """Refuse names that are there twice.

        Raises:
            ValueError: Ids of inputs or of outputs, or of both, are the same.
        """
        inputs, outputs = [i.id for i in self.inputs], [o.id for o in self.outputs if o.id is not None]
        for what, ids in (("input", inputs), ("output", outputs), ("input and output", [*inputs, *outputs])):
            if twice := sorted({i for i in ids if ids.count(i) > 1}):
                raise ValueError(f"{self.node_id}: {what} ids must differ, and {twice} are there twice")

    def finalize(self) -> None:
        """Fill in what follows from the rest."""
        self.inputs, self.outputs = list(self.inputs or []), list(self.outputs or [])
        self.hidden = list(self.hidden or [])
        if self.is_output_node:
            self._add(Hidden.prompt, Hidden.extra_pnginfo)
        if self.is_api_node:
            self._add(Hidden.auth_token_comfy_org, Hidden.api_key_comfy_org)
        for i, output in enumerate(self.outputs):
            if output.id is None:
                output.id = f"_{i}_{output.io_type}_"

    def _add(self, *hidden: Hidden) -> None:
        self.hidden += [h for h in hidden if h not in self.hidden]

    def input_types(self, include_hidden: bool = True) -> dict[str, Any]:
        """The inputs as a class of the first kind declares them."""
        found: dict[str, Any] = {"required": {}}
        for port in self.inputs:
            category = "optional" if port.optional else "required"
            found.setdefault(category, {})[port.id] = (port.get_io_type(), port.as_dict())
        if self.hidden and include_hidden:
            found["hidden"] = {h.name: (h.value,) for h in self.hidden}
        return found

    def get_v1_info(self, cls: Any) -> dict[str, Any]:
        """The node as `/object_info` shows it."""
        declared = self.input_types()
        return {
            "input": declared,
            "input_order": {category: list(ports) for category, ports in declared.items()},
            "output": [o.io_type for o in self.outputs],
            "output_is_list": [o.is_output_list for o in self.outputs],
            "output_name": [o.display_name or o.io_type for o in self.outputs],
            "output_tooltips": [o.tooltip for o in self.outputs],
            "name": self.node_id,
            "display_name": self.display_name,
            "description": self.description,
            "python_module": getattr(cls, "RELATIVE_PYTHON_MODULE", None),
            "category": self.category,
            "output_node": self.is_output_node,
            "deprecated": self.is_deprecated,
            "experimental": self.is_experimental,
            "api_node": self.is_api_node,
        }


class NodeOutput:
    """What a node gives.

    Args:
        ui: What it shows.
        expand: Nodes to run, whose outputs may be linked in `args`.
        block_execution: Blocks what follows, with this message.
    """

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict[str, Any] | None = None,
        block_execution: str | None = None,
    ) -> None:  # fmt: skip
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        """The values, or None where there are none."""
        return self.args or None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "NodeOutput":
        """The output that a class of the first kind would return as a dict."""
        values = data.get("result") or ()
        return cls(*values, ui=data.get("ui"), expand=data.get("expand"))

    def __getitem__(self, index: int) -> Any:
        return self.args[index]
