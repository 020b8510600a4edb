"""The inputs of a workflow that people set, as a small form and as a JSON schema."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.graph import is_link
from engine.literals import Choices
from engine.node import REQUIRED, Node, Value
from engine.ports import Env, Hint, OneOf, Range
from engine.registry import Registry
from engine.workflow import Workflow, WorkflowNode

TITLES = (
    "Prompt", "Negative prompt", "Image", "Mask", "Control image", "Size", "Sampler", "Checkpoint",
)  # fmt: skip
"""The titles of the nodes that people set, in the order of a form; the other nodes follow."""
TYPES = {"INT": "integer", "FLOAT": "number", "BOOLEAN": "boolean", "STRING": "string", "COMBO": "string"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Parameter:
    """One input that may be set.

    Args:
        name: `NODE.INPUT`, as `Workflow.with_inputs` and `--set` take it.
        common: Whether the node has one of the titles that people look for.
        value: What the workflow has there; what is run if nothing is given.
        role: The folder that it names a file of ("input", "checkpoints"), or "".
    """

    name: str
    node_id: str
    title: str
    class_type: str
    input: str
    type: str
    value: Any
    common: bool
    doc: str = ""
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] | None = None
    multiline: bool = False
    seed: bool = False
    role: str = ""

    def as_json(self) -> dict[str, Any]:
        """The parameter as a form reads it; facts that do not hold are left out."""
        always = {
            "name": self.name, "node_id": self.node_id, "title": self.title, "class_type": self.class_type,
            "input": self.input, "type": self.type, "value": self.value, "common": self.common,
        }  # fmt: skip
        bounds = {"min": self.min, "max": self.max, "step": self.step, "choices": self.choices}
        stated = {k: v for k, v in bounds.items() if v is not None}
        told = {"doc": self.doc, "multiline": self.multiline, "seed": self.seed, "role": self.role}
        return always | stated | {k: v for k, v in told.items() if v}

    def schema(self) -> dict[str, Any]:
        """The JSON schema of its value."""
        facts: dict[str, Any] = {"type": TYPES[self.type], "title": f"{self.title}: {self.input}"}
        limits = {"description": self.doc or None, "minimum": self.min, "maximum": self.max}
        facts |= {k: v for k, v in limits.items() if v is not None}
        if self.choices and self.role != "input":  # an upload that is not there yet may be named
            facts["enum"] = list(self.choices)
            del facts["type"]
        return facts | {"default": self.value}


def parameters(workflow: Workflow, registry: Registry, env: Env) -> list[Parameter]:
    """The literal inputs of a workflow: those of the titled nodes first, in the order of `TITLES`."""
    choices = Choices(env)
    found = [
        parameter
        for id, saved in workflow.nodes.items()
        if (node := registry.nodes.get(saved.class_type))
        for parameter in _of_node(workflow, id, saved, node, choices)
    ]
    return sorted(found, key=lambda p: TITLES.index(p.title) if p.common else len(TITLES))


def json_schema(title: str, form: list[Parameter]) -> dict[str, Any]:
    """The schema of an object with the parameters as properties, all of which may be left out."""
    return {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": {p.name: p.schema() for p in form},
        "additionalProperties": False,
    }


def _of_node(
    workflow: Workflow, id: str, saved: WorkflowNode, node: Node[..., Any], choices: Choices
) -> Iterator[Parameter]:
    title = saved.title or node.title
    for value in node.inputs:
        if value.kind not in TYPES or value.hidden:
            continue
        literal = saved.inputs.get(value.name, value.default)
        if not is_link(literal) and literal is not REQUIRED and literal is not None:
            yield Parameter(
                name=_name(workflow, id, value.name),
                node_id=id,
                title=title,
                class_type=node.name,
                input=value.name,
                type=value.kind,
                value=literal,
                common=title in TITLES,
                doc=value.doc,
                **_stated(value, choices),
            )


def _name(workflow: Workflow, id: str, port: str) -> str:
    """`Prompt.text` where the title means this node alone, else `2.text`."""
    title = workflow.nodes[id].title
    found = workflow.find(f"{title}.{port}") if title and "." not in title else None
    return f"{title}.{port}" if found == (id, port) else f"{id}.{port}"


def _stated(value: Value, choices: Choices) -> dict[str, Any]:
    """What the port's declaration says of it that a form shows."""
    hints = {fact.key: fact.value for fact in value.facts if isinstance(fact, Hint)}
    facts: dict[str, Any] = {
        "multiline": bool(hints.get("multiline")),
        "seed": bool(hints.get("control_after_generate")),
    }
    if bounds := value.fact(Range):
        facts |= {"min": bounds.min, "max": bounds.max, "step": bounds.step}
    if one_of := value.fact(OneOf):
        facts |= {"choices": choices.of(one_of), "role": one_of.role or ""}
    return facts
