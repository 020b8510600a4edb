"""The engine's problems in the classic API's words: `node_errors` and the top-level `error`."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from engine.graph import Graph, is_link
from engine.node import Value
from engine.ports import Range
from engine.problems import Problem

NodeErrors: TypeAlias = dict[str, dict[str, Any]]

WORDS = {
    "required_input_missing": "Required input is missing",
    "bad_linked_input": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
    "return_type_mismatch": "Return type mismatch between linked nodes",
    "value_not_in_list": "Value not in list",
    "custom_validation_failed": "Custom validation failed for node",
    "exception_during_validation": "Exception when validating node",
}
TOP = {
    "missing_node_type": "invalid_prompt",
    "invalid_prompt": "invalid_prompt",
    "prompt_no_outputs": "prompt_no_outputs",
}
MOST_DEPENDENT = 1_000
"""Steps that are taken to list the outputs that a wrong node spoils; the rest are left out."""
MOST_LISTED = 200
"""Wrong nodes for which they are listed."""


def node_errors(graph: Graph, problems: Iterable[Problem], outputs: Sequence[str]) -> NodeErrors:
    """The problems of each node that has any of its own, and the outputs that need it."""
    found: NodeErrors = {}
    for problem in problems:
        if not problem.node_id:
            continue
        entry = found.get(problem.node_id)
        if entry is None:
            listed = len(found) < MOST_LISTED
            spoilt = downstream(graph, [problem.node_id], MOST_DEPENDENT) if listed else ()
            entry = found[problem.node_id] = {
                "errors": [],
                "dependent_outputs": [o for o in outputs if o in spoilt] if listed else [],
                "class_type": problem.class_type,
            }
        entry["errors"].append(_error(graph, problem))
    return found


def downstream(graph: Graph, ids: Collection[str], most: float = math.inf) -> set[str]:
    """Some nodes and what needs them; looks no further once `most` are found."""
    seen, stack = set(ids), [id for id in ids if id in graph.dag]
    while stack and len(seen) < most:
        for consumer in graph.dag.successors(stack.pop()):
            if consumer not in seen:
                seen.add(consumer)
                stack.append(consumer)
    return seen


def top_error(problems: Sequence[Problem], errors: NodeErrors, outputs: Iterable[str]) -> dict[str, Any]:
    """The error that stands above those of the nodes."""
    first = problems[0]
    if first.code == "missing_node_type":
        message = f"Cannot execute because node {first.class_type} does not exist."
        return _top("invalid_prompt", message, f"Node ID '#{first.node_id}'", first)
    if first.code == "prompt_no_outputs":
        return _top("prompt_no_outputs", "Prompt has no outputs", "", first)
    if first.code == "invalid_prompt" and "class_type" in first.message:
        message = "Cannot execute because a node is missing the class_type property."
        return _top("invalid_prompt", message, f"Node ID '#{first.node_id}'", first)
    if not errors or first.code == "invalid_prompt":
        return _top(
            "invalid_prompt", first.message, f"Node ID '#{first.node_id}'" if first.node_id else "", first
        )
    lines = [
        f"{e['message']}: {e['details']}" for id in outputs for e in errors.get(id, {"errors": []})["errors"]
    ]
    return {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "\n".join(lines),
        "extra_info": {"problems": [str(p) for p in problems[:100]]},
    }


def _top(type: str, message: str, details: str, problem: Problem) -> dict[str, Any]:
    extra = {"hint": problem.hint} if problem.hint else {}
    return {"type": type, "message": message, "details": details, "extra_info": extra}


def _error(graph: Graph, problem: Problem) -> dict[str, Any]:
    port = problem.input
    node = graph.workflow.nodes.get(problem.node_id)
    received = node.inputs.get(port) if node and port else None
    extra: dict[str, Any] = {"input_name": port} if port else {}
    if received is not None:
        extra["received_value"] = received
    if declared := _declared(graph, problem):
        extra["input_config"] = [declared.kind, _options(declared)]
    if problem.hint:
        extra["hint"] = problem.hint
    message, details = _said(graph, problem, received)
    return {"type": problem.code, "message": message, "details": details, "extra_info": extra}


def _said(graph: Graph, problem: Problem, received: Any) -> tuple[str, str]:
    """The classic message and details of a problem; the engine's own words where it has none for it."""
    code, port = problem.code, problem.input
    declared = _declared(graph, problem)
    bounds = declared.fact(Range) if declared else None
    if code == "value_smaller_than_min" and bounds:
        return f"Value {received} smaller than min of {_n(bounds.min)}", port
    if code == "value_bigger_than_max" and bounds:
        return f"Value {received} bigger than max of {_n(bounds.max)}", port
    if code == "invalid_input_type" and declared:
        return (
            f"Failed to convert an input value to a {declared.kind} value",
            f"{port}, {received}, {problem.message}",
        )
    if code == "return_type_mismatch" and declared:
        return WORDS[
            code
        ], f"{port}, received_type({_given(graph, received)}) mismatch input_type({declared.kind})"
    if code == "value_not_in_list":
        return WORDS[code], f"{port}: {problem.message}" + (f"; {problem.hint}" if problem.hint else "")
    if code == "custom_validation_failed":
        return WORDS[code], f"{port} - {problem.message}" if problem.message else port
    if code == "bad_linked_input" and is_link(received):
        return WORDS[code], f"{port}: {problem.message}"
    if code in WORDS:
        return WORDS[code], port or problem.message
    return problem.message, f"{port}: {problem.hint}" if port and problem.hint else problem.hint or port


def _declared(graph: Graph, problem: Problem) -> Value | None:
    node = graph.nodes.get(problem.node_id)
    return node.node.input(problem.input) if node and problem.input else None


def _given(graph: Graph, received: Any) -> str:
    if not is_link(received):
        return "?"
    source = graph.nodes.get(received[0])
    slot = int(received[1])
    return source.node.outputs[slot].kind if source and slot < len(source.node.outputs) else "?"


def _options(value: Value) -> Mapping[str, Any]:
    bounds = value.fact(Range)
    return {"min": bounds.min, "max": bounds.max} if bounds else {}


def _n(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) and number.is_integer() else str(number)
