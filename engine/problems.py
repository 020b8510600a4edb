"""What can be wrong with a workflow, as values; and the error that says which node failed."""

import difflib
import heapq
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import takewhile

MANY = 2_000
"""Names beyond which only those are compared whole that begin and end most like the wrong one."""
MOST_LOOKED_FOR = 50
"""Wrong names of one check for which a near one is looked for, in a millisecond to half a second each."""


@dataclass(frozen=True)
class Wrong:
    """What a node's own check finds: the port, what is wrong with it, what to do about it.

    Args:
        look: Finds a better hint, in a while; called for the first mistakes of a workflow only.
    """

    port: str
    message: str
    hint: str = ""
    code: str = "custom_validation_failed"
    look: Callable[[], str] | None = None


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a workflow, and where.

    Args:
        code: The ecosystem's error type where it has one (`value_not_in_list`, `bad_linked_input`).
        message: What was expected and what was found.
        hint: What to do next; the nearest name, the allowed range.
        value: For a missing class or file, its name.
    """

    code: str
    message: str
    node_id: str = ""
    class_type: str = ""
    input: str = ""
    hint: str = ""
    value: str = ""

    def as_json(self) -> dict[str, str]:
        """The command line's JSON form of a problem."""
        fields = asdict(self)
        del fields["value"]
        return fields

    def __str__(self) -> str:
        where = f"node {self.node_id}" if self.node_id else "workflow"
        if self.class_type:
            where += f" ({self.class_type})"
        if self.input:
            where += f", {self.input}"
        return f"{where}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class WorkflowError(Exception):
    """A workflow that cannot run, with everything that is wrong with it.

    Args:
        format: The form of the file ("ui", "png"), where it was recognised though not read.
    """

    def __init__(self, problems: Iterable[Problem], format: str | None = None) -> None:
        self.problems, self.format = tuple(problems), format
        super().__init__("\n".join(map(str, self.problems)))


class NodeFailure(Exception):
    """Raised inside a node for what a user can mend: a message and what to do, no traceback needed."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = message, hint
        super().__init__(message + (f"; {hint}" if hint else ""))


class Near:
    """Looks for what the first wrong names of a check may mean: as many may be wrong as there are nodes."""

    def __init__(self) -> None:
        self._left = MOST_LOOKED_FOR

    def to(self, name: str, known: Iterable[str]) -> str:
        """As `nearest`; "" for all but the first."""
        return self.by(lambda: nearest(name, known))

    def by(self, look: Callable[[], str]) -> str:
        """What some search gives; "" for all but the first."""
        self._left -= 1
        return look() if self._left >= 0 else ""


def nearest(name: str, known: Iterable[str], limit: int = 3) -> str:
    """A hint naming the known names most like `name`, or "" when none is near."""
    names = list(known)
    if len(names) > MANY:
        names = heapq.nlargest(MANY // 10, names, key=partial(_shared, name))
    by_fold = {n.casefold(): n for n in names}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=limit, cutoff=0.55)
    return "did you mean " + " or ".join(repr(by_fold[f]) for f in found) + "?" if found else ""


def _shared(name: str, other: str) -> int:
    """How many letters two names begin and end with alike."""
    name, other = name.casefold(), other.casefold()
    ends = zip(name, other, strict=False), zip(reversed(name), reversed(other), strict=False)
    return sum(1 for letters in ends for _ in takewhile(lambda pair: pair[0] == pair[1], letters))
