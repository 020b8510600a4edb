"""The folders a job may read and write, by role: safe names, content hashes, numbered outputs."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from engine.drafts import NameBook, create, draft, last_numbers, make_folder, sync_folder
from engine.folders import MODEL_ROLES, SAVED_MODELS, content_hash, listed, model_parts
from engine.paths import inside, resolved
from engine.problems import NodeFailure

WEIGHT_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")


class DigestMemo(Protocol):
    """Remembers the content hash of a file by what changes with it."""

    def recall(self, path: str, stamp: str) -> str | None:
        """The hash of `path` as it was when it had this stamp, or None."""
        ...

    def remember(self, path: str, stamp: str, digest: str) -> None:
        """Keep the hash of `path` for this stamp."""
        ...


@dataclass(frozen=True)
class SavedFile:
    """A file that a job wrote, as workflows and clients name it."""

    filename: str
    subfolder: str
    type: str
    sha256: str

    def as_link(self) -> dict[str, str]:
        """The entry for `Shown.ui`: `filename`, `subfolder`, `type`, and the content's sha256."""
        return {
            "filename": self.filename,
            "subfolder": self.subfolder,
            "type": self.type,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Files:
    """Folders by role, in the ecosystem's layout under one base folder.

    Args:
        folders: For each role ("checkpoints", "input", "output", "temp") the folders searched, in order; the
            first of "output" and "temp" is written to.
        items: Files and model folders that come with the program, by role and name.
        memo: Where content hashes are remembered; None hashes again each time.
        book: Where a job's output names are reserved before the files appear; None reserves none.
        own_names: Whether no other job's names begin as this one's; they count from 1 whatever is there.
        written: Where `facts` of what is written are kept, by sha256; for one job.
    """

    folders: Mapping[str, tuple[Path, ...]]
    items: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    memo: DigestMemo | None = None
    book: NameBook | None = None
    own_names: bool = False
    written: dict[str, tuple[str, int]] | None = None
    _counters: dict[Path, dict[str, int]] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def under(
        cls,
        base: Path,
        *,
        instead: Mapping[str, Path | None] | None = None,
        items: Mapping[str, Mapping[str, Path]] | None = None,
        extra: Mapping[str, Iterable[Path]] | None = None,
        memo: DigestMemo | None = None,
    ) -> "Files":
        """The usual folders under a base directory: `models/<role>`, `input`, `output`, `temp`.

        Args:
            instead: Other folders for "input", "output" and "temp".
            extra: More folders to search, by role.
        """
        folders: dict[str, tuple[Path, ...]] = {role: (base / "models" / role,) for role in MODEL_ROLES}
        folders["diffusion_models"] += (base / "models" / "unet",)
        folders["text_encoders"] += (base / "models" / "clip",)
        for role in ("input", "output", "temp"):
            folders[role] = ((instead or {}).get(role) or base / role,)
        for role, saved in SAVED_MODELS.items():
            folders[role] += (folders["output"][0] / saved,)
        for role, more in (extra or {}).items():
            folders[role] = (*folders.get(role, ()), *more)
        return cls(folders, items or {}, memo)

    def root(self, role: str) -> Path:
        """The first folder of a role with its links followed."""
        return resolved(self.folders[role][0])

    def names(self, role: str, suffixes: Sequence[str] = ()) -> list[str]:
        """What can be chosen for a role: files by relative path with `/`, and model folders by their name."""
        found = set(self.items.get(role, {}))
        for folder in self.folders.get(role, ()):
            found.update(listed(folder, tuple(suffixes)))
        return sorted(found)

    def find(self, role: str, name: str) -> Path:
        """The file or model folder that `name` means.

        Raises:
            NodeFailure: There is none, or the name leads out of the folder.
        """
        name = name.replace("\\", "/")
        if name in self.items.get(role, {}):
            return self.items[role][name]
        for folder in self.folders.get(role, ()):
            path = inside(folder, name, follow=role not in MODEL_ROLES)
            if path != folder.resolve() and _exists(path):
                return path
        looked = ", ".join(str(f) for f in self.folders.get(role, ())) or "nowhere: the role has no folder"
        raise NodeFailure(f"no file {name!r} in the {role} folder", f"looked in {looked}")

    def digest(self, role: str, name: str) -> str:
        """The content hash (blake3) of a file, or of a model folder's parts."""
        path = self.find(role, name)
        if not path.is_dir():
            return self._file_digest(path)
        lines = [f"{p.relative_to(path).as_posix()}\0{self._file_digest(p)}\n" for p in model_parts(path)]
        return blake3("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def _file_digest(self, path: Path) -> str:
        found = path.stat()
        stamp = f"{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"
        known = self.memo.recall(str(path), stamp) if self.memo else None
        if known is not None:
            return known
        digest = content_hash(path)
        if self.memo:
            self.memo.remember(str(path), stamp, digest)
        return digest

    def write(
        self, role: str, prefix: str, suffix: str, content: bytes | Callable[[Path], object]
    ) -> SavedFile:
        """Write a new numbered file, whole or not at all, never over another: `prefix_00001_.png`.

        Args:
            role: "output" or "temp".
            prefix: May hold subfolders, which stay inside the role's folder.
            content: The bytes, or something that writes them to the path it is given.

        Raises:
            NodeFailure: The folder cannot be written to, or the prefix leads out of it.
        """
        root = self.root(role)
        name = prefix.replace("\\", "/") + "_"
        target = inside(self.folders[role][0], name, follow="/" in name, root=root)
        folder, stem = target.parent, target.name
        try:
            make_folder(folder)
            if role == "temp" and isinstance(content, bytes):  # emptied at the next start: no draft, no sync
                digest = hashlib.sha256(content).hexdigest()
                path = self._claim(lambda p: create(p, content), digest, folder, stem, suffix, None)
            else:
                path, digest = self._drafted(content, folder, stem, suffix, lasting=role != "temp")
        except OSError as error:
            raise NodeFailure(
                f"could not write to {folder}: {error.strerror or error}",
                "free some space or choose another folder",
            ) from error
        if isinstance(content, bytes) and self.written is not None:
            self.written[digest] = blake3(content).hexdigest(), len(content)
        subfolder = str(folder)[len(str(root)) :].strip(os.sep).replace(os.sep, "/")
        return SavedFile(os.path.basename(path), subfolder, role, digest)  # noqa: PTH119  (a text, as above)

    def _drafted(
        self, content: bytes | Callable[[Path], object], folder: Path, stem: str, suffix: str, lasting: bool
    ) -> tuple[str, str]:
        written = draft(folder, suffix, content, lasting)
        try:
            digest = self.sha256(written)
            book = self.book if lasting else None
            path = book and self._reserved(book, written, digest, folder, stem)
            path = path or self._claim(lambda p: os.link(written, p), digest, folder, stem, suffix, book)
        finally:
            with contextlib.suppress(OSError):  # what cannot be removed is swept at the next start
                written.unlink(missing_ok=True)
        if lasting:
            _keep(Path(path))
        return path, digest

    def _claim(
        self,
        place: Callable[[str], object],
        digest: str,
        folder: Path,
        stem: str,
        suffix: str,
        book: NameBook | None,
    ) -> str:
        """Place a file under the next number; `place` raises where a name is taken: none is overwritten.

        Its path is a text: every preview passes here, and pathlib takes several times as long.
        """
        with self._lock:
            numbers = self._counters.get(folder)
            if numbers is None:
                numbers = self._counters[folder] = {} if self.own_names else last_numbers(folder)
            number = numbers.get(stem.lower(), 0)
            while True:
                number += 1
                path = os.path.join(folder, f"{stem}{number:05}_{suffix}")  # noqa: PTH118
                if book:
                    if os.path.exists(path):  # noqa: PTH110
                        continue
                    book.reserve(path, digest)
                try:
                    place(path)
                except FileExistsError:
                    continue
                numbers[stem.lower()] = number
                return path

    def _reserved(self, book: NameBook, written: Path, digest: str, folder: Path, stem: str) -> str | None:
        """Where an earlier attempt put, or was about to put, this very content."""
        while (name := book.reserved(digest, folder, stem)) is not None:
            try:
                os.link(written, name)
            except FileExistsError:
                if self.sha256(Path(name)) != digest:
                    continue
            return name
        return None

    def sha256(self, path: Path) -> str:
        """The sha256 of a file's bytes, as outputs are recorded with."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def facts(self, path: Path, sha256: str) -> tuple[str, int]:
        """The blake3 and the bytes of an output; one that this job wrote is not read again.

        Raises:
            OSError: It cannot be read.
        """
        return (self.written or {}).get(sha256) or (content_hash(path), path.stat().st_size)

    def saved(self, link: Mapping[str, str]) -> Path | None:
        """The path of an output named by a `SavedFile.as_link()`, if it is there."""
        if link.get("type") not in ("output", "temp"):
            return None
        subfolder, filename = link.get("subfolder", ""), link.get("filename", "")
        if not isinstance(subfolder, str) or not isinstance(filename, str):
            return None
        try:
            name = f"{subfolder}/{filename}" if subfolder else filename
            path = inside(self.folders[link["type"]][0], name, root=self.root(link["type"]))
            return path if path.is_file() else None
        except (NodeFailure, OSError):
            return None


def _keep(path: Path) -> None:
    """Make a new file's name survive power loss; where that fails there is no file."""
    try:
        sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be read
        return False
