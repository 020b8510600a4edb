"""The model: each row its own level and prompt, alone or in company; ControlNets add up."""

from collections.abc import Iterator

import pytest
import torch

from nodes.diffusion.control import ControlNet, ControlRow, Hint
from nodes.diffusion.model import Query
from nodes.diffusion.sampling_space import ModelSampling
from tests.nodes.networks import tiny_control, tiny_model


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def query(seed: int, sigma: float = 2.0, tokens: int = 5, control: tuple[ControlRow, ...] = ()) -> Query:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 4, 8, 8, generator=draw) * (1 + sigma**2) ** 0.5
    return Query(x, torch.tensor(sigma), torch.randn(1, tokens, 8, generator=draw), control)


def row(net: ControlNet, strength: float = 1.0, level: float = 0.5) -> ControlRow:
    return ControlRow(net, Hint(torch.full((1, 3, 64, 64), level)), strength)


def test_a_row_is_answered_as_the_network_and_its_space_say() -> None:
    model, asked = tiny_model(), query(0)
    seen = asked.x / 5**0.5
    timestep = model.sampling.timestep(torch.tensor([2.0]))
    unet = model.recipe.module(model.devices)
    output = unet(seen, timestep, encoder_hidden_states=asked.context, return_dict=False)[0]
    (answer,) = model.answer([asked])
    torch.testing.assert_close(answer, asked.x - 2.0 * output)


def test_rows_in_company_are_answered_as_alone() -> None:
    model = tiny_model()
    queries = [query(0, 14.0), query(1, 2.0), query(2, 0.1)]
    for together, asked in zip(model.answer(queries), queries, strict=True):
        (alone,) = model.answer([asked])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_a_row_without_a_batch_axis_is_answered_in_kind() -> None:
    model, asked = tiny_model(), query(0)
    (answer,) = model.answer([Query(asked.x[0], asked.sigma, asked.context)])
    assert torch.equal(answer, model.answer([asked])[0][0])


@pytest.mark.parametrize("prediction", ["eps", "v_prediction", "x0"])
def test_the_prediction_type_decides_what_the_output_means(prediction: str) -> None:
    space = ModelSampling(prediction=prediction)  # type: ignore[arg-type]
    asked = query(0)
    outputs = {p: tiny_model(sampling=ModelSampling(prediction=p)).answer([asked])[0] for p in ("eps", "x0")}  # type: ignore[arg-type]
    output = outputs["x0"]
    (answer,) = tiny_model(sampling=space).answer([asked])
    torch.testing.assert_close(answer, space.denoised(asked.x, asked.sigma[None], output))
    torch.testing.assert_close(outputs["eps"], asked.x - 2.0 * output)


def test_keys_tell_apart_what_cannot_share_a_batch() -> None:
    model, net, other = tiny_model(), tiny_control("a"), tiny_control("b")
    key = model.batch_key
    assert key(query(0, 14.0)) == key(query(1, 0.1))
    assert key(query(0)) != key(query(0, tokens=7))
    assert key(query(0, control=(row(net, 1.0),))) == key(query(1, control=(row(net, 0.3),)))
    different = {key(query(0)), key(query(0, control=(row(net),))), key(query(0, control=(row(other),)))}
    assert len(different) == 3
    hash(key(query(0)))


def test_models_are_equal_by_what_they_compute() -> None:
    assert tiny_model() == tiny_model()
    assert hash(tiny_model()) == hash(tiny_model())
    assert tiny_model() != tiny_model("other")
    assert tiny_model() != tiny_model(sampling=ModelSampling(prediction="v_prediction"))


def test_a_control_changes_the_answer_by_its_strength() -> None:
    model, net = tiny_model(), tiny_control()
    (plain,), (absent,), (half,), (full,) = (
        model.answer([query(0, control=control)])
        for control in ((), (row(net, 0.0),), (row(net, 0.5),), (row(net, 1.0),))
    )
    torch.testing.assert_close(absent, plain, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(half, plain, atol=1e-3)
    assert not torch.allclose(half, full, atol=1e-3)


def test_rows_have_their_own_hints_and_strengths() -> None:
    model, net = tiny_model(), tiny_control()
    queries = [query(0, control=(row(net, 0.5, 0.1),)), query(1, control=(row(net, 1.0, 0.9),))]
    for together, asked in zip(model.answer(queries), queries, strict=True):
        torch.testing.assert_close(together, model.answer([asked])[0], rtol=1e-5, atol=1e-5)


def test_several_controls_add_up() -> None:
    model, net = tiny_model(), tiny_control()
    (twice,) = model.answer([query(0, control=(row(net, 0.5), row(net, 0.5)))])
    (once,) = model.answer([query(0, control=(row(net, 1.0),))])
    torch.testing.assert_close(twice, once, rtol=1e-5, atol=1e-5)


def test_an_empty_latent_takes_the_models_channels() -> None:
    model = tiny_model()
    assert model.fitted(torch.zeros(2, 16, 8, 8)).shape == (2, 4, 8, 8)
    assert model.fitted(torch.ones(2, 16, 8, 8)).shape == (2, 16, 8, 8)
    assert len(model.sigmas("karras", 5)) == 6
