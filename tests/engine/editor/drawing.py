"""Small workflows in the editor's own form, and the classes of their nodes."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from engine.editor import flattened
from engine.node import node as declared
from engine.ports import Hint, Omittable, Port

Thing = Annotated[int, Port("THING")]
Other = Annotated[int, Port("OTHER")]
Json = dict[str, Any]


@declared("Maker", category="tests", outputs=("THING", "OTHER"))
def maker(
    *, seed: Annotated[int, Hint("control_after_generate")] = 0, steps: int = 20, fine: bool = False
) -> tuple[Thing, Other]:
    """Two outputs from a seed."""
    return seed + steps + fine, seed


@declared("Loader", category="tests")
def loader(
    *,
    image: Annotated[Literal["a.png", "image"], Hint("image_upload")],
    channel: Literal["red", "alpha", "image"],
) -> Thing:
    """A file with an upload button."""
    return len(image) + len(channel)


@declared("Flagged", category="tests")
def flagged(*, seed: int = 0, fine: bool = False) -> Thing:
    """A seed and a switch behind it."""
    return seed + fine


@declared("Mixer", category="tests")
def mixer(*, a: Thing, amount: float = 1.0, b: Thing | None = None) -> Thing:
    """A socket, a widget and an optional socket."""
    return a + int(amount) + (b or 0)


@declared("Turn", category="tests")
def turn(*, a: Thing) -> Other:
    """Another type."""
    return a


@declared("Text", category="tests")
def text(*, text: Annotated[str, Hint("multiline"), Hint("dynamicPrompts")], plain: str = "") -> Thing:
    """A prompt with variants."""
    return len(text + plain)


@declared("Saver", category="tests", is_output=True)
def saver(*, value: Thing, filename_prefix: Annotated[str, Omittable()] = "x") -> None:
    """An output."""


CLASSES = {each.name: each for each in (maker, loader, flagged, mixer, turn, text, saver)}


def node(id: int, type: str, *values: Any, outs: Sequence[str] = ("THING",), **more: Any) -> Json:
    """A node as saved.

    Args:
        values: Of its widgets.
        outs: The types of its outputs.
        more: Inputs, by name: `(origin, slot)` or None; those called `widget_…` stand for widgets. `mode`,
            `title`, `properties` and `types` (by input) are what they say.
    """
    own = {key: more.pop(key) for key in ("mode", "title", "properties") if key in more}
    types = more.pop("types", {})
    inputs = []
    for name, origin in more.items():
        short = name.removeprefix("widget_")
        widget = {"widget": {"name": short}} if short != name else {}
        inputs.append({"name": short, "type": types.get(short, "THING"), "link": origin, **widget})
    outputs = [{"name": out, "type": out, "links": []} for out in outs]
    return {
        "id": id,
        "type": type,
        "inputs": inputs,
        "outputs": outputs,
        "widgets_values": list(values),
        **own,
    }


def drawn(*nodes: Json, leaving: Sequence[Any] = (), objects: bool = False, **more: Any) -> Json:
    """A workflow, or the inside of a subgraph, with a numbered link for each linked input.

    Args:
        leaving: Of a subgraph: `(origin, slot)` of each output.
        objects: Whether links are objects, as in version 1 and in subgraphs.
    """
    links: list[Any] = []
    ends = [(n["id"], place, slot) for n in nodes for place, slot in enumerate(n["inputs"])]
    for target, place, slot in ends:
        if slot["link"] is not None:
            origin, out = slot["link"]
            slot["link"] = len(links) + 1
            links.append([len(links) + 1, origin, out, target, place, slot["type"]])
    links += [[len(links) + 1 + n, *origin, -20, n, "THING"] for n, origin in enumerate(leaving)]
    if objects:
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        links = [dict(zip(names, link, strict=True)) for link in links]
    return {"nodes": list(nodes), "links": links, "version": 0.4, **more}


def subgraph(id: str, inputs: Sequence[str], *nodes: Json, leaving: Sequence[Any] = ((1, 0),)) -> Json:
    """The definition of a subgraph; its nodes are fed from `(-10, slot)`."""
    named = [{"name": name, "type": "THING"} for name in inputs]
    return drawn(*nodes, leaving=leaving, objects=True, id=id, name=f"the {id}", inputs=named)


def with_subgraphs(workflow: Json, *definitions: Json) -> Json:
    """A workflow and the subgraphs that its nodes are instances of."""
    return workflow | {"definitions": {"subgraphs": list(definitions)}}


def inputs_of(workflow: Json) -> dict[str, Json]:
    """The inputs of each node that runs, in the API form."""
    return {id: made["inputs"] for id, made in flattened(workflow, CLASSES).nodes.items()}
