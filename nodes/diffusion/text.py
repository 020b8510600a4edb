"""A text encoder: prompts to embeddings, one request a row of 77 tokens."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.devices import Devices
from engine.ports import Port
from engine.steps import Steps, call, run_alone
from nodes.diffusion import prompt
from nodes.diffusion.tokenizer import ClipTokenizer
from nodes.diffusion.weights import Recipe
from nodes.ports import Cond, Conditioning

Vectors = Callable[[str, int], Tensor | None]
"""(name, width) to a textual inversion's vectors [n, width], or None where there is none that fits."""


def no_vectors(_name: str, _width: int) -> None:
    """The textual inversions of a place that has none."""


@dataclass(frozen=True, eq=False)
class Row:
    """One chunk of a prompt.

    Args:
        tokens: 77 numbers, those of the vocabulary from 0; -1 stands for the first of `vectors`, -2 for the
            second.
        vectors: Learnt embeddings [C].
    """

    tokens: tuple[int, ...]
    vectors: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """What the encoder makes of a row: the embeddings [77, C] and the pooled one [C], on the host."""

    embedding: Tensor
    pooled: Tensor


@Port("CLIP")
@dataclass(frozen=True)
class Clip:
    """The text encoder of Stable Diffusion 1.x (Radford et al. 2021) with its vocabulary.

    Args:
        recipe: The network; its digest covers the vocabulary of a folder.
        vocabulary: The folder of the tokenizer.
        last_layer: Which layer's output is taken: -1 the last, -2 the one before it (clip skip).
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)
    vocabulary: Path = field(compare=False)
    last_layer: int = -1

    def ending_at(self, layer: int) -> "Clip":
        """The encoder whose output is taken after another layer, counted from the last, -1."""
        return replace(self, last_layer=layer)

    def encoded(self, text: str, vectors: Vectors = no_vectors) -> Steps[Conditioning]:
        """The conditioning of a prompt: [1, 77 n, C], and the pooled embedding [1, C] of its first chunk.

        A token of weight w becomes e + w (z - e), with e what the empty prompt has in its place.
        """
        tokenizer, learnt = self._tokenizer(), list[Tensor]()

        def numbers(name: str) -> list[int] | None:
            found = vectors(name, self._width())
            if found is None:
                return None
            learnt.extend(found)
            return [-1 - i for i in range(len(learnt) - len(found), len(learnt))]

        groups = list(prompt.tokens(text, tokenizer.ids, numbers))
        start, end = tokenizer.start, tokenizer.end
        chunks = prompt.chunks(groups, start, end, end)
        rows = [Row(tuple(token for token, _ in chunk), tuple(learnt)) for chunk in chunks]
        weights = torch.tensor([[weight for _, weight in chunk] for chunk in chunks])[..., None]
        if bool((weights == 1.0).all()):
            answers = yield from call(self, *rows)
            z = torch.stack([a.embedding for a in answers])
        else:
            empty = Row((start, *[end] * (prompt.CHUNK - 1)))
            *answers, nothing = yield from call(self, *rows, empty)
            z = torch.stack([a.embedding for a in answers])
            z = torch.where(weights == 1.0, z, torch.lerp(nothing.embedding.expand_as(z), z, weights))
        return Conditioning((Cond(z.flatten(0, 1)[None], answers[0].pooled[None]),))

    def tokenize(self, text: str) -> str:
        """What `encode_from_tokens` takes; nodes of the ecosystem encode in these two steps."""
        return text

    def encode_from_tokens(self, tokens: str, return_pooled: bool = False) -> Any:
        """`encoded` at once, without textual inversions: the embedding, or it and the pooled one."""
        (entry,) = run_alone(self.encoded(tokens)).entries
        return (entry.embedding, entry.pooled) if return_pooled else entry.embedding

    def encode_from_tokens_scheduled(self, tokens: str) -> list[list[Any]]:
        """The same as a conditioning of plain values."""
        return run_alone(self.encoded(tokens)).as_plain()

    def batch_key(self, _request: Row) -> Hashable:
        """All rows have the same length."""
        return ()

    def answer(self, requests: Sequence[Row]) -> list[Encoded]:
        """Encode some rows in one pass."""
        module: Any = self.recipe.module(self.devices)
        network = getattr(module, "text_model", module)  # transformers 5 has no inner module
        table = network.embeddings.token_embedding.weight
        ids, extra = _numbered(requests, len(table))
        ids = ids.to(table.device)
        changed = {}
        if extra:
            name = next(n for n, p in module.named_parameters() if p is table)
            changed = {name: torch.cat([table, torch.stack(extra).to(table)])}
        out = torch.func.functional_call(module, changed, (ids,), {"output_hidden_states": True})
        z = final = out.last_hidden_state
        if 1 < -self.last_layer < len(out.hidden_states):
            z = network.final_layer_norm(out.hidden_states[self.last_layer])
        ends = (ids == self._tokenizer().end).int().argmax(dim=1)
        pooled = final[torch.arange(len(ids), device=ids.device), ends]
        return [Encoded(e, p) for e, p in zip(z.float().cpu(), pooled.float().cpu(), strict=True)]

    def _tokenizer(self) -> ClipTokenizer:
        key = ("tokenizer", self.recipe.digest, str(self.vocabulary))
        return self.devices.held(key, lambda: ClipTokenizer(self.vocabulary), lambda t: 200 * t.size)

    def _width(self) -> int:
        module: Any = self.recipe.module(self.devices)
        return int(module.config.hidden_size)


def _numbered(rows: Sequence[Row], size: int) -> tuple[Tensor, list[Tensor]]:
    """Token numbers [B, 77] in which the rows' vectors follow a table of this size, and those vectors."""
    ids, extra = [], list[Tensor]()
    for row in rows:
        ids.append([t if t >= 0 else size + len(extra) - 1 - t for t in row.tokens])
        extra += row.vectors
    return torch.tensor(ids), extra
