"""The tokenizer against the one of transformers, on the same vocabularies."""

from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from engine.problems import NodeFailure
from nodes.diffusion.tokenizer import OPENAI_CLIP, ClipTokenizer
from tests.nodes.storybook import FOLDER

TEXTS = (
    "", "   ", "a photograph of an astronaut riding a horse", "MiXeD Case, it's 1,234.5\nnew line",
    "café 日本語 — naïve  🦊", "don’t I'm you'll 'tis ÄÖÜß ﬁ e\u0301 \u200b", "a\\b !!!...---___",
    "x<|endoftext|>y",
)  # fmt: skip


def reference(folder: Path) -> Any:
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("text", TEXTS)
def test_the_embedded_vocabulary_gives_the_tokens_of_transformers(text: str) -> None:
    folder = FOLDER / "tokenizer"
    assert ClipTokenizer(folder).ids(text) == reference(folder)(text, add_special_tokens=False)["input_ids"]


def test_openais_vocabulary_follows_from_its_merges() -> None:
    tokenizer = ClipTokenizer(OPENAI_CLIP)
    assert (tokenizer.size, tokenizer.start, tokenizer.end) == (49408, 49406, 49407)
    assert tokenizer.ids(TEXTS[2]) == [320, 8853, 539, 550, 18376, 6765, 320, 4558]
    assert tokenizer.ids("a\nB  é") == tokenizer.ids("A b É")


def test_a_folder_without_vocabulary_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(NodeFailure, match="tokenizer"):
        ClipTokenizer(tmp_path)
