"""A batch from what was asked for to its end: read, planned, taken up where it stood, driven, finished."""

import contextlib
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from engine.batch import Batch
from engine.batch.planning import BatchPlan, plan_batch
from engine.batch.reading import read_batch
from engine.cache import Tiers
from engine.cache.held import HeldTier
from engine.cli.opened import with_settings
from engine.cli.say import line as say_line
from engine.cli.say import people
from engine.config import Settings, read_settings
from engine.devices import Devices
from engine.energy import Meter, Shares
from engine.files import Files
from engine.problems import Problem, WorkflowError
from engine.registry import Registry
from engine.runner import Engine
from server.assembly import assembled
from server.batch import said
from server.batch.board import Board
from server.batch.crew import Kind, gather
from server.batch.driver import Driver
from server.batch.folder import Folder
from server.batch.rows import Rows
from server.batch.standing import Standing, standing, take_over
from server.config import ServerSettings, read_server_settings
from server.queue.opening import open_database
from server.queue.store import Queue
from server.ray_cluster import load_ray

log = logging.getLogger(__name__)
DATABASE = "queue.sqlite"
EVERY_JOB = 10**9
"""Jobs that may wait: a batch is whole or not at all."""


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line."""

    workflow: str
    output: Path
    vary: tuple[str, ...]
    zipped: bool
    jobs: Path | None
    sets: tuple[str, ...]
    name: str | None
    workers: Kind
    at_once: int
    rung: int
    queue: str | None
    retry_failed: bool
    dry_run: bool
    exact: bool
    as_json: bool


def conduct(asked: Asked, flags: Mapping[str, Any]) -> int:
    """Run a batch; gives the exit code: 0 done, 1 a job failed, 130 interrupted.

    Args:
        flags: Settings that were given.

    Raises:
        WorkflowError: What was asked for cannot be done; nothing was written.
    """
    output = asked.output.absolute()
    settings = read_settings(output_directory=output, **flags)
    server = read_server_settings(jobs_at_once=asked.at_once)
    with assembled(settings, server) as assembly:
        engine = assembly.engine
        batch = _read(asked, engine.registry)
        files = engine.env[Files]
        engine.env = engine.env.with_(replace(files, items=_merged(files.items, batch.items)))
        whole = Conductor(
            asked, settings, server, engine, batch, Folder(output, batch, asked.rung, asked.exact)
        )
        return whole.run()


def _read(asked: Asked, registry: Registry) -> Batch:
    """The batch; everything that is wrong with what was asked for is said at once."""
    workflow, items, problems = with_settings(asked.workflow, registry, asked.sets)
    try:
        batch = read_batch(
            workflow,
            registry,
            asked.vary,
            zipped=asked.zipped,
            jobs=asked.jobs,
            name=asked.name,
            rung=asked.rung,
            exact=asked.exact,
        )
    except WorkflowError as error:
        raise WorkflowError([*problems, *error.problems]) from error
    if problems:
        raise WorkflowError(problems)
    return replace(batch, items=_merged(items, batch.items))


def _merged(
    first: Mapping[str, Mapping[str, Path]], second: Mapping[str, Mapping[str, Path]]
) -> dict[str, dict[str, Path]]:
    roles = dict.fromkeys((*first, *second))
    return {role: {**first.get(role, {}), **second.get(role, {})} for role in roles}


@dataclass
class Conductor:
    """A batch with all that it runs on."""

    asked: Asked
    settings: Settings
    server: ServerSettings
    engine: Engine
    batch: Batch
    folder: Folder

    def run(self) -> int:
        """See `conduct`."""
        self.folder.look()
        with self._busy("looking at what is done"):
            found = standing(self.folder, self.asked.retry_failed)
        plan = self._planned(found.done)
        self._say_plan(plan, found)
        if self.asked.dry_run:
            return 0
        if not plan.jobs and self.folder.finished and not found.manifest.damaged:
            return self._say_end(found, None, 0.0)
        if self.asked.workers == "ray":
            load_ray()  # says what is missing before anything is written
        with contextlib.ExitStack() as stack:
            shared = self._shared_queue(stack) if self.asked.queue else None
            self.folder.hold()
            stack.callback(self.folder.release)
            found = standing(self.folder, self.asked.retry_failed, found)
            stack.callback(found.manifest.close)
            try:
                return self._run(found, plan, shared)
            except (OSError, SQLAlchemyError) as error:
                return self._broken(error)

    def _shared_queue(self, stack: contextlib.ExitStack) -> Queue:
        """The queue that was named, until the stack ends.

        Raises:
            WorkflowError: It cannot be opened.
        """
        try:
            return stack.enter_context(_queue(self.asked.queue or ""))
        except (SQLAlchemyError, OSError) as error:
            text = f"the queue's database cannot be opened: {error}"
            raise WorkflowError([Problem("bad_queue", text, hint="check --queue")]) from error

    @property
    def _own_database(self) -> str:
        return f"sqlite:///{self.folder.state / DATABASE}"

    def _planned(self, done: Collection[int]) -> BatchPlan:
        with self._busy(f"planning {len(self.batch.jobs):,} jobs"):
            return plan_batch(self.batch, self.engine, done, rung=self.asked.rung, exact=self.asked.exact)

    def _busy(self, doing: str) -> contextlib.AbstractContextManager[object]:
        """Says what takes a while, to people at a terminal."""
        return contextlib.nullcontext() if self.asked.as_json else people.status(f"[dim]{doing}[/]")

    def _run(self, found: Standing, plan: BatchPlan, shared: Queue | None) -> int:
        """Run what is left, with the folder held."""
        begun, driver = time.monotonic(), None
        if plan.jobs:
            with contextlib.nullcontext(shared) if shared else _queue(self._own_database) as queue:
                rows = Rows(queue, self.batch, self.folder.path, shared=bool(shared), exact=self.asked.exact)
                driver = self._driven(found, plan, rows)
                if not (driver.stopped or driver.left):
                    rows.forget()
        if driver is not None and driver.stopped:
            return self._say_stopped(found, driver, time.monotonic() - begun)
        found.manifest.put_in_order()
        self._write_sheet(found)
        self.folder.forget_state()
        return self._say_end(found, driver, time.monotonic() - begun)

    def _driven(self, found: Standing, plan: BatchPlan, rows: Rows) -> Driver:
        """Take up the batch where it stood and drive it until it has ended or is stopped."""
        done = take_over(found, plan, self.folder, rows)
        if done != found.done:
            plan = self._planned(done)
        held = HeldTier(plan.uses, int(self.settings.memory_gb * 2**30))
        self.engine.tiers = Tiers([held, *self.engine.tiers.tiers])
        server = self.server.model_copy(update={"database": self.asked.queue or self._own_database})
        crew = gather(self.asked.workers, self.engine, self.settings, server, rows, self.folder)
        here = self.asked.workers not in ("ray", "none")
        with self._show(plan, found, len(done)) as show:
            aside = set(rows.aside())
            if aside:
                show.news(said.set_aside(aside), None)
            driver = Driver(
                {job.job.number: job for job in plan.jobs},
                found.manifest,
                crew,
                show,
                held.used,
                Shares(Meter(self.engine.env[Devices].device).joules) if here else None,
                aside,
                plan.runs if crew.alone and not plan.lazy else None,
            )
            driver.run()
        return driver

    # ------------------------------------------------------------ what is said

    def _show(self, plan: BatchPlan, found: Standing, done: int) -> Board | said.Lines:
        if self.asked.as_json:
            return said.Lines()
        names = {job.number: (*job.names, f"job {job.number}")[0] for job in self.batch.jobs}
        titles = {id: said.title(self.batch, id) for id in self.batch.workflow.nodes}
        failed = sum(
            line["status"] != "success" for n, line in found.manifest.lines.items() if n in found.done
        )
        return Board(people, len(self.batch.jobs), done, plan.runs, names, titles, failed)

    def _say_plan(self, plan: BatchPlan, found: Standing) -> None:
        if self.asked.as_json:
            say_line(said.plan_json(self.batch, plan, found))
        else:
            said.show_plan(people, self.batch, plan, found)

    def _say_end(self, found: Standing, driver: Driver | None, seconds: float) -> int:
        lines = found.manifest.lines
        failed = any(line["status"] != "success" for line in lines.values())
        if self.asked.as_json:
            status = "error" if failed else "success"
            say_line(said.end_json(status, lines, len(self.batch.jobs), driver, seconds))
        else:
            said.show_end(people, list(lines.values()), driver, seconds, self.asked.output)
        return 1 if failed else 0

    def _say_stopped(self, found: Standing, driver: Driver, seconds: float) -> int:
        lines = found.manifest.lines
        if self.asked.as_json:
            say_line(said.end_json("cancelled", lines, len(self.batch.jobs), driver, seconds))
        else:
            said.show_stopped(people, len(self.batch.jobs) - len(driver.left), len(self.batch.jobs))
        return 130

    def _broken(self, error: Exception) -> int:
        """What keeps a batch from going on; what was finished is kept."""
        text = f"{error.strerror or error}" if isinstance(error, OSError) else f"{error}"
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename}: {text}"
        if self.asked.as_json:
            hint = "mend that; the same command goes on"
            say_line({"event": "problem", **Problem("broken_off", text, hint=hint).as_json()})
            say_line({"event": "finished", "status": "error"})
        else:
            said.show_broken(people, text)
        return 1

    def _write_sheet(self, found: Standing) -> None:
        lines = found.manifest.lines
        try:
            from server.batch.contact_sheet import write_contact_sheet

            with self._busy("drawing the contact sheet"):
                write_contact_sheet(self.folder.path, self.batch, [lines[n] for n in sorted(lines)])
        except Exception as error:  # the pictures are there, whatever is wrong with the sheet of them
            log.warning("the contact sheet cannot be written: %s", error)
            log.debug("because of", exc_info=True)


@contextlib.contextmanager
def _queue(url: str) -> Iterator[Queue]:
    queue = Queue(open_database(url), EVERY_JOB)
    try:
        yield queue
    finally:
        queue.close()
