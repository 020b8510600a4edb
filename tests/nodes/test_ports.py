"""Our values as nodes of the ecosystem know them, and back."""

import pytest
import torch

from engine.ports import Blocked, adapted
from engine.problems import NodeFailure
from nodes.ports import Cond, Conditioning, Latent


def test_a_latent_survives_as_a_dict() -> None:
    latent = Latent(torch.ones(2, 4, 8, 8), torch.zeros(1, 1, 64, 64), (3, 5))
    plain = latent.as_plain()
    assert list(plain) == ["samples", "noise_mask", "batch_index"]
    back = Latent.from_plain(plain)
    assert back.samples is latent.samples
    assert back.batch_index == (3, 5)
    assert list(Latent(torch.ones(1, 4, 8, 8)).as_plain()) == ["samples"]


def test_a_conditioning_survives_as_a_list() -> None:
    cond = Cond(torch.ones(1, 77, 8), torch.ones(1, 8), (("end_percent", 0.5), ("strength", 2.0)))
    plain = Conditioning((cond,)).as_plain()
    assert plain[0][1]["strength"] == 2.0
    (back,) = Conditioning.from_plain(plain).entries
    assert back.embedding is cond.embedding
    assert back.pooled is cond.pooled
    assert back.options == cond.options
    (bare,) = Conditioning.from_plain([(cond.embedding, {})]).entries
    assert bare.pooled is None


def test_what_is_no_latent_or_conditioning_says_so() -> None:
    with pytest.raises(NodeFailure, match="a dict with samples"):
        Latent.from_plain({"sample": 1})
    with pytest.raises(NodeFailure, match=r"a list of \[embedding, options\]"):
        Conditioning.from_plain([1])


def test_plain_values_become_the_class_of_their_port() -> None:
    latent = Latent(torch.ones(1, 4, 8, 8))
    blocker = Blocked()
    kept = [latent, blocker]
    assert adapted("LATENT", kept) is kept
    first, second, third = adapted("LATENT", [latent, blocker, latent.as_plain()])
    assert (first, second) == (latent, blocker)
    assert third.samples is latent.samples
    assert adapted("IMAGE", [{"samples": 1}]) == [{"samples": 1}]
