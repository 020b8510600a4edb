"""The link types of image generation, by the names workflows use."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeAlias

from torch import Tensor

from engine.ports import Hint, Port, Range
from engine.problems import NodeFailure
from engine.steps import Steps

Image: TypeAlias = Annotated[Tensor, Port("IMAGE")]  # [B, H, W, C] float32, 0..1, sRGB
Mask: TypeAlias = Annotated[Tensor, Port("MASK")]  # [B, H, W] float32, 0..1; 1 = masked
Sigmas: TypeAlias = Annotated[Tensor, Port("SIGMAS")]  # [n + 1] float32, falling, usually to 0
Seed: TypeAlias = Annotated[int, Range(0, 2**64 - 1), Hint("control_after_generate")]
Fraction: TypeAlias = Annotated[float, Range(0.0, 1.0, step=0.01)]
Json: TypeAlias = Any


@Port("LATENT", stored=True)
@dataclass(frozen=True)
class Latent:
    """VAE-encoded pictures, in the VAE's own (unscaled) space.

    Args:
        samples: [B, C, H/8, W/8] float32.
        noise_mask: [B or 1, 1, H, W], 1 = may change; None changes everything.
        batch_index: For each item the index its noise is drawn for; None counts from 0.
    """

    samples: Tensor
    noise_mask: Tensor | None = None
    batch_index: tuple[int, ...] | None = None

    def with_samples(self, samples: Tensor) -> "Latent":
        """The same latent with other samples."""
        return replace(self, samples=samples)

    def as_plain(self) -> dict[str, Any]:
        """The dict that nodes of the ecosystem know a latent as."""
        index = None if self.batch_index is None else list(self.batch_index)
        found = {"samples": self.samples, "noise_mask": self.noise_mask, "batch_index": index}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_plain(cls, value: Any) -> "Latent":
        """The latent that such a dict holds; what else stands in it is left out.

        Raises:
            NodeFailure: It holds no samples.
        """
        if not isinstance(value, dict) or not isinstance(value.get("samples"), Tensor):
            raise NodeFailure(f"a latent is a dict with samples, found {value!r:.60}")
        index = value.get("batch_index")
        return cls(value["samples"], value.get("noise_mask"), None if index is None else tuple(index))


@dataclass(frozen=True)
class Cond:
    """One entry of a conditioning.

    Args:
        embedding: [1, T, C] token embeddings.
        pooled: [1, D] pooled embedding, where the text encoder has one.
        options: What else the ecosystem keeps beside an embedding, by its names ("strength", "area", "mask",
            "start_percent", "end_percent", "control": tuple of ControlNet uses), sorted by name.
    """

    embedding: Tensor
    pooled: Tensor | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The option of this name, or `default`."""
        return dict(self.options).get(name, default)

    def with_options(self, **options: Any) -> "Cond":
        """The same entry with some options set."""
        return replace(self, options=tuple(sorted({**dict(self.options), **options}.items())))


@Port("CONDITIONING", stored=True)
@dataclass(frozen=True)
class Conditioning:
    """An ordered list of embeddings with their options; predictions are averaged by strength and mask."""

    entries: tuple[Cond, ...]

    def mapped(self, change: Callable[[Cond], Cond]) -> "Conditioning":
        """The conditioning with `change` applied to each entry."""
        return Conditioning(tuple(map(change, self.entries)))

    def as_plain(self) -> list[list[Any]]:
        """The list of [embedding, options] that nodes of the ecosystem know a conditioning as."""
        return [[e.embedding, {"pooled_output": e.pooled, **dict(e.options)}] for e in self.entries]

    @classmethod
    def from_plain(cls, value: Any) -> "Conditioning":
        """The conditioning that such a list holds.

        Raises:
            NodeFailure: It is no such list.
        """
        try:
            pairs = [(embedding, dict(options)) for embedding, options in value]
        except (TypeError, ValueError):
            raise NodeFailure(
                f"a conditioning is a list of [embedding, options], found {value!r:.60}"
            ) from None
        return cls(tuple(Cond(e, o.pop("pooled_output", None), tuple(sorted(o.items()))) for e, o in pairs))


Port("COND", stored=True)(Cond)


@Port("NOISE")
@dataclass(frozen=True)
class Noise:
    """A source of initial noise: seeded standard normal, or zeros.

    Args:
        seed: 0..2**64-1; None gives zeros.
    """

    seed: int | None


@Port("SAMPLER")
@dataclass(frozen=True)
class SamplerChoice:
    """A sampler by name with its options, for the custom sampling nodes."""

    name: str
    options: tuple[tuple[str, float | int | str | bool], ...] = ()


Guide: TypeAlias = Callable[[Tensor, Tensor], Steps[Tensor]]
"""(x [B, C, h, w], sigma []) to the denoised estimate, by asking the model."""
