"""Where the boxes of a diagram go: columns from left to right, few crossings, wires led around boxes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import networkx as nx

from nodes.drawing.boxes import Box, Diagram, Wire

COLUMN_GAP, BOX_GAP, LANE, LANE_GAP = 64.0, 26.0, 6.0, 14.0
LONGEST_LANE = 32  # columns; longer wires run straight, so that the work stays linear in nodes and links
SWEEPS = 8

Point: TypeAlias = tuple[float, float]
Key: TypeAlias = str | tuple[str, int, int]  # a box by id; a lane by its source, slot and column


@dataclass(frozen=True)
class Route:
    """The points that a wire goes through: it curves between columns, and is straight past them."""

    wire: Wire
    points: tuple[Point, ...]
    backward: bool


@dataclass(frozen=True)
class Layout:
    """A diagram with places: the upper left corner and the drawn width of each box."""

    corners: dict[str, Point]
    widths: dict[str, float]
    routes: tuple[Route, ...]
    width: float
    height: float


@dataclass(frozen=True)
class _Joint:
    """A wire's piece between neighbouring columns, with the heights of its ends within their items."""

    left: Key
    right: Key
    left_at: float
    right_at: float


def laid_out(diagram: Diagram) -> Layout:
    """Place the boxes; links that close a cycle are led backwards. O(nodes + links), up to sorting."""
    forward, backward = _split(diagram)
    column = _columns(diagram, forward)
    joints, lanes = _joints(diagram, forward, column)
    items: list[list[Key]] = [[] for _ in range(max(column.values(), default=0) + 1)]
    for id in diagram.boxes:
        items[column[id]].append(id)
    for lane in lanes:
        items[lane[2]].append(lane)
    left: dict[Key, list[_Joint]] = {}
    right: dict[Key, list[_Joint]] = {}
    for joint in joints:
        right.setdefault(joint.left, []).append(joint)
        left.setdefault(joint.right, []).append(joint)
    _order(items, left, right)
    top = _heights(diagram, items, left, right)
    return _measured(diagram, items, column, top, forward, backward)


def _split(diagram: Diagram) -> tuple[list[Wire], list[Wire]]:
    """The wires that make a DAG, and those that close cycles."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(diagram.boxes)
    graph.add_edges_from((w.source, w.target) for w in diagram.wires)
    closing = set()
    if not nx.is_directed_acyclic_graph(graph):
        open_: set[str] = set()
        for source, target, label in nx.dfs_labeled_edges(graph):
            if label == "forward":
                open_.add(target)
            elif label == "reverse":
                open_.discard(target)
            elif target in open_:
                closing.add((source, target))
    backward = [w for w in diagram.wires if (w.source, w.target) in closing]
    return [w for w in diagram.wires if (w.source, w.target) not in closing], backward


def _columns(diagram: Diagram, wires: Iterable[Wire]) -> dict[str, int]:
    """The topological generation of each box; what has no inputs stands just before its first consumer."""
    dag: nx.DiGraph[str] = nx.DiGraph()
    dag.add_nodes_from(diagram.boxes)
    dag.add_edges_from((w.source, w.target) for w in wires)
    column = {id: i for i, ids in enumerate(nx.topological_generations(dag)) for id in ids}
    for id in diagram.boxes:
        if not dag.in_degree(id) and dag.out_degree(id):
            column[id] = min(column[t] for t in dag.successors(id)) - 1
    return column


def _joints(
    diagram: Diagram, wires: Iterable[Wire], column: dict[str, int]
) -> tuple[list[_Joint], dict[tuple[str, int, int], None]]:
    """The pieces of all wires; wires of one output share their lanes past the columns between."""
    joints: dict[_Joint, None] = {}
    lanes: dict[tuple[str, int, int], None] = {}
    for w in wires:
        before: Key = w.source
        at = diagram.boxes[w.source].port_y(w.slot)
        for lane in _lanes(w, column):
            lanes[lane] = None
            joints[_Joint(before, lane, at, LANE / 2)] = None
            before, at = lane, LANE / 2
        joints[_Joint(before, w.target, at, diagram.boxes[w.target].port_y(w.row))] = None
    return list(joints), lanes


def _lanes(wire: Wire, column: dict[str, int]) -> list[tuple[str, int, int]]:
    first, last = column[wire.source] + 1, column[wire.target]
    if last - first > LONGEST_LANE:
        return []
    return [(wire.source, wire.slot, c) for c in range(first, last)]


def _order(items: list[list[Key]], left: dict[Key, list[_Joint]], right: dict[Key, list[_Joint]]) -> None:
    """Sort each column by the mean place of its neighbours, to and fro (Sugiyama's barycenters)."""
    place = {key: float(i) for keys in items for i, key in enumerate(keys)}
    for sweep in range(SWEEPS):
        ahead = sweep % 2 == 0
        for keys in items if ahead else reversed(items):
            wanted = {}
            for key in keys:
                near = left.get(key, ()) if ahead else right.get(key, ())
                ends = [
                    place[j.left] + j.left_at * 1e-4 if ahead else place[j.right] + j.right_at * 1e-4
                    for j in near
                ]
                wanted[key] = sum(ends) / len(ends) if ends else place[key]
            keys.sort(key=wanted.__getitem__)
            place.update((key, float(i)) for i, key in enumerate(keys))


def _heights(
    diagram: Diagram,
    items: list[list[Key]],
    left: dict[Key, list[_Joint]],
    right: dict[Key, list[_Joint]],
) -> dict[Key, float]:
    """The top of each item: as near to level with its neighbours as order and room allow."""
    room = {key: _room(diagram, key) for keys in items for key in keys}
    top: dict[Key, float] = {}
    for keys in items:
        top.update(_stacked(keys, [0.0] * len(keys), room))
    for sweep in range(SWEEPS + 1):  # the last goes forward: ends stand level with what feeds them
        for keys in items if sweep % 2 == 0 else reversed(items):
            wanted = []
            for key in keys:
                ends = [top[j.left] + j.left_at - j.right_at for j in left.get(key, ())] * (
                    1 + (sweep % 2 == 0)
                )
                ends += [top[j.right] + j.right_at - j.left_at for j in right.get(key, ())] * (1 + sweep % 2)
                wanted.append(sum(ends) / len(ends) if ends else top[key])
            top.update(_stacked(keys, wanted, room))
    return top


def _room(diagram: Diagram, key: Key) -> float:
    return diagram.boxes[key].height + BOX_GAP if isinstance(key, str) else LANE + LANE_GAP


def _stacked(keys: list[Key], wanted: list[float], room: dict[Key, float]) -> dict[Key, float]:
    """Tops in this order without overlap, nearest to those wanted in least squares (pooling adjacent)."""
    pools: list[tuple[float, int]] = []  # mean of wanted less the room above, count
    above = [0.0]
    for key, y in zip(keys, wanted, strict=True):
        mean, count = y - above[-1], 1
        while pools and pools[-1][0] > mean:
            before, n = pools.pop()
            mean, count = (before * n + mean * count) / (n + count), n + count
        pools.append((mean, count))
        above.append(above[-1] + room[key])
    means = [mean for mean, count in pools for _ in range(count)]
    return {key: mean + high for key, mean, high in zip(keys, means, above, strict=False)}


def _measured(
    diagram: Diagram,
    items: list[list[Key]],
    column: dict[str, int],
    top: dict[Key, float],
    forward: list[Wire],
    backward: list[Wire],
) -> Layout:
    """Columns as wide as their widest box, and the points of the wires."""
    wide = [max((diagram.boxes[k].width for k in keys if isinstance(k, str)), default=0.0) for keys in items]
    x = [0.0]
    for w in wide:
        x.append(x[-1] + w + COLUMN_GAP)
    highest = min(top.values(), default=0.0)
    corner = {id: (x[column[id]], top[id] - highest) for id in diagram.boxes}
    boxes: dict[str, Box] = dict(diagram.boxes)
    right = {id: x[column[id]] + wide[column[id]] for id in boxes}
    bottom = max((corner[id][1] + boxes[id].height for id in boxes), default=0.0)
    routes = []
    for wire in forward:
        points = [_out(wire, corner, boxes, right)]
        for lane in _lanes(wire, column):
            y = top[lane] + LANE / 2 - highest
            points += [(x[lane[2]], y), (x[lane[2]] + wide[lane[2]], y)]
        points.append(_in(wire, corner, boxes))
        routes.append(Route(wire, tuple(points), False))
    bottom = max([bottom, *(y for r in routes for _, y in r.points)])
    for wire in backward:
        bottom += BOX_GAP
        start, end = _out(wire, corner, boxes, right), _in(wire, corner, boxes)
        routes.append(Route(wire, (start, (start[0], bottom), (end[0], bottom), end), True))
    return Layout(
        corner, {id: wide[column[id]] for id in boxes}, tuple(routes), max(x[-1] - COLUMN_GAP, 0.0), bottom
    )


def _out(wire: Wire, corner: dict[str, Point], boxes: dict[str, Box], right: dict[str, float]) -> Point:
    return right[wire.source], corner[wire.source][1] + boxes[wire.source].port_y(wire.slot)


def _in(wire: Wire, corner: dict[str, Point], boxes: dict[str, Box]) -> Point:
    return corner[wire.target][0], corner[wire.target][1] + boxes[wire.target].port_y(wire.row)
