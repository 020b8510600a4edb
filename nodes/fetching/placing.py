"""Fetched files under their final name: there whole and checked, or not at all.

Until then they lie in `.fetch` beside it, a hidden folder that no loader lists and another try goes on in.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.drafts import make_folder, sync_folder
from engine.paths import inside
from nodes.fetching.hub import FetchFailed, RemoteFile, Repository, download, refused

STAGE = ".fetch"

Report = Callable[[str, int], None]
"""Told which file comes, and how many bytes of all are here."""


@dataclass(frozen=True)
class Wanted:
    """Files of a repository and where they go.

    Args:
        models: The folder of the model folders.
        role: The model folder.
        name: Of the folder that they make there, or of the file that `files[0]` becomes.
        is_folder: Which of the two.
    """

    repository: Repository
    files: tuple[RemoteFile, ...]
    models: Path
    role: str
    name: str
    is_folder: bool

    @property
    def target(self) -> Path:
        """The folder or the file."""
        return self.models / self.role / self.name

    @property
    def size(self) -> int:
        """The bytes of all."""
        return sum(f.size for f in self.files)

    def at(self, file: RemoteFile, folder: Path) -> Path:
        """Where a file goes in the target or in what becomes it.

        Raises:
            NodeFailure: Its name leads out of the folder.
        """
        return inside(folder, file.path if self.is_folder else self.target.name)


def place(wanted: Wanted, begin: Callable[[int], None], report: Report) -> bool:
    """Bring the files to their target; False where they are there already.

    Args:
        begin: Told how many bytes an earlier try left, before any come.

    Raises:
        WorkflowError: Something else has the target's name.
        FetchFailed: The hub, the connection or the disk does not give what is needed.
        OSError: It cannot be written.
    """
    stage = wanted.target.parent / STAGE / f"{wanted.repository.id.replace('/', '--')}--{wanted.target.name}"
    if _is_there(wanted):
        return False
    make_folder(stage.parent)
    with _alone(stage):
        if _is_there(wanted):  # the one that we waited for brought it
            return False
        make_folder(stage)
        parts = {f: _part(wanted.at(f, stage), f) for f in wanted.files}
        whole = {f for f in wanted.files if f.is_at(wanted.at(f, stage))}
        _clear(stage, {*parts.values(), *(wanted.at(f, stage) for f in whole)})
        had = {f: f.size if f in whole else _size(part) for f, part in parts.items()}
        _check_space(stage, wanted.size - sum(had.values()))
        begin(sum(had.values()))
        for file in wanted.files:
            others = sum(had.values()) - had[file]
            if file not in whole:
                _bring(wanted, file, stage, partial(_told, report, file.path, others))
            had[file] = file.size
        (stage if wanted.is_folder else wanted.at(wanted.files[0], stage)).rename(wanted.target)
        sync_folder(wanted.target.parent)
        shutil.rmtree(stage, ignore_errors=True)
    with suppress(OSError):  # another fetch is using it
        stage.parent.rmdir()
    return True


def _told(report: Report, path: str, others: int, here: int) -> None:
    report(path, others + here)


def _bring(wanted: Wanted, file: RemoteFile, stage: Path, report: Callable[[int], None]) -> None:
    whole = wanted.at(file, stage)
    part = _part(whole, file)
    make_folder(part.parent)
    download(wanted.repository, file, part, report)
    if not file.is_at(part):
        part.unlink()
        raise FetchFailed(
            f"{file.path} came damaged: its content is not what the hub says",
            "run the command again; it is fetched anew",
        )
    part.rename(whole)
    sync_folder(whole.parent)


def _is_there(wanted: Wanted) -> bool:
    """Whether the target is what is wanted already.

    Raises:
        WorkflowError: It is something else.
    """
    target = wanted.target
    if not target.exists() and not target.is_symlink():
        return False
    folder = target if wanted.is_folder else target.parent
    if all(file.is_at(wanted.at(file, folder)) for file in wanted.files):
        return True
    raise refused(
        f"{target} is there already, and is something else", "move it away, or fetch --to another folder"
    )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        where = folder.parents[1]
        raise FetchFailed(
            f"no room: {needed / 1e9:.2f} GB are to come, {free / 1e9:.2f} GB are free at {where}",
            "make room, or name another --base-directory",
        )


def _part(whole: Path, file: RemoteFile) -> Path:
    """Where a file grows; by its content, so that a later version never goes on from an earlier one."""
    return whole.with_name(f"{whole.name}.{file.digest[:16]}.part")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _clear(stage: Path, kept: Iterable[Path]) -> None:
    """Remove what tries for another version left."""
    keep = set(kept)
    for path in list(stage.rglob("*")):
        if path.is_file() and path.resolve() not in keep:
            path.unlink()


@contextmanager
def _alone(stage: Path) -> Iterator[None]:
    """Hold a lock, which the kernel lets go when this process dies."""
    lock = stage.with_name(f"{stage.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchFailed("another process is fetching this", "wait until it is done") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
