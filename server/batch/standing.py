"""Where a batch stands: what is done, what is to be run, what an interrupted run left in the queue."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from engine.batch.planning import BatchPlan
from server.batch.crew import TOGETHER
from server.batch.folder import Folder
from server.batch.manifest import NAME, Line, Manifest, changed, keys_of, line_of
from server.batch.rows import Rows
from server.queue.jobs import ENDED


@dataclass(frozen=True)
class Standing:
    """What is done of a batch.

    Args:
        done: The jobs that are not to be run.
        changed: Jobs that had succeeded, whose files are gone or are not what they were.
        again: Jobs that had failed and are to be run again.
    """

    manifest: Manifest
    done: frozenset[int]
    changed: frozenset[int]
    again: frozenset[int]


def standing(folder: Folder, retry_failed: bool, known: Standing | None = None) -> Standing:
    """Where a batch stands as its manifest and the files in its folder tell.

    Args:
        known: What was found before; holds still if the manifest is the same.
    """
    manifest = Manifest(folder.path / NAME, len(folder.batch.jobs))
    if known is not None and known.manifest.lines == manifest.lines:
        return Standing(manifest, known.done, known.changed, known.again)
    lines = manifest.lines
    failed = frozenset(n for n, line in lines.items() if line["status"] != "success")
    gone = frozenset(changed(folder.path, [line for n, line in lines.items() if n not in failed]))
    again = failed if retry_failed else frozenset()
    return Standing(manifest, frozenset(lines) - gone - again, gone, again)


def take_over(found: Standing, plan: BatchPlan, folder: Folder, rows: Rows) -> frozenset[int]:
    """Note the ends that only the queue knows of, and leave every other job waiting there; gives all done.

    Files that interrupted jobs left are removed, so that these get the same names again.
    """
    there, planned = rows.standing(), {job.job.number: job for job in plan.jobs}
    noted = _noted(found, plan, folder, rows)
    found.manifest.add(noted.values())
    done = found.done | noted.keys()
    left = [n for n in planned if n not in done]
    ended = [n for n in left if there.get(n) in ENDED]
    held = [n for n in left if n in there and n not in ended] if rows.shared else []
    folder.remove_leftovers(set(left).difference(held))
    if not rows.shared:  # whoever ran them is gone
        begun = rows.running()
        often = [n for n, job in begun.items() if job.attempt >= TOGETHER]
        rows.interrupted(often, aside=True)
        rows.interrupted(begun)
    rows.run_again(ended)
    rows.withdraw(n for n, status in there.items() if n in done and status not in ENDED)
    rows.submit(planned[n] for n in left if n not in there)
    return frozenset(done)


def _noted(found: Standing, plan: BatchPlan, folder: Folder, rows: Rows) -> Mapping[int, Line]:
    """The lines of jobs that have ended in the queue and have none yet, but of those to be run again."""
    planned = {job.job.number: job for job in plan.jobs}
    unnoted: Collection[int] = planned.keys() - found.changed - found.again
    lines: dict[int, Line] = {}
    for number, row in rows.ended(unnoted).items():
        job = planned[number]
        assert row.ending is not None
        lines[number] = line_of(number, job.job.inputs, keys_of(job.plan), row, row.ending)
    gone = changed(folder.path, [line for line in lines.values() if line["status"] == "success"])
    return {n: line for n, line in sorted(lines.items()) if n not in gone}
