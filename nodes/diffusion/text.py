"""The text encoders of a model: prompts to embeddings, one request a row of 77 tokens."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from engine.devices import Devices
from engine.ports import Port
from engine.steps import Steps, call, run_alone
from nodes.diffusion import prompt
from nodes.diffusion.tokenizer import ClipTokenizer
from nodes.diffusion.weights import Recipe, compute_dtype
from nodes.ports import Cond, Conditioning

Chunk: TypeAlias = list[prompt.Weighted[int]]

Encoder: TypeAlias = Literal["l", "g", "h"]
"""OpenAI's CLIP ViT-L, OpenCLIP's ViT-bigG and ViT-H, as the ecosystem's files name them."""

Vectors = Callable[[str, Encoder, int], Tensor | None]
"""(name, encoder, width) to a textual inversion's vectors [n, width], or None where none fits."""


def no_vectors(_name: str, _encoder: Encoder, _width: int) -> None:
    """The textual inversions of a place that has none."""


@dataclass(frozen=True, eq=False)
class Row:
    """One chunk of a prompt.

    Args:
        tokens: 77 numbers, those of the vocabulary from 0; -1 stands for the first of `vectors`, -2 for the
            second.
        vectors: Learnt embeddings [C].
        tower: Which of the encoders it is for.
    """

    tokens: tuple[int, ...]
    vectors: tuple[Tensor, ...] = ()
    tower: int = 0


@dataclass(frozen=True)
class Encoded:
    """What the encoder makes of a row: the embeddings [77, C] and the pooled one [D], on the host."""

    embedding: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Tower:
    """One text encoder of a model.

    Args:
        recipe: The network; its digest covers the vocabulary of a folder.
        vocabulary: The folder of the tokenizer.
        name: Which encoder it is.
        layer: Whose output is taken: None the last, normed; -1 the last, -2 the one before it.
        normed: Whether the output of an earlier layer passes the final norm.
        pad: What fills a row after the end; None repeats the end.
    """

    recipe: Recipe
    vocabulary: Path = field(compare=False)
    name: Encoder = "l"
    layer: int | None = None
    normed: bool = True
    pad: int | None = None


@Port("CLIP")
@dataclass(frozen=True)
class Clip:
    """The text encoders of a model (Radford et al. 2021) with their vocabularies.

    The embeddings of several stand side by side, [1, 77 n, C_1 + C_2]; the pooled one is that of the last.
    """

    towers: tuple[Tower, ...]
    devices: Devices = field(compare=False, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        """What they compute in."""
        return compute_dtype(self.towers[0].recipe.part, self.devices)

    def ending_at(self, layer: int) -> "Clip":
        """The encoders whose output is taken after another layer, counted from the last, -1."""
        return replace(self, towers=tuple(replace(t, layer=layer) for t in self.towers))

    def recipes(self, change: Callable[[Recipe], Recipe]) -> "Clip":
        """The encoders with other networks."""
        return replace(self, towers=tuple(replace(t, recipe=change(t.recipe)) for t in self.towers))

    def encoded(self, text: str | Mapping[str, str], vectors: Vectors = no_vectors) -> Steps[Conditioning]:
        """The conditioning of a prompt: [1, 77 n, C], and the pooled embedding [1, D] of its first chunk.

        A token of weight w becomes e + w (z - e), with e what the empty prompt has in its place.

        Args:
            text: For all encoders, or for each by its name; shorter ones are then filled with empty chunks.
        """
        texts = [text if isinstance(text, str) else text[tower.name] for tower in self.towers]
        made = [self._chunks(i, words, vectors) for i, words in enumerate(texts)]
        longest = 0 if isinstance(text, str) else max(len(chunks) for chunks, _ in made)
        embeddings, pooled = [], torch.empty(0)
        for i, (chunks, learnt) in enumerate(made):
            empty = self._chunks(i, "", vectors)[0]
            filled = chunks + empty * (longest - len(chunks))
            embedding, pooled = yield from self._weighted(i, filled, tuple(learnt), empty[0])
            embeddings.append(embedding)
        length = min(e.shape[1] for e in embeddings)
        joined = torch.cat([e[:, :length] for e in embeddings], dim=-1)
        return Conditioning((Cond(joined, pooled),))

    def _chunks(self, i: int, text: str, vectors: Vectors) -> tuple[list[Chunk], list[Tensor]]:
        """A prompt in rows of 77 weighted tokens for one encoder, and the learnt vectors among them."""
        tower, tokenizer, learnt = self.towers[i], self._tokenizer(i), list[Tensor]()

        def numbers(name: str) -> list[int] | None:
            found = vectors(name, tower.name, self._width(i))
            if found is None:
                return None
            learnt.extend(found)
            return [-1 - k for k in range(len(learnt) - len(found), len(learnt))]

        groups = list(prompt.tokens(text, tokenizer.ids, numbers))
        end = tokenizer.end
        pad = end if tower.pad is None else tower.pad
        return prompt.chunks(groups, tokenizer.start, end, pad), learnt

    def _weighted(
        self, i: int, chunks: Sequence[Chunk], learnt: tuple[Tensor, ...], empty: Chunk
    ) -> Steps[tuple[Tensor, Tensor]]:
        """One encoder's embeddings [1, 77 n, C] and the pooled one [1, D] of the first chunk."""
        rows = [Row(tuple(token for token, _ in chunk), learnt, i) for chunk in chunks]
        weights = torch.tensor([[weight for _, weight in chunk] for chunk in chunks])[..., None]
        if bool((weights == 1.0).all()):
            answers = yield from call(self, *rows)
            z = torch.stack([a.embedding for a in answers])
        else:
            *answers, nothing = yield from call(self, *rows, Row(tuple(t for t, _ in empty), (), i))
            z = torch.stack([a.embedding for a in answers])
            z = torch.where(weights == 1.0, z, torch.lerp(nothing.embedding.expand_as(z), z, weights))
        return z.flatten(0, 1)[None], answers[0].pooled[None]

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

    def batch_key(self, request: Row) -> Hashable:
        """All rows of an encoder have the same length."""
        return request.tower

    def answer(self, requests: Sequence[Row]) -> list[Encoded]:
        """Encode some rows of one encoder in one pass."""
        i = requests[0].tower
        tower = self.towers[i]
        module: Any = tower.recipe.module(self.devices)
        network = getattr(
            module, "text_model", module
        )  # transformers 5 has no inner module without projection
        table = network.embeddings.token_embedding.weight
        ids, extra = _numbered(requests, len(table))
        ids = ids.to(table.device)
        changed = {}
        if extra:
            name = next(n for n, p in network.named_parameters() if p is table)
            changed = {name: torch.cat([table, torch.stack(extra).to(table)])}
        out = torch.func.functional_call(network, changed, (ids,), {"output_hidden_states": True})
        z = final = out.last_hidden_state
        if tower.layer is not None and -tower.layer < len(out.hidden_states):
            z = out.hidden_states[tower.layer]
            z = network.final_layer_norm(z) if tower.normed else z
        ends = (ids == self._tokenizer(i).end).int().argmax(dim=1)
        pooled = final[torch.arange(len(ids), device=ids.device), ends]
        if module is not network and hasattr(module, "text_projection"):
            pooled = module.text_projection(pooled)
        return [Encoded(e, p) for e, p in zip(z.float().cpu(), pooled.float().cpu(), strict=True)]

    def _tokenizer(self, i: int) -> ClipTokenizer:
        tower = self.towers[i]
        key = ("tokenizer", tower.recipe.digest, str(tower.vocabulary))
        return self.devices.held(key, lambda: ClipTokenizer(tower.vocabulary), lambda t: 200 * t.size)

    def _width(self, i: int) -> int:
        module: Any = self.towers[i].recipe.module(self.devices)
        return int(module.config.hidden_size)


def _numbered(rows: Sequence[Row], size: int) -> tuple[Tensor, list[Tensor]]:
    """Token numbers [B, 77] in which the rows' vectors follow a table of this size, and those vectors."""
    ids, extra = [], list[Tensor]()
    for row in rows:
        ids.append([t if t >= 0 else size + len(extra) - 1 - t for t in row.tokens])
        extra += row.vectors
    return torch.tensor(ids), extra
