"""A workflow built in code or loaded: nodes are added by calling their class names, outputs are links."""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import PIL.Image

from engine.cache import Tiers
from engine.check import check
from engine.cli.opened import find_workflow
from engine.config import make_env, read_settings
from engine.drafts import write_whole
from engine.graph import bind, is_link
from engine.inputs import input_of, named_file
from engine.node import Value
from engine.ports import OneOf
from engine.problems import Problem, WorkflowError, nearest
from engine.registry import Registry, installed
from engine.workflow import Workflow, WorkflowNode
from engine.workflow import load as load_workflow
from latentgraph.calling import function_of, plain, ports_of, with_defaults
from nodes.drawing.boxes import diagram
from nodes.drawing.layout import laid_out
from nodes.drawing.scene import scene
from nodes.drawing.svg import as_svg

all_nodes = functools.cache(installed)
COLUMN = 760
"""Pixels that a notebook's column surely has."""


@dataclass(frozen=True, eq=False)
class Output:
    """One output of a node: give it to another node's input, or run it to get what it gives."""

    graph: "Graph"
    node_id: str
    slot: int
    name: str
    kind: str

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.graph.workflow.nodes[self.node_id].class_type} {self.node_id}>"


class Outputs(tuple[Output, ...]):
    """The outputs of a node that has none or several: unpack them, or take one by its name (`.MODEL`)."""

    graph: "Graph"
    node_id: str

    @classmethod
    def of(cls, graph: "Graph", node_id: str, outputs: list[Output]) -> "Outputs":
        """The outputs of a node."""
        made = cls(outputs)
        made.graph, made.node_id = graph, node_id
        return made

    def __getattr__(self, name: str) -> Output:
        found = next((o for o in self if o.name == name), None)
        if found is None:
            names = [o.name for o in self]
            hint = nearest(name, names) or f"its outputs are {', '.join(names) or 'none'}"
            raise AttributeError(f"there is no output {name!r}; {hint}")
        return found

    def __dir__(self) -> list[str]:
        return [*(o.name for o in self), *super().__dir__()]

    def __repr__(self) -> str:
        return f"<{self.graph.workflow.nodes[self.node_id].class_type} {self.node_id}: {tuple(self)!r}>"


@dataclass
class Given:
    """What inputs of a graph name that lies in no folder, by folder role and name: files, and pictures."""

    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    pictures: dict[str, dict[str, PIL.Image.Image]] = field(default_factory=dict)

    def copy(self) -> "Given":
        """The same, to be added to."""
        files = {role: dict(named) for role, named in self.files.items()}
        return Given(files, {role: dict(named) for role, named in self.pictures.items()})


class Graph:
    """A workflow: call a node's class name to add it, `set` inputs, run it with `Session.run`.

    A node with one output gives that output; one with several gives a tuple of them, in their order and by
    name. Names of inputs are checked at once, everything else when the graph is run. Defaults are filled in.

    Args:
        registry: The nodes there are; default: those of all installed packs.
    """

    def __init__(self, registry: Registry | None = None, workflow: Workflow | None = None) -> None:
        self._registry = registry
        self.workflow = workflow or Workflow({}, "graph")
        self.given = Given()
        self._family = object()

    @property
    def registry(self) -> Registry:
        """The nodes there are."""
        return self._registry or all_nodes()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        known = self.registry.nodes
        if name not in known:
            raise AttributeError(f"no node class is called {name!r}; {nearest(name, known)}".rstrip("; "))
        return function_of(known[name], self.add)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.registry.nodes]

    def add(self, class_type: str, /, *, _title: str = "", **inputs: Any) -> Output | Outputs:
        """Add a node by its class name, also one that is no Python name; gives its outputs.

        Raises:
            TypeError: There is no such class or input, or a value can be no input.
        """
        declared = self.registry.nodes.get(class_type)
        if declared is None:
            hint = nearest(class_type, self.registry.nodes)
            raise TypeError(f"no node class is called {class_type!r}; {hint}".rstrip("; "))
        ports = {v.name: v for v in ports_of(declared)}
        taken = {name: self._taken(f"{class_type}.{name}", v, ports.get(name)) for name, v in inputs.items()}
        values = with_defaults(declared, taken)
        id = str(max((int(n) for n in self.workflow.nodes if n.isdecimal()), default=0) + 1)
        nodes = {**self.workflow.nodes, id: WorkflowNode(class_type, values, _title)}
        self.workflow = replace(self.workflow, nodes=nodes, editor=None)
        return self._outputs(id)

    def set(self, values: Mapping[str, Any]) -> "Graph":
        """Set inputs in place: `{"Prompt.text": "a house", "3.seed": 7}`; gives the graph itself.

        Args:
            values: By NODE.INPUT, where NODE is a title, an id, or a class name that only one node has. A
                value may be an output. Where an input takes a file, it may be a path or a PIL picture.

        Raises:
            WorkflowError: Names that mean no input, or more than one; the others are set.
            TypeError: A value can be no input.
        """
        found = {name: input_of(name, self.workflow, self.registry) for name in values}
        ports = {name: port for name, port in found.items() if not isinstance(port, Problem)}
        taken = {name: self._taken(name, values[name], port.port) for name, port in ports.items()}
        self.workflow = self.workflow.with_inputs(taken)
        if problems := [p for p in found.values() if isinstance(p, Problem)]:
            raise WorkflowError(problems)
        return self

    def copy(self) -> "Graph":
        """A graph of its own with the same nodes."""
        made = Graph(self._registry, self.workflow)
        made.given, made._family = self.given.copy(), self._family
        return made

    def is_kin(self, other: "Graph") -> bool:
        """Whether one of the graphs is a copy of the other, so that outputs of either are known to both."""
        return self._family is other._family

    @property
    def settings(self) -> dict[str, Any]:
        """Every input that holds a value and no link, by the name that `set` and `Session.run` take."""
        return {
            f"{self._name(id)}.{port}": value
            for id, node in self.workflow.nodes.items()
            for port, value in node.inputs.items()
            if not is_link(value)
        }

    def __getitem__(self, name: str) -> Output | Outputs:
        """The outputs of a node, by its title, its id, or a class name that only one node has."""
        return self._outputs(node_id(self.workflow, name))

    def to_json(self) -> dict[str, Any]:
        """The workflow in the API format."""
        return self.workflow.as_api()

    def save(self, path: str | Path) -> None:
        """Write the workflow as an API-format JSON file, whole or not at all."""
        write_whole(Path(path), (json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n").encode())

    def draw(self, path: str | Path | None = None) -> str:
        """The graph as SVG text, with what is wrong with it marked in red; written to `path` if given."""
        settings = read_settings(cache="off")
        env = make_env(settings, self.registry, Tiers(()), self.given.files)
        graph = bind(self.workflow, self.registry)
        ends = graph.outputs or [id for id, consumers in graph.dag.succ.items() if not consumers]
        problems = check(graph, env, ends).problems if ends else ()
        name = Path(self.workflow.source).stem
        picture = diagram(self.workflow, self.registry, problems, name)
        text = as_svg(scene(picture, laid_out(picture)), name)
        if path is not None:
            write_whole(Path(path), text.encode())
        return text

    def _repr_svg_(self) -> str:
        return re.sub(r'width="(\d+)" height="(\d+)"', _fitting, self.draw(), count=1)

    def __repr__(self) -> str:
        nodes = self.workflow.nodes
        return f"<Graph of {len(nodes)} nodes: {', '.join(n.title or n.class_type for n in nodes.values())}>"

    def _name(self, id: str) -> str:
        """What to call a node: its title or its class where no other has it, else its id."""
        node = self.workflow.nodes[id]
        found = {name: self.workflow.find(f"{name}.-") for name in (node.title, node.class_type) if name}
        return next((name for name, f in found.items() if f == (id, "-")), id)

    def _outputs(self, id: str) -> Output | Outputs:
        declared = self.registry.nodes.get(self.workflow.nodes[id].class_type)
        values = declared.outputs if declared else ()
        found = [Output(self, id, slot, v.name, v.kind) for slot, v in enumerate(values)]
        return found[0] if len(found) == 1 else Outputs.of(self, id, found)

    def _taken(self, name: str, value: Any, port: Value | None) -> Any:
        """An input's value as a link or a literal; files and pictures are noted by the name they get."""
        if isinstance(value, Outputs):
            fitting = [f".{o.name}" for o in value if port is None or port.kind in (o.kind, "*")]
            hint = f"; give one of them: {' or '.join(fitting)}" if fitting else ""
            raise TypeError(f"{name} takes one output, found {len(value)}{hint}")
        if isinstance(value, Output):
            if not self.is_kin(value.graph):
                raise TypeError(f"{name}: {value!r} is of another graph")
            return [value.node_id, value.slot]
        one_of = port.fact(OneOf) if port else None
        if one_of and one_of.role and isinstance(value, PIL.Image.Image):
            digest = hashlib.sha256(value.tobytes() + f"{value.mode} {value.size}".encode()).hexdigest()
            value, picture = f"{digest[:16]}.png", value.copy()
            self.given.pictures.setdefault(one_of.role, {})[value] = picture
        literal = plain(value)
        if file := named_file(literal, port):
            role, path = file
            self.given.files.setdefault(role, {})[literal] = path
        return literal


def _fitting(size: re.Match[str]) -> str:
    """The size of a drawing, no wider than a notebook's column."""
    width, height = map(int, size.groups())
    share = min(1.0, COLUMN / width)
    return f'width="{width * share:.0f}" height="{height * share:.0f}"'


def node_id(workflow: Workflow, name: str) -> str:
    """The id of the node that a title, an id or a class name means.

    Raises:
        KeyError: No node is called so, or more than one.
    """
    found = workflow.find(f"{name}.-")
    if isinstance(found, Problem):
        raise KeyError(f"{found.message}; {found.hint}".rstrip("; "))
    return found[0]


def load(name: str | Path, registry: Registry | None = None) -> Graph:
    """Read a workflow: a JSON file of either form, a picture that carries one, or a name that comes along.

    Raises:
        WorkflowError: There is none, or it cannot be read; with everything that is wrong.
    """
    known = registry or all_nodes()
    return Graph(registry, load_workflow(find_workflow(str(name), known), known.nodes))
