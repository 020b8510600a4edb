"""LoRA files: low-rank changes of weights, in the ecosystem's namings (Hu et al. 2021)."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from engine.problems import NodeFailure
from nodes.diffusion.families.ldm import unet_keys
from nodes.diffusion.tensors import shapes, tensors
from nodes.diffusion.weights import Part

V = TypeVar("V")
logger = logging.getLogger(__name__)

_PAIRS = r"(\.lora_{}|_lora\.{}|\.lora\.{}|\.lora_linear_layer\.{}|\.lora_{}(\.default)?)(\.weight)?$"
_ROLES = (
    (re.compile(_PAIRS.format("up", "up", "up", "up", "B")), "up"),
    (re.compile(_PAIRS.format("down", "down", "down", "down", "A")), "down"),
    (re.compile(r"\.lora_mid\.weight$"), "mid"),
    (re.compile(r"\.alpha$"), "alpha"),
    (re.compile(r"\.dora_scale$"), "magnitude"),
    (re.compile(r"\.diff$"), "diff"),
    (re.compile(r"\.diff_b$"), "diff_bias"),
)
_TEXT = re.compile(
    r"(base_model\.model\.)?(lora_te\d?_|lycoris_te_|text_encoder(_\d)?\.|text_model\.|encoder\.layers\.)"
)
_DOTTED = ("", "unet.", "base_model.model.", "base_model.model.unet.", "diffusion_model.")
_FLAT = ("lora_unet_", "lycoris_")


@dataclass(frozen=True)
class LoraPatch:
    """A LoRA file's change of one network, W + strength · alpha/rank · up · down.

    Args:
        digest: Content hash of the file.
        name: The file's name, for messages.
        strength: Factor on the change.
        path: Where the file lies.
    """

    digest: str
    name: str = field(compare=False)
    strength: float
    path: Path = field(compare=False)

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values for the weights that the file changes; computed in float32, kept in their own type.

        Raises:
            NodeFailure: The file changes this part of another model, but nothing of this one.
        """
        known = _aliases(part, weights)
        changed: dict[str, Tensor] = {}
        unknown = []
        groups = {
            m: g for m, g in _grouped(tensors(self.path)).items() if _is_text(m) == (part == "text_encoder")
        }
        for module, group in groups.items():
            target = known.get(module)
            if target is None:
                unknown.append(module)
                continue
            weight = changed.get(f"{target}.weight", weights[f"{target}.weight"])
            changed[f"{target}.weight"] = self._applied(group, weight)
            if "diff_bias" in group and f"{target}.bias" in weights:
                bias = weights[f"{target}.bias"]
                changed[f"{target}.bias"] = bias + self.strength * group["diff_bias"].to(bias)
        if groups and not changed:
            raise NodeFailure(
                f"the LoRA {self.name!r} fits no module of this {part.replace('_', ' ')}, first {unknown[0]}",
                "it was made for another model family",
            )
        if unknown:
            logger.warning(
                "LoRA %s: %d of %d modules are not in the %s, first %s",
                self.name,
                len(unknown),
                len(groups),
                part,
                unknown[0],
            )
        return changed

    def _applied(self, group: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        w = weight.float()
        try:
            change = _difference(
                {role: value.to(w.device, torch.float32) for role, value in group.items()}, w
            )
        except (KeyError, RuntimeError) as error:
            raise NodeFailure(
                f"the LoRA {self.name!r} does not fit the weight of shape {list(weight.shape)}: {error}",
                "it was made for another model family",
            ) from error
        return (w + self.strength * change).to(weight.dtype)


def lora_parts(path: Path) -> frozenset[Part]:
    """Which networks a LoRA file changes; reads no weights where the format allows it.

    Raises:
        NodeFailure: The file holds no LoRA.
    """
    modules = _grouped(shapes(path))
    if not modules:
        raise NodeFailure(
            f"{path.name} is no LoRA: none of its keys names a low-rank pair", "pick a LoRA file"
        )
    return frozenset("text_encoder" if _is_text(module) else "unet" for module in modules)


def _grouped(keys: Mapping[str, V]) -> dict[str, dict[str, V]]:
    """What a file holds for each module that it names, by role ("up", "down", "alpha" …)."""
    grouped: dict[str, dict[str, V]] = {}
    for key, value in keys.items():
        for pattern, role in _ROLES:
            if match := pattern.search(key):
                grouped.setdefault(key[: match.start()], {})[role] = value
                break
    return grouped


def _is_text(module: str) -> bool:
    return bool(_TEXT.match(module))


def _aliases(part: Part, weights: Iterable[str]) -> dict[str, str]:
    """The network's modules by every name that LoRA files give them."""
    modules = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    names = _text_aliases if part == "text_encoder" else _unet_aliases
    return dict(names(modules))


def _text_aliases(modules: Sequence[str]) -> Iterator[tuple[str, str]]:
    for module in modules:
        bare = module.removeprefix("text_model.")
        for dotted in (bare, f"text_model.{bare}"):
            for name in (dotted, f"text_encoder.{dotted}", f"base_model.model.{dotted}"):
                yield name, module
        flat = f"text_model.{bare}".replace(".", "_")
        yield from ((f"{prefix}{flat}", module) for prefix in ("lora_te_", "lora_te1_", "lycoris_te_"))


def _unet_aliases(modules: Sequence[str]) -> Iterator[tuple[str, str]]:
    named = unet_keys(f"{module}.weight" for module in modules)
    elsewhere = {
        ours.removesuffix(".weight"): theirs.removesuffix(".weight") for ours, theirs in named.items()
    }
    for module in modules:
        processor = re.sub(r"\.(attn\d)\.(to_\w+)(\.0)?$", r".\1.processor.\2", module)
        for dotted in {module, processor, elsewhere.get(module, module)}:
            yield from ((f"{prefix}{dotted}", module) for prefix in _DOTTED)
            yield from ((f"{prefix}{dotted.replace('.', '_')}", module) for prefix in _FLAT)


def _difference(group: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """The change of a weight at strength 1, shaped as the weight.

    Raises:
        KeyError: Half of a pair is missing.
        RuntimeError: The shapes do not fit.
    """
    if "diff" in group:
        return group["diff"].reshape(weight.shape)
    up, down = group["up"].flatten(1), group["down"]
    if "mid" in group:  # LoCon's Tucker form: a core convolution between two 1x1 ones
        product = torch.einsum("or,rskl,si->oikl", up, group["mid"], down.flatten(1))
    else:
        product = up @ down.flatten(1)
    scale = float(group["alpha"]) / down.shape[0] if "alpha" in group else 1.0
    change = (product * scale).reshape(weight.shape)
    if "magnitude" not in group:
        return change
    whole = weight + change  # DoRA (Liu et al. 2024), equation 5
    magnitude = group["magnitude"].reshape(-1)
    along = 0 if len(magnitude) == len(weight) else 1
    rest = [d for d in range(weight.ndim) if d != along]
    shape = [len(magnitude) if d == along else 1 for d in range(weight.ndim)]
    norm: Tensor = torch.linalg.vector_norm(whole, dim=rest, keepdim=True)
    rescaled: Tensor = whole * (magnitude.reshape(shape) / norm)
    return rescaled - weight
