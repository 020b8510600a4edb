"""Keys: they name what decides a result, and nothing else."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_runner import chain, dags
from toys import REGISTRY, World, add, n

from engine.plan import make_plan
from engine.registry import Registry
from engine.workflow import from_json

WORLD = World(Path(tempfile.mkdtemp()))
WORLD.close()


def keys(graph: dict[str, Any], registry: Registry = REGISTRY) -> dict[str, str]:
    return dict(make_plan(from_json(graph), registry, WORLD.env, WORLD.tiers).keys)


def downstream(graph: dict[str, Any], id: str) -> set[str]:
    found, grew = {id}, True
    while grew:
        more = {
            i for i, x in graph.items() for v in x["inputs"].values() if isinstance(v, list) and v[0] in found
        }
        grew = not more <= found
        found |= more
    return found


@settings(max_examples=60, deadline=None)
@given(dags(), st.randoms())
def test_ids_titles_and_json_order_are_not_in_the_key(graph: dict[str, Any], random: Any) -> None:
    names = {id: f"renamed {i}" for i, id in enumerate(graph)}
    other = {}
    for id in random.sample(list(graph), len(graph)):
        inputs = list(graph[id]["inputs"].items())
        random.shuffle(inputs)
        moved = {k: [names[v[0]], v[1]] if isinstance(v, list) else v for k, v in inputs}
        node = {"_meta": {"title": id}, "inputs": moved, "class_type": graph[id]["class_type"]}
        other[names[id]] = node | {"extra": 1}
    before, after = keys(graph), keys(json.loads(json.dumps(other)))
    assert {names[id]: key for id, key in before.items()} == after


@settings(max_examples=60, deadline=None)
@given(dags(), st.data())
def test_a_changed_literal_changes_the_keys_of_its_node_and_of_what_follows(
    graph: dict[str, Any], data: st.DataObject
) -> None:
    id = data.draw(st.sampled_from([i for i in graph if "plus" in graph[i]["inputs"]]))
    inputs = {**graph[id]["inputs"], "plus": 100}
    before, after = keys(graph), keys({**graph, id: {**graph[id], "inputs": inputs}})
    assert {i for i in before if before[i] != after[i]} == downstream(graph, id) & set(before)


@settings(max_examples=40, deadline=None)
@given(dags(), st.data())
def test_a_changed_link_or_class_changes_the_keys_of_its_node_and_of_what_follows(
    graph: dict[str, Any], data: st.DataObject
) -> None:
    id = data.draw(st.sampled_from([i for i in graph if "plus" in graph[i]["inputs"]]))
    inputs = {**graph[id]["inputs"], "c": ["new", 0]}
    changed = {**graph, id: {**graph[id], "inputs": inputs}, "new": n("Value", value=999)}
    before, after = keys(graph), keys(changed)
    both = before.keys() & after.keys()
    assert {i for i in both if before[i] != after[i]} == downstream(graph, id) & both


def test_the_slot_of_a_link_and_the_port_it_goes_to_are_in_the_key() -> None:
    base = {"v": n("Value", value=1), "p": n("Pair", a=["v", 0])}
    made = [
        keys(base | {"a": n("Add", **{port: ["p", slot]}), "s": n("Show", value=["a", 0])})["s"]
        for port in "ab"
        for slot in (0, 1)
    ]
    assert len(set(made)) == 4


def test_the_version_of_a_node_is_in_the_key() -> None:
    newer = replace(add, version=2)
    graph = {"v": n("Value", value=1), "a": n("Add", a=["v", 0]), "s": n("Show", value=["a", 0])}
    registry = Registry({**REGISTRY.nodes, "Add": newer})
    before, after = keys(graph), keys(graph, registry)
    assert {i for i in before if before[i] != after[i]} == {"a", "s"}


def test_a_default_and_the_same_literal_have_one_key() -> None:
    graph = {"1": {"class_type": "Widgets", "inputs": {**n("Widgets", n=2)["inputs"]}}}
    graph["s"] = n("Show", value=["1", 0])
    without = {k: v for k, v in graph["1"]["inputs"].items() if k != "left"}
    assert keys(graph) == keys({**graph, "1": {"class_type": "Widgets", "inputs": without}})
    spelled = {**graph["1"]["inputs"], "n": "2", "x": "0.5", "undeclared": 7}
    assert keys(graph) == keys({**graph, "1": {"class_type": "Widgets", "inputs": spelled}})


def test_the_content_of_a_file_is_in_the_key_and_its_name_alone_is_not_enough(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "input").mkdir()
    file = tmp_path / "input" / "a.txt"
    graph = {"r": n("Read", name="a.txt"), "s": n("Show", value=["r", 0])}
    made = []
    for text in ("1", "2", "1"):
        file.write_text(text)
        made.append(world.plan(graph).keys["s"])
    assert made[0] == made[2] != made[1]
    world.close()


def test_a_volatile_node_and_what_follows_have_new_keys_each_time() -> None:
    graph = {"v": n("Volatile"), "s": n("Show", value=["v", 0])}
    first, second = keys(graph), keys(graph)
    assert not set(first.values()) & set(second.values())


def test_a_node_that_takes_its_id_has_it_in_the_key() -> None:
    graph = {"v": n("Value", value=1)}
    for id in "ab":
        graph[id] = n("Countdown", n=["v", 0], so_far=["v", 0])
        graph[f"s{id}"] = n("Show", value=[id, 0])
    made = keys(graph)
    assert made["a"] != made["b"]


def test_ten_thousand_nodes_in_a_row_have_keys() -> None:
    made = keys(chain(10_000))
    assert len(set(made.values())) == len(made) == 10_001
