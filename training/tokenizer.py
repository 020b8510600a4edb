"""A small CLIP tokenizer (CLIP's own file format and algorithm, its own little vocabulary).

The vocabulary is CLIP's 256 byte symbols, the same with ``</w>``, then merges learned from captions and
a list of everyday prompt words, then the two special tokens: any text tokenises, known words are one token.

    python -m training.tokenizer --out model/tokenizer
"""

import argparse
import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from training.scenes import caption, sample_scene

PROMPT_WORDS = """
masterpiece best quality highly detailed text watermark blurry low worst ugly deformed bad anatomy
photo realistic anime style cinematic lighting sharp focus portrait girl boy man woman cat dog
bottle galaxy glass nature scenery landscape beautiful city street car forest river sky cloud water
light dark color colorful art illustration vector flat sketch neon pastel watercolor oil fantasy
magic ancient old new small big huge tiny gray grey cyan
""".split()  # noqa: SIM905 - a list of 69 lines says no more
SPECIAL = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}


def byte_symbols() -> list[str]:
    """CLIP's and GPT-2's printable stand-ins for the bytes, in their order of token ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(hidden))]


def merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The parts of a word after joining every occurrence of a pair."""
    out: list[str] = []
    i = 0
    while i < len(parts):
        joins = parts[i : i + 2] == pair
        out.append("".join(parts[i : i + 2]) if joins else parts[i])
        i += 2 if joins else 1
    return tuple(out)


def learn_merges(words: Counter[str], limit: int) -> list[tuple[str, str]]:
    """Byte-pair merges over a word -> count table, most frequent pair first."""
    split = {word: (*word[:-1], word[-1] + "</w>") for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        split = {word: merged(parts, best) for word, parts in split.items()}
    return merges


def caption_words(captions: int = 20000) -> Counter[str]:
    """How often each word occurs in random captions; the words of PROMPT_WORDS once more."""
    r, words = random.Random(0), Counter(PROMPT_WORDS)
    for seed in range(captions):
        text = caption(sample_scene(seed), r).lower()
        words.update(re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text))
    return words


def write_tokenizer(out: Path, merges: list[tuple[str, str]]) -> int:
    """Write the files of a CLIPTokenizer; returns the number of tokens."""
    base = byte_symbols()
    tokens = [*base, *(c + "</w>" for c in base), *("".join(m) for m in merges)]
    tokens += [SPECIAL["bos_token"], SPECIAL["eos_token"]]
    out.mkdir(parents=True, exist_ok=True)
    numbered = {token: i for i, token in enumerate(tokens)}
    (out / "vocab.json").write_text(json.dumps(numbered, ensure_ascii=False), encoding="utf-8")
    lines = "".join(f"{a} {b}\n" for a, b in merges)
    (out / "merges.txt").write_text("#version: 0.2\n" + lines, encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "errors": "replace",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config | SPECIAL, indent=2))
    (out / "special_tokens_map.json").write_text(json.dumps(SPECIAL, indent=2))
    return len(tokens)


def main() -> None:
    """Learn the vocabulary and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("model/tokenizer"))
    parser.add_argument("--merges", type=int, default=1400)
    args = parser.parse_args()
    print(write_tokenizer(args.out, learn_merges(caption_words(), args.merges)), "tokens")


if __name__ == "__main__":
    main()
