"""Nodes in the dialect of ComfyUI's `/object_info`, which editors and clients read."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from engine.literals import Choices
from engine.node import REQUIRED, Node, Value
from engine.ports import Env, Hint, OneOf, Range
from engine.registry import Registry
from server.comfy_classes import DEPRECATED, EDITOR_ONLY, EXPERIMENTAL, V3

Info: TypeAlias = Mapping[str, Any]
Foreign: TypeAlias = Callable[[], Mapping[str, Info]]
"""Gives the nodes of custom packs by class name, already in this dialect."""


def object_info(node: Node[..., Any], choices: Choices) -> dict[str, Any]:
    """One node as ComfyUI would describe it."""
    v3 = node.name in V3
    input: dict[str, dict[str, Any]] = {"required": {}}
    for value in node.inputs:
        group = "hidden" if value.hidden else "optional" if value.optional else "required"
        input.setdefault(group, {})[value.name] = _spec(value, choices, v3)
    info = {
        "input": input,
        "input_order": {group: list(ports) for group, ports in input.items()},
        "output": [v.kind for v in node.outputs],
        "output_is_list": [v.is_list for v in node.outputs],
        "output_name": [v.name for v in node.outputs],
        "name": node.name,
        "display_name": node.title,
        "description": node.doc,
        "python_module": _module(node),
        "category": node.category,
        "output_node": node.is_output,
    }
    states = {"deprecated": node.name in DEPRECATED, "experimental": node.name in EXPERIMENTAL}
    if v3:
        return info | states | {"output_tooltips": [None] * len(node.outputs), "api_node": False}
    return info | {state: True for state, holds in states.items() if holds}


def _module(node: Node[..., Any]) -> str:
    """Where editors say that a node comes from: they know `nodes.…` as built in."""
    module = node.fn.__module__
    return module if module.split(".")[0] == "nodes" else f"custom_nodes.{module}"


def _spec(value: Value, choices: Choices, v3: bool) -> Any:
    """`[type, options]`; of choices in the older API, the list stands where the type would."""
    if value.hidden:
        return [value.hidden] if v3 else value.hidden
    options = dict(_options(value))
    one_of = value.fact(OneOf)
    if one_of is None:
        return [value.kind, options]
    if v3:
        return [value.kind, {**options, "multiselect": False, "options": list(choices.of(one_of))}]
    return [list(choices.of(one_of)), options]


def _options(value: Value) -> Iterator[tuple[str, Any]]:
    if value.is_widget and value.default not in (REQUIRED, None):
        yield "default", value.default
    if bounds := value.fact(Range):
        facts = {"min": bounds.min, "max": bounds.max, "step": bounds.step, "round": bounds.round}
        yield from ((k, v) for k, v in facts.items() if v is not None)
    yield from ((fact.key, fact.value) for fact in value.facts if isinstance(fact, Hint))
    if value.lazy:
        yield "lazy", True
    if value.doc:
        yield "tooltip", value.doc


@dataclass
class ObjectInfo:
    """The descriptions of all nodes as JSON, made anew only when a choice has changed, such as a new file."""

    _choices: list[tuple[str, ...]] = field(default_factory=list)
    _foreign: Mapping[str, Info] = field(default_factory=dict)
    _nodes: Mapping[str, Node[..., Any]] | None = None
    _body: bytes = b""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def body(self, registry: Registry, env: Env, foreign: Mapping[str, Info]) -> bytes:
        """`{class: description}` of all nodes but those that editors make themselves."""
        choices = Choices(env)
        shown = [n for name, n in registry.nodes.items() if _is_ours(n) and name not in foreign]
        ports = (value for node in shown for value in node.inputs)
        now = [choices.of(one_of) for value in ports if (one_of := value.fact(OneOf))]
        with self._lock:
            if self._nodes is not registry.nodes or (now, foreign) != (self._choices, self._foreign):
                infos = {node.name: object_info(node, choices) for node in shown}
                self._body = json.dumps({**infos, **foreign}).encode()
                self._choices, self._foreign, self._nodes = now, foreign, registry.nodes
            return self._body


def one_info(registry: Registry, env: Env, foreign: Mapping[str, Info], name: str) -> dict[str, Any]:
    """`{class: description}` of one node; empty where there is none."""
    if name in foreign:
        return {name: foreign[name]}
    node = registry.nodes.get(name)
    return {name: object_info(node, Choices(env))} if node and _is_ours(node) else {}


def _is_ours(node: Node[..., Any]) -> bool:
    """Whether it is described here: not what editors make themselves, nor what packs describe."""
    return node.name not in EDITOR_ONLY and not node.passing
