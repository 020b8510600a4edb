"""CLIP's tokenizer: byte-pair merges of lower-cased words."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from engine.problems import NodeFailure
from nodes.diffusion.tensors import read_json

OPENAI_CLIP = Path(__file__).parent / "openai_clip"
"""The vocabulary of OpenAI's CLIP (MIT licence), which single-file checkpoints rely on and do not carry."""

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_START, _END = "<|startoftext|>", "<|endoftext|>"


class ClipTokenizer:
    """Text to token numbers, without the start and end tokens (Radford et al. 2021).

    Args:
        folder: Holds `merges.txt`, and `vocab.json` unless the numbers follow from the merges.

    Raises:
        NodeFailure: The folder holds no vocabulary.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            lines = (folder / "merges.txt").read_text("utf-8").splitlines()
        except OSError as error:
            raise NodeFailure(f"cannot read the tokenizer in {folder}: {error}") from error
        merges = [
            (a, b)
            for a, _, b in (line.partition(" ") for line in lines if not line.startswith("#version"))
            if b
        ]
        listed = folder / "vocab.json"
        vocabulary = read_json(listed) if listed.is_file() else _vocabulary(merges)
        self.start: int = vocabulary[_START]
        self.end: int = vocabulary[_END]
        self.size = len(vocabulary)
        self._tokenizer = _byte_pairs(vocabulary, merges)

    def ids(self, text: str) -> list[int]:
        """The tokens of some text: 0..size - 1 each."""
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return found


def _byte_pairs(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=_END,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([_START, _END])
    return tokenizer


def _vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Numbers in the order of OpenAI's release: bytes, bytes that end a word, merges, start and end."""
    letters = _byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), _START, _END]
    return {word: number for number, word in enumerate(words)}


def _byte_letters() -> list[str]:
    """A printable letter for each byte: itself where it is one, else the letters from U+0100 on (GPT-2)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
