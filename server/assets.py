"""Assets: records over files that are kept once by their blake3 hash, where nodes can read them as inputs."""

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import Connection, delete, select, update

from engine.drafts import draft, make_folder, sync_folder
from engine.files import Files
from engine.folders import content_hash
from server.inert import media_type
from server.queue.jobs import Job
from server.queue.store import Queue
from server.queue.tables import assets, blobs, uses
from server.receiving import Received, Receiving

FOLDER = ".assets"
"""In the input folder; hidden, so that its names are in no list of files to choose from."""
HASH = re.compile(r"blake3:[0-9a-f]{64}")
UNKNOWN = "application/octet-stream"
YOUNG_S = 3_600.0
"""Seconds for which a blob is kept though nothing refers to it: a submission may be about to."""
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")
_KIND = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}(\s*;\s*[\w-]{1,30}=[\w.\"-]{1,60})?", re.ASCII)

Also = Callable[[Connection, "Asset", bool], None]
"""What else to record in an asset's transaction; told whether its bytes are new here."""


class Gone(Exception):
    """The bytes of an asset are no longer there."""


@dataclass(frozen=True)
class Asset:
    """A record of a file that was uploaded, or that a job made.

    Args:
        hash: `blake3:<hex>`; None while nobody has asked for that of an output.
        job_id: The job that made it.
        output: Of an output: `type`, `subfolder` and `filename`, or `text`.
    """

    id: str
    hash: str | None
    size: int
    content_type: str
    file_path: str
    created: float
    tags: tuple[str, ...] = ()
    job_id: str | None = None
    output: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The bare file name."""
        return PurePosixPath(self.file_path).name or self.id


class Assets:
    """The assets of a server. Methods block, but for those that give a future.

    Names of blobs appear and vanish on the queue's writing thread only, so that none is deleted while it is
    being referred to.
    """

    def __init__(self, queue: Queue, files: Files) -> None:
        self._queue, self._files = queue, files
        self.folder = files.folders["input"][0] / FOLDER

    # ------------------------------------------------------------ new ones

    def keep(
        self, received: Received, tags: Sequence[str] = (), also: Also = lambda *_: None
    ) -> "Future[tuple[Asset, bool]]":
        """Make an asset of a received file; and whether its bytes were new here."""
        facts = (_kind(received), received.name or "upload.bin", time.time(), tuple(tags))
        asset = Asset(str(uuid.uuid4()), received.hash, received.size, *facts)

        def write(connection: Connection) -> tuple[Asset, bool]:
            new = self._blob(connection, received.path, asset)
            row = {k: v for k, v in vars(asset).items() if k not in ("tags", "output")}
            connection.execute(assets.insert().values(row | {"tags": json.dumps(asset.tags)}))
            also(connection, asset, new)
            return asset, new

        future = self._queue.writer.submit(write)
        future.add_done_callback(lambda _: received.discard())
        return future

    def hold(self, received: Received) -> "Future[str]":
        """Keep a received file without a record, for a job that will use it; gives its name for nodes."""
        asset = Asset("", received.hash, received.size, "", received.name, time.time())

        def write(connection: Connection) -> str:
            self._blob(connection, received.path, asset)
            return f"{FOLDER}/{self._named(asset)}"

        return self._queue.writer.submit(write)

    def again(self, digest: str, name: str) -> Received | None:
        """Content that is here, to be kept under another name; None if it is not here."""
        source = self._known(digest)
        found = self._linked(source, name or source.name) if source else None
        if found is not None and found.hash != digest:  # an output that somebody changed
            found.discard()
            return None
        return found

    def copied(self, path: Path, name: str) -> Received:
        """A file of the input or output folder, to be kept; it stays where it is."""
        return self._linked(path, name)

    def has(self, digest: str) -> bool:
        """Whether content is here."""
        return self._known(digest) is not None

    # ------------------------------------------------------------ those that are there

    def get(self, id: str) -> Asset | None:
        """The asset of an id."""
        question = select(*assets.c).where(assets.c.id == id)
        row = self._queue.read(lambda connection: connection.execute(question).mappings().one_or_none())
        if row is None:
            return None
        output = json.loads(row["output"]) if row["output"] else None
        return Asset(**{**row, "tags": tuple(json.loads(row["tags"])), "output": output})

    def path(self, asset: Asset) -> Path:
        """Where its bytes are.

        Raises:
            Gone: They are not there any more.
        """
        if asset.output is not None and "filename" in asset.output:
            found = self._files.saved(asset.output)
        else:
            found = self._known(asset.hash) if asset.hash else None
        if found is None:
            raise Gone(f"the bytes of asset {asset.id} ({asset.file_path}) are no longer there")
        return found

    def as_input(self, asset: Asset) -> tuple[str, str]:
        """The name under which nodes read it from the input folder, and its hash.

        An output gets a second name there, so that it stays what it is.

        Raises:
            Gone: Its bytes are not there any more.
        """
        if asset.output is None and asset.hash and (self.folder / self._named(asset)).is_file():
            return f"{FOLDER}/{self._named(asset)}", asset.hash
        if asset.output is not None and "text" in asset.output:
            receiving = Receiving(self.folder)
            receiving.write(asset.output["text"].encode("utf-8", "replace"))
            received = receiving.end(asset.name)
        else:
            received = self._linked(self.path(asset), asset.name)
        try:
            known = replace(asset, hash=received.hash, size=received.size)
            self._queue.writer.submit(lambda connection: self._adopt(connection, received, known)).result()
            return f"{FOLDER}/{self._named(known)}", received.hash
        finally:
            received.discard()

    def delete(self, id: str) -> bool:
        """Remove an asset, and its bytes if nothing else needs them; whether there was one."""

        def write(connection: Connection) -> bool:
            gone = delete(assets).where(assets.c.id == id).returning(assets.c.hash, assets.c.output)
            found = connection.execute(gone).one_or_none()
            if found is None:
                return False
            digest, output = found
            same = select(assets.c.id).where(assets.c.output == output).limit(1)
            if output is not None and connection.scalar(same) is None:
                path = self._files.saved(json.loads(output))
                if path is not None:
                    path.unlink(missing_ok=True)
            if digest is not None:
                self._sweep(connection, blobs.c.hash == digest)
            return True

        return self._queue.writer.submit(write).result()

    def sweep(self, older_than: float = YOUNG_S) -> "Future[int]":
        """Remove what nothing refers to any more, once it is so many seconds old; gives how many blobs."""
        old = blobs.c.created < time.time() - older_than
        return self._queue.writer.submit(lambda connection: self._sweep(connection, old))

    # ------------------------------------------------------------ within a transaction

    @staticmethod
    def used(connection: Connection, job: Job, hashes: Iterable[str]) -> None:
        """Note the contents that a job reads: they are kept as long as it is."""
        rows = [{"seq": job.seq, "hash": digest} for digest in hashes]
        if rows:
            connection.execute(uses.insert(), rows)

    def _adopt(self, connection: Connection, received: Received, asset: Asset) -> None:
        self._blob(connection, received.path, asset)
        mine = update(assets).where(assets.c.id == asset.id, assets.c.hash.is_(None))
        connection.execute(mine.values(hash=asset.hash, size=asset.size))

    def _blob(self, connection: Connection, source: Path, asset: Asset) -> bool:
        """Give a draft its name by content; whether the content is new here."""
        path = self.folder / self._named(asset)
        if not path.exists():
            try:
                os.link(source, path)
            except OSError:  # a disk without links
                source.replace(path)
            sync_folder(self.folder)
        found = {"path": path.name, "created": time.time()}
        known = update(blobs).where(blobs.c.hash == asset.hash).values(found)
        if connection.execute(known).rowcount:
            return False
        connection.execute(blobs.insert().values(found | {"hash": asset.hash, "size": asset.size}))
        return True

    def _sweep(self, connection: Connection, which: Any) -> int:
        used = select(uses.c.hash).where(uses.c.hash == blobs.c.hash).exists()
        kept = select(assets.c.hash).where(assets.c.hash == blobs.c.hash, assets.c.job_id.is_(None)).exists()
        gone = delete(blobs).where(which, ~used, ~kept).returning(blobs.c.hash)
        hashes = list(connection.scalars(gone))
        for digest in hashes:
            for path in self.folder.glob(f"{digest.removeprefix('blake3:')}*"):
                path.unlink(missing_ok=True)
        return len(hashes)

    # ------------------------------------------------------------ names

    def _named(self, asset: Asset) -> str:
        suffix = PurePosixPath(asset.file_path).suffix
        assert asset.hash
        return asset.hash.removeprefix("blake3:") + (suffix.lower() if _SUFFIX.fullmatch(suffix) else "")

    def _known(self, digest: str) -> Path | None:
        """A file with this content, an uploaded one or an output."""
        blob = select(blobs.c.path).where(blobs.c.hash == digest)
        made = select(assets.c.output).where(assets.c.hash == digest, assets.c.output.is_not(None))
        name: str | None = self._queue.read(lambda connection: connection.scalar(blob))
        if name is not None and (self.folder / name).is_file():
            return self.folder / name
        for text in self._queue.read(lambda connection: list(connection.scalars(made))):
            if path := self._files.saved(json.loads(text)):
                return path
        return None

    def _linked(self, path: Path, name: str) -> Received:
        """A second name of a file, for nothing on the same disk; hashed anew."""
        make_folder(self.folder)
        near = draft(self.folder, "", lambda empty: _relinked(path, empty))
        digest = content_hash(near)
        return Received(near, f"blake3:{digest}", near.stat().st_size, name, media_type(name))


def _kind(received: Received) -> str:
    """What it says it is, where that is a media type; else what its name says."""
    said = received.content_type
    stated = said if _KIND.fullmatch(said) and said != UNKNOWN else ""
    return stated or media_type(received.name) or UNKNOWN


def _relinked(source: Path, path: Path) -> None:
    path.unlink()
    try:
        os.link(source, path)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, path)
