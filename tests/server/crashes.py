"""End a server at random, or at the n-th change of its disk, and look whether its promises held."""

import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.server.asking import ask, outputs, post, recorded, rows, sha256, sound, until_empty
from tests.server.faulty import ENDED, EXIT_AT, FAIL_AT, Process, expected, prompt


@dataclass
class Tally:
    """What became of the prompts that were sent while servers were killed."""

    kills: int = 0
    accepted: list[int] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    """Prompts whose answer was cut off: they may be recorded or not."""
    wrong: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    again: int = 0
    """Jobs that were begun more than once."""


def send_until_killed(tally: Tally, process: Process, moment: float, first: int) -> int:
    """Send prompts from two threads until the server is killed; gives the next number."""
    numbers = iter(range(first, first + 100_000))
    lock = threading.Lock()
    last = first

    def go() -> None:
        nonlocal last
        while True:
            with lock:
                last = n = next(numbers)
            try:
                if post(process.address, prompt(n, f"job{n}"), f"id{n}") == 200:
                    tally.accepted.append(n)
            except OSError:
                tally.unanswered.append(n)
                return

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    killer = threading.Timer(moment, process.kill)
    killer.start()
    for thread in threads:
        thread.join()
    killer.join()
    tally.kills += 1
    return last + 1


def kill_often(base: Path, kills: int, seed: int = 1, longest: float = 0.25) -> Tally:
    """Kill servers at random moments while prompts are sent; then let the last one finish, and look."""
    tally, chance, n = Tally(), random.Random(seed), 1
    for _ in range(kills):
        n = send_until_killed(tally, Process(base), chance.uniform(0, longest), n)
        if not sound(base):
            tally.wrong.append(f"database after kill {tally.kills}")
    process = Process(base)
    until_empty(process.address, 120)
    assert process.terminate() == 0
    look(tally, base)
    return tally


def look(tally: Tally, base: Path) -> None:
    """Note everything that is not as promised."""
    found = outputs(base)
    jobs = {row["id"]: row for row in rows(base)}
    if not sound(base):
        tally.wrong.append("database at the end")
    tally.wrong += [f"lost: {n}" for n in tally.accepted if f"id{n}" not in jobs]
    known = {f"id{n}" for n in (*tally.accepted, *tally.unanswered)}
    tally.wrong += [f"from nowhere: {id}" for id in jobs.keys() - known]
    for id, row in jobs.items():
        n = int(id[2:])
        tally.ended[row["status"]] += 1
        tally.again += row["attempt"] > 1
        mine = {name for name in found if name.startswith(f"job{n}_")}
        if row["status"] == "success":
            name = f"job{n}_00001_.png"
            if mine != {name} or found[name] != expected(n):
                tally.wrong.append(f"outputs of {id}: {mine}")
            elif recorded(row) != [(name, sha256(found[name]))]:
                tally.wrong.append(f"record of {id}: {recorded(row)}")
        elif row["status"] != "error" or "interrupted 3 times" not in row["ending"]:
            tally.wrong.append(f"{id} is {row['status']}: {row['ending']}")
    tally.wrong += [f"draft: {name}" for name in found if ".draft-" in name]
    tally.wrong += [f"half: {n}" for n, data in found.items() if not data.endswith(b"IEND\xaeB`\x82")]


COLOR, NAME = 0x123456, "sub/one_00001_.png"


def end_at_each_change(folder: Path, from_start: bool = False) -> tuple[int, list[str]]:
    """End the process at the n-th change of the disk by one prompt, for all n until it survives.

    Args:
        from_start: Whether the changes of a start that finds an interrupted job are counted, too.

    Returns:
        How many points there are, and what was not as promised.
    """
    wrong: list[str] = []
    for n in range(1, 200):
        base = folder / str(n)
        if from_start:
            interrupt(base)
        process = Process(base, {EXIT_AT: str(n)}, from_start=from_start)
        answered = 0
        if process.address and not from_start:
            try:
                answered = post(process.address, prompt(COLOR, "sub/one"), "one")
            except OSError:
                answered = 0
        survived = until_survived(process, base)
        wrong += [f"{n}: {w}" for w in between(base, answered == 200 or from_start)]
        if survived:
            return n - 1, wrong
        wrong += [f"{n}: after the restart, {w}" for w in finished_by_restart(base)]
    raise AssertionError("it never survives")


def interrupt(base: Path) -> None:
    """Leave a job behind that was begun and not ended."""
    process = Process(base)
    post(process.address, prompt(COLOR, "sub/one", "Die"), "one")
    assert process.wait() == ENDED
    connection_change(base, json.dumps(prompt(COLOR, "sub/one")))


def connection_change(base: Path, text: str) -> None:
    with sqlite3.connect(base / "user" / "latentgraph.sqlite") as connection:
        connection.execute("UPDATE jobs SET prompt = ?", (text,))
    connection.close()


def until_survived(process: Process, base: Path) -> bool:
    """Whether the process lives on after the job has ended."""
    if process.address:
        try:
            until_empty(process.address)
        except OSError:
            pass
        else:
            if process.wait(0) is None:
                process.kill()
                return True
    assert process.wait() == ENDED, process.wait(0)
    return False


def between(base: Path, answered: bool) -> Iterator[str]:
    """What is neither the state before nor the state after."""
    if not (base / "user" / "latentgraph.sqlite").exists():
        if answered:
            yield "lost with the database"
        return
    if not sound(base):
        yield "the database is damaged"
    jobs = rows(base) if rows(base, "SELECT 1 FROM sqlite_master WHERE name = 'jobs'") else []
    whole = {name: data for name, data in outputs(base).items() if ".draft-" not in name}
    if answered and not jobs:
        yield "lost"
    if whole not in ({}, {NAME: expected(COLOR)}):
        yield f"half-written: {list(whole)}"
    for job in jobs:
        if job["status"] not in ("pending", "running", "success"):
            yield f"ended as {job['status']}: {job['ending']}"
        if job["status"] == "success" and recorded(job) != [(NAME, sha256(expected(COLOR)))]:
            yield f"recorded {recorded(job)}"
        if job["status"] == "success" and not whole:
            yield "done without output"


def finished_by_restart(base: Path) -> Iterator[str]:
    """What is wrong after a start without faults, and the client's trying again."""
    process = Process(base)
    try:
        if not rows(base) and post(process.address, prompt(COLOR, "sub/one"), "one") != 200:
            yield "it is not accepted a second time"
        until_empty(process.address)
        history = ask(process.address, "GET", "/history")[1]
        if [h["status"]["status_str"] for h in history.values()] != ["success"]:
            yield f"history {history}"
    finally:
        process.kill()
    if outputs(base) != {NAME: expected(COLOR)}:
        yield f"outputs {list(outputs(base))}"
    if not sound(base):
        yield "the database is damaged"


POINTS = 24
"""More than one prompt has changes of the disk."""


def fail_at_each_call(
    folder: Path, code: str, lasting: bool, stride: int = 1
) -> tuple[int, Counter[str], list[str]]:
    """Fail the n-th change of the disk by one prompt (and all after it, if lasting), for all n.

    Returns:
        How many points were tried, what POST answered and the job's status, and what was not as promised.
    """
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    for n in range(1, POINTS, stride):
        base, mended = folder / f"{code}{n}", folder / f"mended-{code}{n}"
        environ = {FAIL_AT: f"{n}{'+' if lasting else ''}:{code}", "LATENTGRAPH_TEST_MEND": str(mended)}
        process = Process(base, environ)
        try:
            status = post(process.address, prompt(COLOR, "sub/one"), "one")
            seen[f"POST {status}"] += 1
            if status not in (200, 503):
                wrong.append(f"{n}: POST answers {status}")
            if lasting and status == 200:
                wait_for_trouble(process)
                mended.touch()
            until_empty(process.address)
            wrong += [f"{n}: {w}" for w in false_success(base, status, lasting)]
            seen.update(row["status"] for row in rows(base, "SELECT status FROM jobs"))
            mended.touch()
            if post(process.address, prompt(1, "next"), "next") != 200:
                wrong.append(f"{n}: does not work again")
            until_empty(process.address)
            if outputs(base).get("next_00001_.png") != expected(1):
                wrong.append(f"{n}: the next has no output")
            if process.wait(0) is not None:
                wrong.append(f"{n}: it ended")
        except OSError as error:
            wrong.append(f"{n}: {error!r}")
        finally:
            process.kill()
    return len(range(1, POINTS, stride)), seen, wrong


def wait_for_trouble(process: Process) -> None:
    """Give the job the time to run into the lasting fault."""
    threading.Event().wait(0.3)


def false_success(base: Path, status: int, lasting: bool) -> Iterator[str]:
    """A success without its file, an acceptance that is not recorded, an error that left its file behind."""
    jobs = {row["id"]: row for row in rows(base)}
    whole = {name: data for name, data in outputs(base).items() if ".draft-" not in name}
    if status == 200 and "one" not in jobs:
        yield "lost"
    for job in jobs.values():
        if job["status"] == "success" and whole != {NAME: expected(COLOR)}:
            yield f"done without output: {list(whole)}"
        if job["status"] == "error" and whole and not lasting:
            yield f"an error that left {list(whole)}"
        if job["status"] not in ("success", "error"):
            yield f"not ended: {job['status']}"
    if not sound(base):
        yield "the database is damaged"
