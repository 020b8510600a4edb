"""The weight files of detectors: where they lie, what they are, and the networks they fill."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor, nn

from engine.devices import Devices
from engine.files import Files
from engine.problems import NodeFailure
from nodes.diffusion.tensors import tensors

ROLES = ("controlnet_aux", "annotators")
"""Model folders searched for weights, beside the folder in which the ecosystem's node pack keeps its own."""
_PACK = Path("custom_nodes", "comfyui_controlnet_aux", "ckpts")
_LINKED = "controlnet"
"""A role whose files may be links that lead elsewhere."""


@dataclass(frozen=True)
class WeightFile:
    """A file of weights on the Hugging Face hub.

    Args:
        repo: `owner/name`.
        name: Its path in the repository.
    """

    repo: str
    name: str

    def found(self, files: Files) -> Path:
        """Where the file lies: as `owner/name/path` or by its bare name, or converted to .safetensors.

        Raises:
            NodeFailure: It is in none of the folders.
        """
        if path := self.lying(looked := folders(files)):
            return path
        raise NodeFailure(
            f"no weights {PurePosixPath(self.name).name!r}: {self.name} of the hub repository {self.repo}",
            f"download https://huggingface.co/{self.repo}/resolve/main/{self.name} to "
            f"{looked[0] / self.repo / self.name if looked else 'a model folder'}; "
            f"looked in {', '.join(map(str, looked)) or 'no folder'}",
        )

    def lying(self, looked: Iterable[Path]) -> Path | None:
        """Where the file lies in the first of some folders that has it."""
        for folder in looked:
            for name in (f"{self.repo}/{self.name}", self.name, PurePosixPath(self.name).name):
                for path in (folder / name, (folder / name).with_suffix(".safetensors")):
                    if path.is_file():
                        return path
        return None


def folders(files: Files) -> tuple[Path, ...]:
    """The folders searched for detectors' weights, in order.

    Those of the roles "controlnet_aux" and "annotators", those of that name beside the checkpoints, and the
    node pack's own in the same ComfyUI folder.
    """
    models = [folder.parent for folder in files.folders.get("checkpoints", ())]
    stated = [folder for role in ROLES for folder in files.folders.get(role, ())]
    beside = [model / role for model in models for role in ROLES]
    return tuple(dict.fromkeys((*stated, *beside, *(model.parent / _PACK for model in models))))


@dataclass(frozen=True)
class Annotator:
    """A detector and the files that it is made of.

    Args:
        name: Whose weights they are, in a user's words.
        build: Makes the detector on a device from the tensors of each file.
        read: What is in a file, to be given to `build`.
    """

    name: str
    weights: tuple[WeightFile, ...]
    build: Callable[..., Any]
    read: Callable[[Path], Any] = tensors

    def digest(self, files: Files) -> str:
        """The content of its files.

        Raises:
            NodeFailure: One is missing.
        """
        return " ".join(content(files, weight.found(files)) for weight in self.weights)

    def loaded(self, files: Files, devices: Devices) -> Any:
        """The detector, ready to run; built at its first use and kept while memory allows.

        Raises:
            NodeFailure: A file is missing or holds something else.
        """
        paths = [weight.found(files) for weight in self.weights]
        key = (self.name, *(content(files, path) for path in paths))
        return devices.held(key, lambda: self._built(paths, devices.device), nbytes)

    def _built(self, paths: list[Path], device: str) -> Any:
        states = [self.read(path) for path in paths]
        with quiet():
            try:
                detector = self.build(device, *states)
            except UnfitWeights as error:
                names = " and ".join(path.name for path in paths)
                raise NodeFailure(
                    f"{names} does not hold {self.name}: {error}", "download it again"
                ) from error
        for module in modules(detector):
            module.to(device).requires_grad_(False)
        return detector


class UnfitWeights(ValueError):
    """Tensors that are not those of a network."""


def filled(module: nn.Module, state: Mapping[str, Tensor], may_lack: str = "num_batches_tracked") -> Any:
    """The module with its weights from a file, to be evaluated; what the file holds beyond them is left out.

    Args:
        may_lack: Part of the names of buffers that a file need not have.

    Raises:
        UnfitWeights: Some are missing or have another shape.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = module.state_dict()
    missing = [key for key in own if key not in state and may_lack not in key]
    if missing:
        raise UnfitWeights(f"it lacks {missing[0]!r} and {len(missing) - 1} more")
    for key in own.keys() & state.keys():
        if own[key].shape != state[key].shape:
            raise UnfitWeights(f"{key!r} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}")
    kept = {key: value for key, value in state.items() if key in own}
    nn.Module.load_state_dict(module, kept, strict=False)
    return module.eval()


def modules(detector: Any) -> Iterator[nn.Module]:
    """The networks in a detector."""
    if isinstance(detector, nn.Module):
        yield detector
    elif type(detector).__module__.startswith(("controlnet_aux.", __package__ or "")):
        for value in vars(detector).values():
            yield from modules(value)


def nbytes(detector: Any) -> int:
    """The bytes that a detector's networks take."""
    held = (t for module in modules(detector) for t in (*module.parameters(), *module.buffers()))
    return sum(t.nbytes for t in held)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what packages warn of, at import and while they build a network, from the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def silenced(module: Any) -> None:
    """Keep what a module prints from the terminal, without touching what other threads write there."""
    module.print = lambda *_, **__: None


def fingerprint_of(annotator: Annotator) -> Callable[..., str]:
    """The fingerprint of a node that uses this detector: the content of its weights."""

    def digest(*, files: Files) -> str:
        return annotator.digest(files)

    return digest


def content(files: Files, path: Path) -> str:
    """The content hash of a weight file."""
    return Files({_LINKED: (path.parent,)}, memo=files.memo).digest(_LINKED, path.name)
