"""The output folder of a batch: whose it is, who writes to it, what an interrupted job left there."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.batch import Batch
from engine.drafts import make_folder, sweep, write_whole
from engine.problems import Problem, WorkflowError
from server.batch import manifest
from server.lock import HeldError, Lock

ABOUT, STATE, SHEET = "batch.json", ".batch", "contact_sheet.html"
OWN = (ABOUT, manifest.NAME, SHEET, "contact_sheet*.png")
"""Files that a batch writes beside its jobs' outputs, as patterns."""
NUMBERED = re.compile(r"(.+)_\d{5,}_\.\w+")
"""Outputs of jobs: `stem_00001_.png`."""
SHOWN = 5


@dataclass
class Folder:
    """The folder that a batch writes to.

    Args:
        exact: Whether no model calls are batched.
    """

    path: Path
    batch: Batch
    rung: int
    exact: bool = False
    _lock: Lock | None = field(default=None, repr=False)

    @property
    def state(self) -> Path:
        """The folder with what is needed until the batch has ended."""
        return self.path / STATE

    @property
    def finished(self) -> bool:
        """Whether a batch has ended here and all was written that is written then."""
        return all((self.path / name).exists() for name in (ABOUT, SHEET)) and not self.state.exists()

    @property
    def about(self) -> dict[str, Any]:
        """What `batch.json` says: the same for the same batch."""
        return {
            "digest": self.batch.digest,
            "jobs": len(self.batch.jobs),
            "rung": self.rung,
            "exact": self.exact,
            "varied": {axis.name: len(axis.values) for axis in self.batch.axes},
            "workflow": self.batch.workflow.as_api(),
        }

    def look(self) -> None:
        """See whether this batch may be written here; changes nothing.

        Raises:
            WorkflowError: It may not.
        """
        if problems := list(self._refusals()):
            raise WorkflowError(problems)

    def hold(self) -> None:
        """Take the folder for this process, and write down whose it is.

        Raises:
            WorkflowError: It is another's, or cannot be written to.
        """
        self.look()
        try:
            make_folder(self.state)
            self._lock = Lock(self.state / "lock", "is being written by another batch")
            self.look()  # it may have become another's meanwhile
            if not (self.path / ABOUT).exists():
                write_whole(self.path / ABOUT, _text(self.about))
        except HeldError as error:
            hint = "wait until it has ended, or choose another --output"
            raise WorkflowError([Problem("held", str(error), hint=hint)]) from error
        except OSError as error:
            raise WorkflowError([self._unwritable(error)]) from error

    def release(self) -> None:
        """Let others write here."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def forget_state(self) -> None:
        """Remove what was needed only until the batch had ended, and drafts that a kill left."""
        sweep(self.path)
        shutil.rmtree(self.state, ignore_errors=True)

    def outputs(self) -> dict[str, list[Path]]:
        """The files that look like outputs of jobs, by the beginnings of their names."""
        found: dict[str, list[Path]] = {}
        for folder, folders, files in os.walk(self.path):
            folders[:] = [f for f in folders if f != STATE]
            for name in files:
                path = Path(folder, name)
                if match := NUMBERED.fullmatch(path.relative_to(self.path).as_posix()):
                    found.setdefault(match[1], []).append(path)
        return found

    def remove_leftovers(self, numbers: Iterable[int]) -> int:
        """Remove the files of jobs that have not ended, so that they get the same names again; how many.

        With them go the drafts of processes that have ended.
        """
        sweep(self.path)
        outputs, jobs = self.outputs(), self.batch.jobs
        paths = [p for n in numbers for name in jobs[n - 1].names for p in outputs.get(name, ())]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    # ------------------------------------------------------------ whether it may be written to

    def _refusals(self) -> Iterator[Problem]:
        other = "choose another --output"
        if self.path.exists() and not self.path.is_dir():
            yield Problem("unwritable", f"{self.path} is a file, not a folder", hint=other)
            return
        above = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
            yield Problem("unwritable", f"{self.path} cannot be written to: {above} may not", hint=other)
            return
        if (self.path / ABOUT).exists():
            if differs := self._differences():
                text = f"{self.path} is the folder of another batch: {differs}"
                yield Problem("other_batch", text, hint=other)
            return
        if self.path.exists() and (taken := list(self._taken())):
            more = f" and {len(taken) - SHOWN} more" if len(taken) > SHOWN else ""
            text = f"{self.path} holds files that this batch would write: {', '.join(taken[:SHOWN])}{more}"
            yield Problem("taken_names", text, hint=f"move them away, or {other}")

    def _taken(self) -> Iterator[str]:
        yield from (path.name for name in OWN for path in sorted(self.path.glob(name)))
        outputs = self.outputs()
        for job in self.batch.jobs:
            for path in (p for name in job.names for p in outputs.get(name, ())):
                yield path.relative_to(self.path).as_posix()

    def _differences(self) -> str:
        """How the batch that the folder belongs to differs from this one; "" where it is this one."""
        try:
            before = json.loads((self.path / ABOUT).read_bytes())
            if before["digest"] == self.batch.digest:
                return ""
            return "; ".join(_differences(before, self.about)) or "its values or names are others"
        except OSError as error:
            return f"its {ABOUT} cannot be read ({error.strerror})"
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"its {ABOUT} is damaged"

    def _unwritable(self, error: OSError) -> Problem:
        text = f"{self.path} cannot be written to: {error.strerror or error}"
        return Problem("unwritable", text, hint="choose another --output, or free some space")


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before["jobs"] != now["jobs"]:
        yield f"it has {before['jobs']} jobs, this one {now['jobs']}"
    if list(before["varied"]) != list(now["varied"]):
        yield f"it varies {_listed(before['varied'])}, this one {_listed(now['varied'])}"
    if before["exact"] != now["exact"]:
        yield f"it was made with{'' if before['exact'] else 'out'} --exact"
    elif before["rung"] != now["rung"]:
        yield f"it was made with --rung {before['rung']}, this one has {now['rung']}"
    old, new = before["workflow"], now["workflow"]
    changes = [*_changes(old, new)]
    if changes:
        yield "in the workflow, " + ", ".join(changes[:SHOWN])


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for id in (*old, *(i for i in new if i not in old)):
        if id not in old or id not in new:
            yield f"node {id} is {'new' if id in new else 'gone'}"
        elif old[id] != new[id]:
            name = (new[id].get("_meta") or {}).get("title") or id
            was, has = old[id]["inputs"], new[id]["inputs"]
            found = [k for k in {**was, **has} if was.get(k) != has.get(k)]
            yield from (f"{name}.{k} was {_short(was.get(k))}, is {_short(has.get(k))}" for k in found)
            if not found:
                yield f"node {id} is another"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")
