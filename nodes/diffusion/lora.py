"""LoRA files: what they change, in every naming of the ecosystem; the arithmetic is in `adapters`."""

import logging
import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from blake3 import blake3
from torch import Tensor

from engine.ports import Port
from engine.problems import NodeFailure
from nodes.diffusion import adapters
from nodes.diffusion.families.ldm import unet_keys
from nodes.diffusion.tensors import shapes, tensors
from nodes.diffusion.weights import Part, Recipe

V = TypeVar("V")
logger = logging.getLogger(__name__)

_PAIRS = r"(\.lora_{}|_lora\.{}|\.lora\.{}|\.lora_linear_layer\.{}|\.lora_{}(\.default)?)(\.weight)?$"
_ROLES = (
    (re.compile(_PAIRS.format("up", "up", "up", "up", "B")), "up"),
    (re.compile(_PAIRS.format("down", "down", "down", "down", "A")), "down"),
    (re.compile(r"\.lora_mid\.weight$"), "mid"),
    (re.compile(r"\.dora_scale$"), "magnitude"),
    (re.compile(r"\.(hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t[12])|oft_blocks|rescale)$"), None),
    (re.compile(r"\.(a1|a2|b1|b2)\.weight$"), None),
    (re.compile(r"\.(alpha|diff|diff_b|set_weight|w_norm|b_norm|reshape_weight)$"), None),
)
"""The endings of keys, and the role in the module's group; None where the ending is named like it."""

_FIRST = (
    r"(lora_te1?_|lycoris_te1?_|text_encoder\.|text_model\.|encoder\.layers\.|text_encoders\.clip_[lh]\.)"
)
_SECOND = r"(lora_te2_|lycoris_te2_|text_encoder_2\.|text_encoders\.clip_g\.)"
_OTHER = r"(lora_te\d_|lora_prior_|text_encoders?[._]|bundle_emb\.)"
_PARTS: tuple[tuple[re.Pattern[str], Part | None], ...] = (
    (re.compile(rf"(base_model\.model\.)?{_FIRST}"), "text_encoder"),
    (re.compile(rf"(base_model\.model\.)?{_SECOND}"), "text_encoder_2"),
    (re.compile(_OTHER), None),  # text encoders of other families
    (re.compile(""), "unet"),
)
"""What the beginning of a module's name says of the network that it is in; the first that matches."""

_UNET_DOTTED = ("", "unet.", "base_model.model.", "base_model.model.unet.", "diffusion_model.")
_UNET_FLAT = ("lora_unet_", "lycoris_", "lycoris_unet_")
_TEXT_DOTTED: Mapping[Part, tuple[str, ...]] = {
    "text_encoder": (
        "", "text_encoder.", "base_model.model.", "base_model.model.text_encoder.",
        "text_encoders.clip_l.transformer.", "text_encoders.clip_h.transformer.",
    ),
    "text_encoder_2": (
        "text_encoder_2.", "base_model.model.text_encoder_2.", "text_encoders.clip_g.transformer.",
    ),
}  # fmt: skip
_TEXT_FLAT: Mapping[Part, tuple[str, ...]] = {
    "text_encoder": ("lora_te_", "lora_te1_", "lycoris_te_", "lycoris_te1_"),
    "text_encoder_2": ("lora_te2_", "lycoris_te2_"),
}


@Port("LORA_MODEL")
@dataclass(frozen=True)
class LoraWeights:
    """A LoRA in memory, as training makes it.

    Args:
        digest: Content hash of the tensors and their keys.
        held: The tensors by the keys of a LoRA file.
    """

    digest: str
    held: Mapping[str, Tensor] = field(compare=False, repr=False)

    def as_plain(self) -> dict[str, Tensor]:
        """The dict of tensors that nodes of the ecosystem know a LoRA as."""
        return dict(self.held)

    @classmethod
    def from_plain(cls, value: Any) -> "LoraWeights":
        """The LoRA in such a dict.

        Raises:
            NodeFailure: It holds something else than tensors.
        """
        if not isinstance(value, dict) or not all(isinstance(v, Tensor) for v in value.values()):
            raise NodeFailure(f"a LoRA is a dict of tensors, found {value!r:.60}")
        held = {str(key): tensor.detach().cpu().contiguous() for key, tensor in value.items()}
        content = blake3()
        for key in sorted(held):
            content.update(f"{key}\0{held[key].dtype}\0{list(held[key].shape)}\0".encode())
            content.update(held[key].flatten().view(torch.uint8).numpy().data)
        return cls(content.hexdigest(), held)


@dataclass(frozen=True)
class LoraPatch:
    """A LoRA's change of one network; see `adapters` for its kinds.

    Args:
        digest: Content hash of the file or the tensors.
        name: What it is called in messages.
        strength: Factor on the change.
        source: The file, or the tensors themselves.
        alone: Whether a second text encoder is the model's only one, which the names of the first then mean.
    """

    digest: str
    name: str = field(compare=False)
    strength: float
    source: Path | Mapping[str, Tensor] = field(compare=False, repr=False)
    alone: bool = False

    def on(self, recipe: Recipe) -> Recipe:
        """The recipe with this change; as it was where the LoRA has nothing for it, or no strength.

        Raises:
            NodeFailure: The file holds no LoRA.
        """
        if not self.strength or not self.concerns(recipe.part):
            return recipe
        return recipe.patched(replace(self, alone=self.alone and recipe.part == "text_encoder_2"))

    def concerns(self, part: Part) -> bool:
        """Whether the LoRA holds anything for a network; reads no weights where the format allows it.

        Raises:
            NodeFailure: The file holds no LoRA.
        """
        keys: Iterable[str] = shapes(self.source) if isinstance(self.source, Path) else self.source
        found = _grouped(dict.fromkeys(keys))
        if not found:
            raise NodeFailure(
                f"{self.name!r} is no LoRA: none of its keys names a low-rank pair", "pick a LoRA file"
            )
        strange = [key for key in keys if _split(key) is None and not key.startswith("bundle_emb.")]
        if strange and part == "unet":
            count, first = len(strange), strange[0]
            logger.warning("LoRA %s: %d keys are of no known kind, first %s", self.name, count, first)
        return any(self._is_for(module, part) for module in found)

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values for the weights that the LoRA changes; computed in float32, kept in their own type.

        Raises:
            NodeFailure: It changes this part of another model, but nothing of this one, or does not fit it.
        """
        known = _aliases(part, weights, self.alone)
        groups = self._groups(part)
        changed: dict[str, Tensor] = {}
        current = ChainMap(changed, dict(weights))
        unknown = []
        for module, group in groups.items():
            new = self._applied(module, group, known.get(module, ""), current)
            changed |= new
            if not new:
                unknown.append(module)
        if groups and not changed:
            raise NodeFailure(
                f"the LoRA {self.name!r} fits no module of this {part.replace('_', ' ')}, first {unknown[0]}",
                "it was made for another model family",
            )
        if unknown:
            count = f"{len(unknown)} of {len(groups)} modules are not in"
            logger.warning("LoRA %s: %s the %s, first %s", self.name, count, part, unknown[0])
        return changed

    def _is_for(self, module: str, part: Part) -> bool:
        meant = next(meant for pattern, meant in _PARTS if pattern.match(module))
        return meant == part or (self.alone and part == "text_encoder_2" and meant == "text_encoder")

    def _groups(self, part: Part) -> dict[str, dict[str, Tensor]]:
        def wanted(key: str) -> bool:
            found = _split(key)
            return found is not None and self._is_for(found[0], part)

        if isinstance(self.source, Path):
            return _grouped(tensors(self.source, wanted))
        return _grouped({key: value for key, value in self.source.items() if wanted(key)})

    def _applied(
        self, module: str, group: adapters.Group, target: str, weights: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The new weight and bias of one module; nothing where it is not there."""
        weight, bias = weights.get(f"{target}.weight"), weights.get(f"{target}.bias")
        changed: dict[str, Tensor] = {}
        try:
            if weight is not None and adapters.changes_weight(group):
                new = adapters.patched(group, weight, self.strength)
                changed[f"{target}.weight"] = new.to(weight.dtype)
            if bias is not None and adapters.changes_bias(group):
                new = adapters.patched_bias(group, bias, self.strength)
                changed[f"{target}.bias"] = new.to(bias.dtype)
        except (LookupError, RuntimeError, ValueError) as error:
            seen = ", ".join(f"{role} {list(value.shape)}" for role, value in sorted(group.items()))
            shape = [] if weight is None else list(weight.shape)
            raise NodeFailure(
                f"the LoRA {self.name!r} does not fit {target}, of shape {shape}: {error}; it has {seen} "
                f"under {module}",
                "it was made for another model family, or is damaged",
            ) from error
        return changed


def _split(key: str) -> tuple[str, str] | None:
    """The module that a key names and the role of its tensor, or None for what is no part of a LoRA."""
    for pattern, role in _ROLES:
        if match := pattern.search(key):
            return key[: match.start()], role or match[1]
    return None


def _grouped(keys: Mapping[str, V]) -> dict[str, dict[str, V]]:
    """What a file holds for each module that it names, by role ("up", "down", "alpha" …)."""
    grouped: dict[str, dict[str, V]] = {}
    for key, value in keys.items():
        if found := _split(key):
            grouped.setdefault(found[0], {})[found[1]] = value
    return grouped


def _aliases(part: Part, weights: Iterable[str], alone: bool) -> dict[str, str]:
    """The network's modules by every name that LoRA files give them."""
    modules = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    if part == "unet":
        return dict(_unet_aliases(modules))
    first: tuple[Part, ...] = ("text_encoder",) if alone or part == "text_encoder" else ()
    second: tuple[Part, ...] = ("text_encoder_2",) if part == "text_encoder_2" else ()
    return {name: module for p in first + second for name, module in _text_aliases(p, modules)}


def _text_aliases(part: Part, modules: Sequence[str]) -> Iterator[tuple[str, str]]:
    for module in modules:
        bare = module.removeprefix("text_model.")
        whole = bare if bare == "text_projection" else f"text_model.{bare}"
        for prefix in _TEXT_DOTTED[part]:
            yield from ((f"{prefix}{name}", module) for name in (bare, whole))
        yield from ((f"{prefix}{whole.replace('.', '_')}", module) for prefix in _TEXT_FLAT[part])


def _unet_aliases(modules: Sequence[str]) -> Iterator[tuple[str, str]]:
    named = unet_keys(f"{module}.weight" for module in modules)
    elsewhere = {
        ours.removesuffix(".weight"): theirs.removesuffix(".weight") for ours, theirs in named.items()
    }
    for module in modules:
        processor = re.sub(r"\.(attn\d)\.(to_\w+)(\.0)?$", r".\1.processor.\2", module)
        vector = module.replace("class_embedding.", "add_embedding.")
        for dotted in {module, processor, vector, elsewhere.get(module, module)}:
            yield from ((f"{prefix}{dotted}", module) for prefix in _UNET_DOTTED)
            yield from ((f"{prefix}{dotted.replace('.', '_')}", module) for prefix in _UNET_FLAT)
