"""Wrong prompts made of right ones, with the place of what is wrong; and what a server answered to them."""

import asyncio
import copy
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient

from engine.nesting import MAX_DEPTH

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 10**30, 10**300, 10**400, 0.5, -0.0,
    1e308, -1e308, float("nan"), float("inf"), float("-inf"), "", " ", "0", "nan", "1e999", "x" * 10_000,
    "\x00", "\ud800", "💥\u202e", "../../etc/passwd", "/etc/passwd", "%s%n{0}", [], {}, [[]], [1, 2], ["1"],
    [None, 0], ["1", 0, 0], [1, 0], ["1", "0"], ["1", -1], ["1", 0.5], ["1", 1e300], ["1", 2**40],
    ["1", True], [["1", 0]], {"a": 1}, {"__value__": 1}, {"__value__": [1, 2]},
    {"__value__": {"__value__": None}}, ["nowhere", 0], ["", 0],
)  # fmt: skip
CLASSES: tuple[Any, ...] = (
    None, 1, "", " ", [], {}, True, "NoSuchNode", "__class__", "x" * 3_000, "savEimage", "\x00", "Save\ud800",
)  # fmt: skip
IDS = (
    "",
    " ",
    "a.b",
    "💥",
    "__proto__",
    "x" * 2_000,
    "#",
    "0",
    "-1",
    "1:2",
    "\x00",
    "null",
    "../x",
    "9" * 400,
)
BODY: dict[str, tuple[Any, ...]] = {
    "extra_data": (None, [], 1, "x", {"client_id": 5}, {"client_id": ["a"]}, {"extra_pnginfo": 1},
                   {"extra_pnginfo": {"workflow": float("nan")}}, {"extra_pnginfo": {"\ud800": "\udfff"}}),
    "partial_execution_targets": ([], {}, "9", ["nowhere"], [1], [None], [["9"]], "x" * 1_000),
    "number": (None, "x", [], {}, "nan", float("nan"), float("inf"), 10**400, "1e5000", -1, "7", True),
    "prompt_id": (5, [], {}, "", " ", "x" * 300, "\ud800", "\x00", "../../x", True, 0, "a/b?c#d", -1.5),
    "client_id": (5, [], {}, "", "x" * 5_000, "\ud800", "\x00", True, {"a": 1}),
    "front": ("x", [], 1, None, "false"),
    "prompt": (None, [], "x", 1, {}, {"": {}}, {"nodes": []}, {"prompt": {}}, {"1": {}}, [[]],
               {"1": {"inputs": {}}}),
}  # fmt: skip
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Mutant:
    """A wrong submission.

    Args:
        places: Where the fault is: (node, input) or (node, ""); any of them will do. None where it has none.
    """

    what: str
    body: bytes
    places: frozenset[tuple[str, str]] | None = None


class Mutator:
    """Makes wrong submissions of right prompts, the same ones for the same seed."""

    def __init__(self, prompts: list[dict[str, Any]], seed: int) -> None:
        self._prompts, self._chance = prompts, random.Random(seed)

    def next(self) -> Mutant:
        """A submission with one fault mostly, sometimes more."""
        prompt = copy.deepcopy(self._chance.choice(self._prompts))
        kind = self._chance.random()
        if kind < 0.15:
            return self._envelope(prompt)
        if kind < 0.22:
            return self._raw(prompt)
        what, places = self._node_fault(prompt)
        if self._chance.random() < 0.15:
            for _ in range(self._chance.randint(1, 4)):
                more, _ = self._node_fault(prompt)
                what += f" + {more}"
            places = None
        return Mutant(what, json.dumps({"prompt": prompt}).encode(), places)

    def _node_fault(self, prompt: dict[str, Any]) -> tuple[str, frozenset[tuple[str, str]] | None]:
        ids = [id for id, n in prompt.items() if isinstance(n, dict) and isinstance(n.get("inputs"), dict)]
        if not ids:
            prompt["1"] = {}
            return "no nodes left", None
        id = self._chance.choice(ids)
        how = self._chance.choice(
            (self._value, self._value, self._value, self._link, self._link, self._drop_input, self._drop_node,
             self._class, self._whole, self._rename)
        )  # fmt: skip
        return how(prompt, id)

    def _value(self, prompt: dict[str, Any], id: str) -> tuple[str, frozenset[tuple[str, str]] | None]:
        inputs = prompt[id]["inputs"]
        port = self._chance.choice([*inputs, "unknown"]) if inputs else "unknown"
        levels = self._chance.choice((10, 150, 250, 900)) if self._chance.random() < 0.05 else 0
        inputs[port] = value = self._deep(levels) if levels else self._chance.choice(VALUES)
        refused_whole = levels > MAX_DEPTH  # such a body is not decoded
        return f"{id}.{port} = {value!r:.50}", None if refused_whole else frozenset({(id, port)})

    def _deep(self, levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value] if self._chance.random() < 0.5 else {"a": value}
        return value

    def _link(self, prompt: dict[str, Any], id: str) -> tuple[str, frozenset[tuple[str, str]] | None]:
        inputs = prompt[id]["inputs"]
        links = [p for p, v in inputs.items() if isinstance(v, list)]
        if not links:
            return self._value(prompt, id)
        port = self._chance.choice(links)
        inputs[port] = [self._chance.choice([*prompt, id]), self._chance.choice((0, 0, 0, 1, 7))]
        return f"{id}.{port} -> {inputs[port]}", None  # a loop or a type: which input is at fault is a choice

    def _drop_input(self, prompt: dict[str, Any], id: str) -> tuple[str, frozenset[tuple[str, str]]]:
        inputs = prompt[id]["inputs"]
        port = self._chance.choice(list(inputs)) if inputs else ""
        inputs.pop(port, None)
        return f"without {id}.{port}", frozenset({(id, port)})

    def _drop_node(self, prompt: dict[str, Any], id: str) -> tuple[str, frozenset[tuple[str, str]] | None]:
        del prompt[id]
        whole = [(i, n) for i, n in prompt.items() if isinstance(n, dict)]
        nodes = [(i, n["inputs"]) for i, n in whole if isinstance(n.get("inputs"), dict)]
        users = {(i, p) for i, ins in nodes for p, v in ins.items() if isinstance(v, list) and v[:1] == [id]}
        return f"without {id}", frozenset(users) or None

    def _class(self, prompt: dict[str, Any], id: str) -> tuple[str, frozenset[tuple[str, str]]]:
        prompt[id]["class_type"] = name = self._chance.choice(CLASSES)
        if self._chance.random() < 0.2:
            del prompt[id]["class_type"]
        return f"{id} is a {name!r:.40}", frozenset({(id, "")})

    def _whole(self, prompt: dict[str, Any], id: str) -> tuple[str, frozenset[tuple[str, str]]]:
        value = self._chance.choice((None, [], 1, "x", True, {}, [[]], float("nan")))
        if self._chance.random() < 0.5:
            prompt[id] = value
        else:
            prompt[id]["inputs"] = value
        return f"{id} (or its inputs) is {value!r}", frozenset({(id, "")})

    def _rename(self, prompt: dict[str, Any], id: str) -> tuple[str, frozenset[tuple[str, str]] | None]:
        new = self._chance.choice(IDS)
        node = prompt.pop(id)
        _, users = self._drop_node({**prompt, id: node}, id)
        prompt[new] = node
        return f"{id} is called {new!r:.40}", users

    def _envelope(self, prompt: dict[str, Any]) -> Mutant:
        key = self._chance.choice(list(BODY))
        body = {"prompt": prompt, key: self._chance.choice(BODY[key])}
        return Mutant(f"{key} = {body[key]!r:.50}", json.dumps(body).encode())

    def _raw(self, prompt: dict[str, Any]) -> Mutant:
        text = json.dumps({"prompt": prompt}).encode()
        at = self._chance.randrange(len(text))
        match self._chance.randrange(7):
            case 0:
                return Mutant("cut off", text[:at])
            case 1:
                return Mutant("a byte", text[:at] + bytes([self._chance.randrange(256)]) + text[at + 1 :])
            case 2:
                return Mutant("invalid UTF-8", text[:at] + b"\xff\xfe" + text[at:])
            case 3:
                return Mutant("deep", b'{"prompt":' * 5_000 + b"1" + b"}" * 5_000)
            case 4:
                return Mutant(
                    "other JSON", self._chance.choice((b"", b"[]", b"1", b'"x"', b"null", b"{}", b"[" * 999))
                )
            case 5:
                return Mutant("a key twice", b'{"prompt":{"1":{},' + text[len(b'{"prompt": {') :])
            case _:
                return Mutant("UTF-16", text.decode().encode("utf-16"))


@dataclass
class Answers:
    """What a server answered to wrong prompts."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Answers of 500 and more, and requests that took too long."""
    slowest: float = 0.0
    at_node: Counter[bool] = field(default_factory=Counter)
    at_input: Counter[bool] = field(default_factory=Counter)
    unnamed: list[str] = field(default_factory=list)

    def share(self, found: Counter[bool]) -> float:
        """Of the refusals, those that name the place."""
        return found[True] / max(1, found.total())


async def fuzz(client: TestClient[Any, Any], prompts: list[dict[str, Any]], count: int, seed: int) -> Answers:
    """Send wrong prompts, and a right one now and then."""
    mutator, answers = Mutator(prompts, seed), Answers()
    for i in range(count):
        mutant = mutator.next()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                response = await client.post("/prompt", data=mutant.body)
                text = await response.text()
        except TimeoutError:
            answers.faults.append(f"hangs: {mutant.what}")
            continue
        answers.slowest = max(answers.slowest, time.perf_counter() - started)
        answers.sent += 1
        answers.statuses[response.status] += 1
        if response.status >= 500:
            answers.faults.append(f"{response.status}: {mutant.what}")
        elif response.status >= 400:
            judge(answers, mutant, json.loads(text))
        if i % 100 == 0:
            good = await client.post("/prompt", json={"prompt": prompts[i % len(prompts)]})
            if good.status != 200:
                answers.faults.append(f"a good prompt gets {good.status} after {mutant.what}")
    return answers


def judge(answers: Answers, mutant: Mutant, refusal: dict[str, Any]) -> None:
    """Note whether a refusal names the place of the fault."""
    if mutant.places is None:
        return
    named = {id for id, _ in mutant.places if names_node(refusal, id)}
    answers.at_node[bool(named)] += 1
    with_input = [(id, port) for id, port in mutant.places if port]
    if with_input:
        hit = any(names_input(refusal, id, port) for id, port in with_input)
        answers.at_input[hit] += 1
    if not named or (with_input and not hit):
        answers.unnamed.append(f"{mutant.what}: {json.dumps(refusal)[:600]}")


def names_node(refusal: dict[str, Any], id: str) -> bool:
    error = refusal["error"]
    words = (
        f"{error['message']} {error['details']}".replace(".", " ").replace("'", " ").replace("#", " ").split()
    )
    return id in refusal.get("node_errors", {}) or id in words


def names_input(refusal: dict[str, Any], id: str, port: str) -> bool:
    errors = refusal.get("node_errors", {}).get(id, {}).get("errors", [])
    named = any(e["extra_info"].get("input_name") == port or port in e["details"] for e in errors)
    return named or f"{id}.inputs.{port}" in refusal["error"]["message"]


def shipped(folder: Path) -> list[dict[str, Any]]:
    """The workflows that come with the program."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
