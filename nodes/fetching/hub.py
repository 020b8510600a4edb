"""What the hub has, its files brought here, and its refusals in words.

Files come by `http_get`, which goes on where a file ends; `hf_hub_download` of huggingface_hub 2 writes each
try under a new name, and begins again after a kill.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from typing import IO, Any, cast

from engine.problems import Problem, WorkflowError, nearest

_CHUNK = 2**20
"""Bytes that a cut may lose, and between two reports."""

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG)


class FetchFailed(Exception):
    """The arguments are right, but the files could not be had: what happened, what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = message, hint
        super().__init__(message)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Args:
        path: Relative to the repository.
        size: In bytes.
        digest: The sha256 of a large file, the git blob id of another.
    """

    path: str
    size: int
    digest: str

    def is_at(self, path: Path) -> bool:
        """Whether `path` is a file of this very content; reads all of it."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        blob = len(self.digest) == 40
        hashed = sha1(f"blob {self.size}\0".encode(), usedforsecurity=False) if blob else sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
        return hashed.hexdigest() == self.digest


@dataclass(frozen=True)
class Repository:
    """The files of a repository at one commit, by path."""

    id: str
    commit: str
    files: Mapping[str, RemoteFile]


def look_up(id: str, revision: str | None) -> Repository:
    """A repository as it is now at a branch, tag or commit.

    Raises:
        WorkflowError: There is none of that name.
        FetchFailed: The hub cannot be reached, or does not let us in.
    """
    from huggingface_hub import HfApi

    with said(id, revision):
        info = HfApi().model_info(id, revision=revision or "main", files_metadata=True, timeout=30)
    files = {
        s.rfilename: RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else s.blob_id or "")
        for s in info.siblings or ()
    }
    return Repository(info.id, str(info.sha), files)


def read_json(repository: Repository, path: str) -> dict[str, Any]:
    """A small JSON file of a repository; empty where it holds no object.

    Raises:
        FetchFailed: The hub cannot be reached, or does not let us in.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = hf_hub_url(repository.id, path, revision=repository.commit)
    with said(repository.id, repository.commit):
        answer = get_session().get(url, headers=build_hf_headers(), timeout=30)
        hf_raise_for_status(answer)
        try:
            found = answer.json()
        except ValueError:
            found = None
    return found if isinstance(found, dict) else {}


def tensor_shapes(repository: Repository, path: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's tensors, from its head alone; empty for any other file.

    Raises:
        FetchFailed: The hub cannot be reached, or does not let us in.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import SafetensorsParsingError

    if not path.endswith((".safetensors", ".sft")):
        return {}
    try:
        with said(repository.id, repository.commit):
            head = HfApi().parse_safetensors_file_metadata(repository.id, path, revision=repository.commit)
    except SafetensorsParsingError:
        return {}
    return {name: tuple(tensor.shape) for name, tensor in head.tensors.items()}


def download(repository: Repository, file: RemoteFile, part: Path, report: Callable[[int], None]) -> None:
    """Bring a file to `part`, from where `part` ends; a lost connection is taken up again while bytes come.

    Args:
        report: Told how many bytes of the file are here.

    Raises:
        FetchFailed: The hub cannot be reached, does not let us in, or sends something else.
        OSError: It cannot be written.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
    url = hf_hub_url(repository.id, file.path, revision=repository.commit)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    with part.open("ab") as out, said(repository.id, repository.commit):
        if out.tell() > file.size:
            out.truncate(0)
            out.seek(0)
        counted = cast(Any, _Counted(out, report))
        while (have := out.tell()) < file.size:
            try:
                http_get(url, counted, resume_size=have, headers=headers, expected_size=file.size)
            except HfHubHTTPError:
                raise
            except (HTTPError, OSError) as error:
                if _of_the_disk(error) or out.tell() <= have:
                    raise
        out.flush()
        os.fsync(out.fileno())


class _Counted:
    """A file that says how long it is whenever it is written to."""

    def __init__(self, file: IO[bytes], report: Callable[[int], None]) -> None:
        self._file, self._report = file, report

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._report(self._file.tell())
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def said(id: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's library raises into what to tell people."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HFValidationError as error:
        raise refused(f"{id!r} is no repository of the hub", "write OWNER/NAME or OWNER/NAME/FILE") from error
    except errors.OfflineModeIsEnabled as error:
        raise FetchFailed("HF_HUB_OFFLINE is set: the hub is not asked", "unset it to fetch") from error
    except errors.GatedRepoError as error:
        hub = constants.ENDPOINT
        raise FetchFailed(
            f"{id} is gated: the hub gives it only to those who accepted its terms",
            f"accept them at {hub}/{id}, make a token at {hub}/settings/tokens, and set HF_TOKEN to it",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise refused(f"{id} has no revision {revision!r}", "name a branch, tag or commit of it") from error
    except errors.RepositoryNotFoundError as error:
        raise refused(f"the hub has no repository {id}, or it is private", _alike(id)) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        hint = "check HF_TOKEN" if status in (401, 403) else "try again later: what has come is kept"
        raise FetchFailed(f"{constants.ENDPOINT} answered {status} for {id}", hint) from error
    except (errors.HTTPError, OSError) as error:
        if _of_the_disk(error):
            raise
        raise FetchFailed(
            f"lost or found no connection to {constants.ENDPOINT}: {error or type(error).__name__}",
            "check the network (and HF_ENDPOINT); what has come is kept, the same command goes on from there",
        ) from error


def refused(message: str, hint: str) -> WorkflowError:
    """What is wrong with the arguments."""
    return WorkflowError([Problem("bad_fetch", message, hint=hint)])


def _of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def _alike(id: str) -> str:
    """Repositories of a similar name; a token for private ones where there is none."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        found = [m.id for m in HfApi().list_models(search=id.rpartition("/")[2], limit=20)]
    except (HTTPError, OSError):
        found = []
    return nearest(id, found) or "check the name; for a private one set HF_TOKEN"
