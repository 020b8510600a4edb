"""An order in which things may be done that need each other; knows no nodes."""

from collections.abc import Callable, Iterable


def sources_first(
    ids: Iterable[str], sources: Callable[[str], Iterable[str]], consumers: Callable[[str], Iterable[str]]
) -> list[str]:
    """Things, each after those that it needs; those in or behind a loop are left out. O(things + links).

    Args:
        sources: What a thing needs; all of it is among the ids.
        consumers: What needs a thing; others than the ids are passed over.
    """
    waits = {id: len([*sources(id)]) for id in ids}
    order = [id for id, count in waits.items() if not count]
    for id in order:
        for consumer in consumers(id):
            if consumer in waits:
                waits[consumer] -= 1
                if not waits[consumer]:
                    order.append(consumer)
    return order
