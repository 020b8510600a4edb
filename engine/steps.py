"""What a running node may ask of the engine: a model call, a lazy input, a progress report, more nodes."""

from collections.abc import Generator, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")
Q_contra = TypeVar("Q_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)


class Batchable(Protocol[Q_contra, A_co]):
    """Something that answers many requests at once; requests with equal keys may share a batch.

    Targets that compare equal (same weights, same patches) share batches too, so a target is hashable by
    what it computes, not by identity. A request is one row: an answer must not depend on its companions.
    """

    def batch_key(self, request: Q_contra, /) -> Hashable:
        """What must agree between requests of one batch: shapes, dtype, conditioning structure."""
        ...

    def answer(self, requests: Sequence[Q_contra], /) -> Sequence[A_co]:
        """One answer for each request, in order."""
        ...


@dataclass(frozen=True)
class Call:
    """Ask `target` to answer some requests; the generator is sent a list with one answer each."""

    target: Batchable[Any, Any]
    requests: tuple[Any, ...]


@dataclass(frozen=True)
class Need:
    """Ask for the value of a lazy input; the generator is sent the value."""

    port: str


@dataclass(frozen=True)
class NeedAll:
    """Ask for several lazy inputs, made together; the generator is sent the whole list of each, as it is."""

    ports: tuple[str, ...]


@dataclass(frozen=True)
class Await:
    """Wait for what is under way elsewhere, while other nodes run; the generator is sent its result.

    Args:
        future: Completed by any thread but the lane's, which must not wait for itself.
    """

    future: Future[Any]


@dataclass(frozen=True)
class Progress:
    """Tell how far the node is, with a preview of what it makes; the generator is sent None.

    Args:
        step: Steps done, from 1 to `total`.
        preview: Something a listener may turn into a picture (a latent estimate, an image), or None.
    """

    step: float
    total: float
    preview: Any = None


@dataclass(frozen=True)
class Subgraph:
    """Ask for more nodes to be run (node expansion).

    The generator is sent one list for each of `results`: the values that the output gave (one, unless lists
    are mapped).

    Args:
        nodes: API-format nodes, `{id: {"class_type": ..., "inputs": {...}}}`; ids are new in the whole run,
            inputs may link to each other and to nodes that exist already. `override_display_id` names the
            node that stands for one in what is shown; else the node that asks does.
        results: For each wanted value a link `[id, slot]`, or a plain value.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    results: tuple[Any, ...]


@dataclass(frozen=True)
class Slots:
    """What a node with `maps_itself` gives: for each output slot its list of values, blockers among them.

    Args:
        blocked: Messages of blockers among its inputs, for the listener.
        ran: Whether it did anything; if not, because all was blocked, nothing is kept.
    """

    lists: tuple[list[Any], ...]
    ui: Mapping[str, list[Any]]
    blocked: tuple[str, ...] = ()
    ran: bool = True


Ask: TypeAlias = Call | Need | NeedAll | Await | Progress | Subgraph
Steps: TypeAlias = Generator[Ask, Any, T]


def call(target: Batchable[Q, A], *requests: Q) -> Steps[list[A]]:
    """Ask `target` for an answer to each request; other jobs' requests may share the batch."""
    answers: list[A] = yield Call(target, requests)
    return answers


@dataclass(frozen=True)
class Lazy(Generic[T]):
    """An input computed only if the node asks for it: `value = yield from image`."""

    port: str

    def __iter__(self) -> Steps[T]:
        value: T = yield Need(self.port)
        return value


def run_alone(steps: Steps[T]) -> T:
    """Drive one generator node to its end without an engine, e.g. in a test; progress is dropped.

    Raises:
        TypeError: It asks for a lazy input or for nodes, which only an engine has.
    """
    value: Any = None
    try:
        while True:
            ask = steps.send(value)
            if isinstance(ask, Call):
                value = _answers(ask)
            elif isinstance(ask, Progress):
                value = None
            elif isinstance(ask, Await):
                value = ask.future.result()
            else:
                raise TypeError(f"only an engine can answer {ask!r}")
    except StopIteration as stop:
        result: T = stop.value
        return result


def _answers(ask: Call) -> list[Any]:
    """The answers to a call, each group of equal batch keys in one batch."""
    groups: dict[Hashable, list[int]] = {}
    for i, request in enumerate(ask.requests):
        groups.setdefault(ask.target.batch_key(request), []).append(i)
    answers: dict[int, Any] = {}
    for group in groups.values():
        answers |= zip(group, ask.target.answer([ask.requests[i] for i in group]), strict=True)
    return [answers[i] for i in range(len(ask.requests))]
