"""The text encoder against transformers, and conditionings in the hands of nodes."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from engine.files import Files
from engine.steps import run_alone
from nodes import text as nodes
from nodes.diffusion.text import Clip, Row
from nodes.ports import Cond, Conditioning
from tests.nodes.storybook import FOLDER, files_under, storybook

WIDTH = 128


@pytest.fixture(scope="module")
def reference() -> Any:
    return CLIPTextModel.from_pretrained(
        FOLDER / "text_encoder", local_files_only=True, dtype=torch.float32
    ).eval()


def tokens(text: str) -> Tensor:
    tokenizer = CLIPTokenizer.from_pretrained(FOLDER / "tokenizer", local_files_only=True)
    ids: Tensor = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    return ids


def encoded(text: str, clip: Clip | None = None) -> Cond:
    (entry,) = run_alone((clip or storybook().clip).encoded(text)).entries
    return entry


def test_a_prompt_is_encoded_as_transformers_does(reference: Any) -> None:
    with torch.inference_mode():
        out = reference(tokens("a red house by the sea"))
    ours = encoded("a red house by the sea")
    torch.testing.assert_close(ours.embedding, out.last_hidden_state)
    torch.testing.assert_close(ours.pooled, out.pooler_output)


def test_clip_skip_takes_an_earlier_layer_and_norms_it(reference: Any) -> None:
    network = getattr(reference, "text_model", reference)
    with torch.inference_mode():
        out = reference(tokens("a red house"), output_hidden_states=True)
        expected = network.final_layer_norm(out.hidden_states[-2])
    ours = encoded("a red house", nodes.clip_set_last_layer(clip=storybook().clip, stop_at_clip_layer=-2))
    torch.testing.assert_close(ours.embedding, expected)
    torch.testing.assert_close(ours.pooled, out.pooler_output)


def test_clip_skip_beyond_the_first_layer_takes_the_last() -> None:
    beyond = encoded("a red house", storybook().clip.ending_at(-24))
    assert torch.equal(beyond.embedding, encoded("a red house").embedding)


def test_a_weight_moves_tokens_away_from_the_empty_prompt() -> None:
    plain, empty = encoded("a red house").embedding, encoded("").embedding
    weighted = encoded("a (red:1.5) house").embedding
    same = (weighted == plain).all(dim=-1)[0]
    assert (~same).nonzero().flatten().tolist() == list(range(2, 2 + len(storybook_ids("red"))))
    torch.testing.assert_close(weighted[0, ~same], (empty + 1.5 * (plain - empty))[0, ~same])


def storybook_ids(text: str) -> list[int]:
    return [t for t in tokens(text)[0].tolist() if t < 1046]


def test_a_long_prompt_is_encoded_in_chunks_of_its_own(reference: Any) -> None:
    words = " ".join(["red", "house", "sea", "boat"] * 30)
    ids = storybook_ids(words)
    chunks = torch.full((2, 77), 1047)
    chunks[:, 0] = 1046
    for chunk, part in zip(chunks, (ids[:75], ids[75:]), strict=True):
        chunk[1 : 1 + len(part)] = torch.tensor(part)
    with torch.inference_mode():
        out = reference(chunks)
    ours = encoded(words)
    torch.testing.assert_close(ours.embedding, out.last_hidden_state.reshape(1, 154, WIDTH))
    torch.testing.assert_close(ours.pooled, out.pooler_output[:1])


def test_rows_in_company_are_encoded_as_alone() -> None:
    clip = storybook().clip
    rows = [Row((1046, *storybook_ids(text), *[1047] * 76)[:77]) for text in ("red", "a house by the sea")]
    for together, row in zip(clip.answer(rows), rows, strict=True):
        (alone,) = clip.answer([row])
        torch.testing.assert_close(together.embedding, alone.embedding)
        torch.testing.assert_close(together.pooled, alone.pooled)


def test_vectors_of_rows_in_company_are_kept_apart() -> None:
    clip, draw = storybook().clip, torch.Generator().manual_seed(0)
    rows = [Row((1046, -1, *[1047] * 75), (torch.randn(WIDTH, generator=draw),)) for _ in range(2)]
    for together, row in zip(clip.answer(rows), rows, strict=True):
        torch.testing.assert_close(together.embedding, clip.answer([row])[0].embedding)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "models" / "embeddings" / "sub"
    folder.mkdir(parents=True)
    save_file({"emb_params": torch.randn(3, WIDTH)}, folder / "learnt.safetensors")
    torch.save({"string_to_param": {"*": torch.randn(1, WIDTH)}, "name": "old"}, folder / "old.pt")
    save_file({"clip_g": torch.randn(3, 1280)}, folder / "wide.safetensors")
    return files_under(tmp_path)


def prompt(text: str, files: Files) -> Tensor:
    clip = storybook().clip
    return run_alone(nodes.clip_text_encode(text=text, clip=clip, files=files)).entries[0].embedding


@pytest.mark.parametrize("name", ["learnt", "learnt.safetensors", "sub/learnt", "sub/learnt.safetensors,"])
def test_a_textual_inversion_is_found_by_any_of_its_names(files: Files, name: str) -> None:
    ending = "," if name.endswith(",") else ""
    assert torch.equal(prompt(f"a embedding:{name} b", files), prompt(f"a embedding:learnt{ending} b", files))
    assert not torch.equal(prompt(f"a embedding:{name}", files), prompt(f"a {ending}", files))


def test_vectors_take_the_places_of_tokens(files: Files) -> None:
    changed = (prompt("a embedding:learnt house", files) != prompt("a house", files)).any(dim=-1)[0]
    assert changed.nonzero()[0].item() == 2
    assert not torch.equal(prompt("embedding:old", files), prompt("", files))


def test_vectors_that_are_words_encode_as_the_words(files: Files, tmp_path: Path) -> None:
    table = next(
        p
        for n, p in storybook().clip.towers[0].recipe.module(storybook().clip.devices).named_parameters()
        if "token_emb" in n
    )
    save_file(
        {"v": table[storybook_ids("red")].clone()}, tmp_path / "models" / "embeddings" / "red.safetensors"
    )
    torch.testing.assert_close(prompt("a embedding:red house", files), prompt("a red house", files))


@pytest.mark.parametrize("name", ["nothing", "wide"])
def test_what_does_not_fit_is_left_out_with_a_warning(
    files: Files, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert torch.equal(prompt(f"a embedding:{name} house", files), prompt("a house", files))
    assert name in caplog.text


def test_the_fingerprint_follows_the_files_that_a_prompt_names(files: Files, tmp_path: Path) -> None:
    digest = nodes.inversions_digest
    before = digest(text="a embedding:learnt, b", files=files)
    linked = digest(files=files)
    assert digest(text="a house", files=files) == ""
    save_file(
        {"emb_params": torch.zeros(1, WIDTH)},
        tmp_path / "models" / "embeddings" / "sub" / "learnt.safetensors",
    )
    assert digest(text="a embedding:learnt, b", files=files) != before
    assert digest(files=files) != linked


def conditioning(seed: int, length: int = 4, **options: object) -> Conditioning:
    draw = torch.Generator().manual_seed(seed)
    embedding, pooled = torch.randn(1, length, 8, generator=draw), torch.randn(1, 8, generator=draw)
    return Conditioning((Cond(embedding, pooled).with_options(**options),))


def test_combining_keeps_both_in_order() -> None:
    a, b = conditioning(0), conditioning(1)
    assert nodes.conditioning_combine(conditioning_1=a, conditioning_2=b).entries == (*a.entries, *b.entries)


def test_concatenating_appends_the_first_entrys_tokens() -> None:
    a, b = conditioning(0, strength=0.5), conditioning(1, length=3)
    (entry,) = nodes.conditioning_concat(conditioning_to=a, conditioning_from=b).entries
    assert torch.equal(entry.embedding, torch.cat([a.entries[0].embedding, b.entries[0].embedding], dim=1))
    assert entry.get("strength") == 0.5


@pytest.mark.parametrize("length", [3, 4, 6])
def test_averaging_cuts_or_fills_the_other_prompt(length: int) -> None:
    a, b = conditioning(0), conditioning(1, length=length)
    (entry,) = nodes.conditioning_average(
        conditioning_to=a, conditioning_from=b, conditioning_to_strength=0.25
    ).entries
    other = torch.zeros(1, 4, 8)
    other[:, : min(4, length)] = b.entries[0].embedding[:, :4]
    torch.testing.assert_close(entry.embedding, 0.25 * a.entries[0].embedding + 0.75 * other)
    assert entry.pooled is not None
    assert a.entries[0].pooled is not None
    assert b.entries[0].pooled is not None
    torch.testing.assert_close(entry.pooled, 0.25 * a.entries[0].pooled + 0.75 * b.entries[0].pooled)


def test_zeroing_keeps_shapes_and_options() -> None:
    (entry,) = nodes.conditioning_zero_out(conditioning=conditioning(0, strength=2.0)).entries
    assert entry.embedding.shape == (1, 4, 8)
    assert not entry.embedding.any()
    assert entry.get("strength") == 2.0


def test_places_and_ranges_become_options() -> None:
    given = conditioning(0)
    area = nodes.conditioning_set_area(conditioning=given, width=72, height=64, x=8, y=16, strength=0.5)
    assert area.entries[0].get("area") == (8, 9, 2, 1)
    share = nodes.conditioning_set_area_percentage(conditioning=given, width=0.5, height=1.0, x=0.25, y=0.0)
    assert share.entries[0].get("area") == ("percentage", 1.0, 0.5, 0.0, 0.25)
    strong = nodes.conditioning_set_area_strength(conditioning=area, strength=3.0)
    assert (strong.entries[0].get("strength"), strong.entries[0].get("area")) == (3.0, (8, 9, 2, 1))
    masked = nodes.conditioning_set_mask(
        conditioning=given, mask=torch.ones(4, 4), strength=0.7, set_cond_area="mask bounds"
    ).entries[0]
    assert masked.get("mask").shape == (1, 4, 4)
    assert (masked.get("mask_strength"), masked.get("set_area_to_bounds")) == (0.7, True)
    timed = nodes.conditioning_set_timestep_range(conditioning=given, start=0.2, end=0.6).entries[0]
    assert (timed.get("start_percent"), timed.get("end_percent")) == (0.2, 0.6)


def test_the_ecosystem_encodes_in_two_steps() -> None:
    clip, ours = storybook().clip, encoded("a red (house:1.2)")
    tokens = clip.tokenize("a red (house:1.2)")
    assert torch.equal(clip.encode_from_tokens(tokens), ours.embedding)
    embedding, pooled = clip.encode_from_tokens(tokens, return_pooled=True)
    assert torch.equal(embedding, ours.embedding)
    assert torch.equal(pooled, ours.pooled)
    ((embedding, options),) = clip.encode_from_tokens_scheduled(tokens)
    assert torch.equal(embedding, ours.embedding)
    assert list(options) == ["pooled_output"]
