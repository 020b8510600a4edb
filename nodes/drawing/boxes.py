"""The nodes of a workflow as boxes with rows of text, and its links as wires between their ports."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

from engine.graph import is_link
from engine.problems import Problem
from engine.registry import Registry
from engine.workflow import Workflow, WorkflowNode
from nodes.drawing.words import cut, plain, width, wrapped

TITLE, SMALL, TEXT = 13.0, 9.5, 11.0
HEADER, PORT_ROW, ROW, PAD = 40.0, 18.0, 16.0, 12.0
NARROWEST, WIDEST = 150.0, 260.0
LONGEST_TEXT = 2000
MOST_SLOTS = 63
ANY = "*"


@dataclass(frozen=True)
class Row:
    """A line of a box: a name at the left and a value at the right, or text from the left alone."""

    name: str
    value: str


@dataclass(frozen=True)
class Box:
    """A node as drawn.

    Args:
        inputs: The linked inputs, (name, type), from top to bottom.
        outputs: The outputs, (name, type), by slot.
        settings: The literal inputs.
        problems: What is wrong with the node, a message each.
        known: Whether a pack has its class.
    """

    id: str
    title: str
    class_type: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    is_output: bool
    known: bool

    @cached_property
    def width(self) -> float:
        """The width that its texts want, within bounds."""
        ports = zip_longest(self.inputs, self.outputs, fillvalue=("", ""))
        wanted = [
            width(self.title, TITLE) + (64 if self.is_output else 0),
            width(self.class_type, SMALL) + width(self.id, SMALL) + 20,
            *(width(a, TEXT) + width(b, TEXT) + 24 for (a, _), (b, _) in ports),
            *(width(n, TEXT) + width(v, TEXT) + 14 for n, v in self.settings),
            WIDEST if self.problems else 0,
        ]
        return min(max(max(wanted) + 2 * PAD, NARROWEST), WIDEST)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The lines of the literal inputs; long text takes up to three lines under its name."""
        room = self.width - 2 * PAD
        rows = []
        for name, value in self.settings:
            if width(name, TEXT) + width(value, TEXT) + 14 <= room:
                rows.append(Row(name, value))
            elif " " in value.strip():
                rows.append(Row(cut(name, TEXT, room), ""))
                rows += [Row("", line) for line in wrapped(value, TEXT, room, 3)]
            else:
                name = cut(name, TEXT, room / 2)
                rows.append(Row(name, cut(value, TEXT, room - 14 - width(name, TEXT))))
        return tuple(rows)

    @cached_property
    def complaints(self) -> tuple[str, ...]:
        """The lines that say what is wrong; at most three problems, two lines each."""
        room = self.width - 2 * PAD
        return tuple(line for p in self.problems[:3] for line in wrapped(p, TEXT, room, 2))

    @property
    def ports_height(self) -> float:
        """The height of the rows of ports."""
        return PORT_ROW * max(len(self.inputs), len(self.outputs))

    @property
    def height(self) -> float:
        """The height of all."""
        lines = len(self.rows) + len(self.complaints)
        body = self.ports_height + ROW * lines + (8 if self.rows else 0) + (8 if self.complaints else 0)
        return HEADER + body + (14 if body else 0)

    def port_y(self, index: int) -> float:
        """Where the port of a row is, from the top."""
        return HEADER + 8 + PORT_ROW * (index + 0.5)


@dataclass(frozen=True)
class Wire:
    """A link as drawn, from an output's row to an input's row."""

    source: str
    slot: int
    target: str
    row: int
    kind: str


@dataclass(frozen=True)
class Diagram:
    """All boxes and wires.

    Args:
        notes: Problems that no box shows.
    """

    name: str
    boxes: Mapping[str, Box]
    wires: tuple[Wire, ...]
    notes: tuple[str, ...] = ()


def diagram(
    workflow: Workflow, registry: Registry, problems: Iterable[Problem] = (), name: str = ""
) -> Diagram:
    """The boxes and wires of a workflow, whether it is valid or not; O(nodes + links)."""
    by_node: dict[str, list[str]] = {}
    notes = []
    for p in problems:
        if p.node_id in workflow.nodes:
            by_node.setdefault(p.node_id, []).append(
                plain(f"{p.input}: {p.message}" if p.input else p.message)
            )
        else:
            notes.append(plain(p.message))
    slots: dict[str, int] = {}
    for node in workflow.nodes.values():
        for value in node.inputs.values():
            if is_link(value):
                slots[value[0]] = max(slots.get(value[0], 0), _slot(value) + 1)
    outputs = {id: _outputs(n, registry, slots.get(id, 0)) for id, n in workflow.nodes.items()}
    boxes, wires = {}, []
    for id, node in workflow.nodes.items():
        linked = [(k, v) for k, v in node.inputs.items() if is_link(v) and v[0] in workflow.nodes]
        kinds = [_kind(node, port, outputs[v[0]][_slot(v)][1], registry) for port, v in linked]
        boxes[id] = _box(id, node, linked, kinds, outputs[id], by_node.get(id, ()), registry)
        wires += [
            Wire(v[0], _slot(v), id, row, kind)
            for row, ((_, v), kind) in enumerate(zip(linked, kinds, strict=True))
        ]
    return Diagram(plain(name), boxes, tuple(wires), tuple(notes))


def _box(
    id: str,
    node: WorkflowNode,
    linked: Iterable[tuple[str, Any]],
    kinds: Iterable[str],
    outputs: tuple[tuple[str, str], ...],
    problems: Iterable[str],
    registry: Registry,
) -> Box:
    declared = registry.nodes.get(node.class_type)
    title = node.title or (declared.title if declared else "") or node.class_type
    return Box(
        id=plain(id),
        title=plain(title[:LONGEST_TEXT]),
        class_type=plain(node.class_type[:LONGEST_TEXT]),
        inputs=tuple((plain(port), kind) for (port, _), kind in zip(linked, kinds, strict=True)),
        outputs=outputs,
        settings=tuple((plain(k), _said(v)) for k, v in node.inputs.items() if not is_link(v)),
        problems=tuple(problems),
        is_output=bool(declared and declared.is_output),
        known=declared is not None,
    )


def _outputs(node: WorkflowNode, registry: Registry, used: int) -> tuple[tuple[str, str], ...]:
    """The declared outputs, and as many more as links ask for."""
    declared = registry.nodes.get(node.class_type)
    ports = [(plain(v.name), v.kind) for v in declared.outputs] if declared else []
    return tuple(ports + [(f"output {i}", ANY) for i in range(len(ports), used)])


def _slot(link: list[Any]) -> int:
    return min(int(link[1]), MOST_SLOTS)


def _kind(node: WorkflowNode, port: str, given: str, registry: Registry) -> str:
    """A link's type: what its source gives, else what its consumer takes."""
    declared = registry.nodes.get(node.class_type)
    value = declared.input(port) if declared and given == ANY else None
    return value.kind if value else given


def _said(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"__value__"}:
        value = value["__value__"]
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in ("", None):
        return "(empty)"
    if isinstance(value, float):
        return f"{value:g}"
    return plain(str(value)[:LONGEST_TEXT])
