"""The memory tier: bounded, and what is cheap for its size goes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cache import UNKNOWN, Result, memory
from engine.cache.codec import nbytes
from engine.cache.memory import MemoryTier


def of(size: int, cost: float = 1.0) -> Result:
    return Result((["x" * size],), {}, cost)


SIZE = nbytes(of(1000).outputs) + nbytes({})


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000), st.booleans()), max_size=60))
def test_it_never_takes_more_than_its_budget_and_gives_what_was_put_last(
    steps: list[tuple[int, int, bool]],
) -> None:
    tier, last = MemoryTier(5000), {}
    for key, size, read in steps:
        if read:
            found = tier.get(str(key))
            assert found is None or found is last[str(key)]
        else:
            last[str(key)] = of(size, cost=size % 7)
            tier.put(str(key), last[str(key)], UNKNOWN)
        assert tier.used <= 5000
    kept = [k for k in last if tier.has(k)]
    assert tier.used == sum(nbytes(last[k].outputs) + nbytes({}) for k in kept)


def test_what_is_cheap_to_make_goes_first() -> None:
    tier = MemoryTier(3 * SIZE)
    for key, cost in (("dear", 9.0), ("cheap", 1.0), ("fair", 5.0), ("new", 2.0)):
        tier.put(key, of(1000, cost), UNKNOWN)
    assert [tier.has(k) for k in ("dear", "cheap", "fair", "new")] == [True, False, True, True]


def test_what_was_used_lately_outlives_what_was_not() -> None:
    tier = MemoryTier(2 * SIZE)
    tier.put("a", of(1000, 1.0), UNKNOWN)
    tier.put("b", of(1000, 1.1), UNKNOWN)
    tier.put("c", of(1000, 1.2), UNKNOWN)  # a goes; the age is now a's priority
    tier.get("b")
    tier.put("d", of(1000, 1.0), UNKNOWN)
    assert [tier.has(k) for k in "abcd"] == [False, True, False, True]


def test_what_is_larger_than_the_budget_is_not_kept_and_evicts_nothing() -> None:
    tier = MemoryTier(2 * SIZE)
    tier.put("a", of(1000), UNKNOWN)
    tier.put("b", of(9000), UNKNOWN)
    assert (tier.has("a"), tier.has("b")) == (True, False)
    tier.clear()
    assert (tier.used, tier.get("a")) == (0, None)


def test_of_many_small_results_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 10)
    tier = MemoryTier(2**30)
    for n in range(100):
        tier.put(str(n), of(10, cost=1 + n % 7), UNKNOWN)
    kept = [n for n in range(100) if tier.has(str(n))]
    assert len(kept) == 10
    assert min(kept) >= 40, "the older and cheaper go first"
    assert tier.used == 10 * (nbytes(of(10).outputs) + nbytes({}))
