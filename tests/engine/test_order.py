"""What comes after what it needs."""

from engine.order import sources_first


def order(needs: dict[str, str]) -> str:
    consumers = {id: [other for other, found in needs.items() if id in found] for id in needs}
    return "".join(sources_first(needs, needs.__getitem__, lambda id: [*consumers[id], "unknown"]))


def test_things_come_after_what_they_need_and_else_as_they_were_given() -> None:
    assert order({"d": "bc", "c": "a", "b": "a", "a": ""}) == "acbd"
    assert order({"b": "", "a": "", "c": "ba"}) == "bac"


def test_those_in_or_behind_a_loop_are_left_out() -> None:
    assert order({"a": "", "b": "ac", "c": "b", "d": "c", "e": "e"}) == "a"
