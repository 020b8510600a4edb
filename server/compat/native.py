"""Our nodes as classes with dicts, for packs that look them up, extend them or call them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from engine.node import REQUIRED, Node, Value
from engine.ports import Blocked, Env, Range, Shown, adapted
from engine.registry import Registry
from engine.steps import Lazy, Steps, run_alone


class NativeNode:
    """One of our nodes; any public method of an instance runs it, since packs call each by its own name."""

    NODE: Node[..., Any]
    ENV: Env
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """The inputs by category."""
        found: dict[str, dict[str, Any]] = {"required": {}}
        for value in cls.NODE.inputs:
            if value.hidden:
                found.setdefault("hidden", {})[value.name] = value.hidden
            else:
                category = "optional" if value.optional else "required"
                found.setdefault(category, {})[value.name] = _spec(value, cls.ENV)
        return found

    def run(self, *values: Any, **named: Any) -> Any:
        """Run the node outside a workflow, alone: values in the order of its inputs, or by name."""
        node = self.NODE
        ports = [v for v in node.inputs if not v.hidden]
        given = dict(zip((v.name for v in ports), values, strict=False)) | named
        for value in node.inputs:
            if value.name in given:
                given[value.name] = _taken(value, given[value.name])
            elif value.default is REQUIRED and not value.hidden:
                raise TypeError(f"{node.name} needs {value.name}")
        given |= {name: self.ENV[kind] for name, kind in node.given.items()}
        made: Any = node.fn(**given)
        if inspect.isgenerator(made):
            made = run_alone(cast(Steps[Any], made))
        return _returned(node, made)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.run


def native_classes(registry: Registry, env: Env) -> dict[str, type]:
    """A class for each of our nodes, by class name."""
    return {name: _class(node, env) for name, node in registry.nodes.items()}


def _class(node: Node[..., Any], env: Env) -> type:
    body: Mapping[str, Any] = {
        "__doc__": node.doc,
        "NODE": node,
        "ENV": env,
        "CATEGORY": node.category,
        "DESCRIPTION": node.doc,
        "OUTPUT_NODE": node.is_output,
        "RETURN_TYPES": tuple(o.kind for o in node.outputs),
        "RETURN_NAMES": tuple(o.name for o in node.outputs),
        "OUTPUT_IS_LIST": tuple(o.is_list for o in node.outputs),
        "INPUT_IS_LIST": node.takes_lists,
    }
    return type(node.name, (NativeNode,), dict(body))


def _spec(value: Value, env: Env) -> tuple[Any, ...]:
    choices = value.choices(env)
    options: dict[str, Any] = {}
    if value.default is not REQUIRED and value.default is not None:
        options["default"] = value.default
    if bounds := value.fact(Range):
        named = {"min": bounds.min, "max": bounds.max, "step": bounds.step, "round": bounds.round}
        options |= {name: bound for name, bound in named.items() if bound is not None}
    if value.lazy:
        options["lazy"] = True
    return (list(choices) if choices is not None else value.kind, options)


def _taken(value: Value, given: Any) -> Any:
    """A value as the node's function takes it."""
    if value.is_list:
        given = adapted(value.kind, given if isinstance(given, list) else [given])
        return _At(value.name, given) if value.lazy else given
    (one,) = adapted(value.kind, [given])
    return _At(value.name, one) if value.lazy else one


@dataclass(frozen=True)
class _At(Lazy[Any]):
    """A lazy input that is there."""

    value: Any = None

    def __iter__(self) -> Steps[Any]:
        yield from ()
        return self.value


def _returned(node: Node[..., Any], made: Any) -> Any:
    """What a class would return."""
    ui = made.ui if isinstance(made, Shown) else None
    made = made.value if isinstance(made, Shown) else made
    if isinstance(made, Blocked) or not node.outputs:
        values: Iterable[Any] = (made,) * len(node.outputs)
    else:
        values = made if len(node.outputs) > 1 else (made,)
    result = tuple(_plain(v) for v in values)
    return result if ui is None else {"ui": ui, "result": result}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.as_plain() if hasattr(type(value), "as_plain") else value
