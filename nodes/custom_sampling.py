"""Nodes that make the parts of custom sampling: noise, guiders, samplers with their options."""

from typing import Annotated, Literal, TypeAlias

from engine.node import node
from engine.ports import Range
from nodes.diffusion import guidance
from nodes.diffusion.guidance import Guider
from nodes.diffusion.model import Model
from nodes.ports import Conditioning, Noise, SamplerChoice, Seed
from nodes.sampling import Cfg, SamplerName

NoiseScale: TypeAlias = Annotated[float, Range(0.0, 100.0, step=0.01, round=False)]
NoiseDevice: TypeAlias = Literal["gpu", "cpu"]
SAMPLERS_CATEGORY = "sampling/custom_sampling/samplers"


@node("RandomNoise", category="sampling/custom_sampling/noise")
def random_noise(*, noise_seed: Seed = 0) -> Noise:
    """Seeded standard normal noise.

    Args:
        noise_seed: The same seed gives the same noise.
    """
    return Noise(noise_seed)


@node("DisableNoise", category="sampling/custom_sampling/noise")
def disable_noise() -> Noise:
    """No noise: the latent is taken as noisy already."""
    return Noise(None)


@node("BasicGuider", category="sampling/custom_sampling/guiders")
def basic_guider(*, model: Model, conditioning: Conditioning) -> Guider:
    """Follow one conditioning, without guidance.

    Args:
        model: The model that denoises.
        conditioning: What the picture should show.
    """
    return guidance.plain(model, conditioning)


@node("CFGGuider", category="sampling/custom_sampling/guiders")
def cfg_guider(*, model: Model, positive: Conditioning, negative: Conditioning, cfg: Cfg = 8.0) -> Guider:
    """Classifier-free guidance (Ho & Salimans 2022).

    Args:
        model: The model that denoises.
        positive: What the picture should show.
        negative: What it should not show.
        cfg: Guidance scale; at 1 the negative conditioning has no effect.
    """
    return guidance.classifier_free(model, positive, negative, cfg)


@node("DualCFGGuider", category="sampling/custom_sampling/guiders")
def dual_cfg_guider(
    *,
    model: Model,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: Cfg = 8.0,
    cfg_cond2_negative: Cfg = 8.0,
    style: Literal["regular", "nested"],
) -> Guider:
    """Guide one conditioning by a second, and the second by the negative (Brooks et al. 2023).

    Args:
        model: The model that denoises.
        cond1: What the picture should show most.
        cond2: What it is compared with.
        negative: What it should not show.
        cfg_conds: Scale of the first conditioning against the second.
        cfg_cond2_negative: Scale against the negative.
        style: Whether the second scale acts on the second conditioning, or on the guided pair ("nested").
    """
    nested = style == "nested"
    return guidance.dual(model, cond1, cond2, negative, cfg_conds, cfg_cond2_negative, nested=nested)


@node("KSamplerSelect", category=SAMPLERS_CATEGORY)
def ksampler_select(*, sampler_name: SamplerName) -> SamplerChoice:
    """A sampler with its usual options.

    Args:
        sampler_name: The sampler.
    """
    return SamplerChoice(sampler_name)


@node("SamplerEulerAncestral", category=SAMPLERS_CATEGORY)
def sampler_euler_ancestral(*, eta: NoiseScale = 1.0, s_noise: NoiseScale = 1.0) -> SamplerChoice:
    """The sampler euler_ancestral.

    Args:
        eta: Share of the noise that is drawn anew at each step; 0 is euler.
        s_noise: Factor on the new noise.
    """
    return SamplerChoice("euler_ancestral", (("eta", eta), ("s_noise", s_noise)))


@node("SamplerEulerAncestralCFGPP", category=SAMPLERS_CATEGORY, title="SamplerEulerAncestralCFG++")
def sampler_euler_ancestral_cfg_pp(
    *,
    eta: Annotated[float, Range(0.0, 1.0, step=0.01, round=False)] = 1.0,
    s_noise: Annotated[float, Range(0.0, 10.0, step=0.01, round=False)] = 1.0,
) -> SamplerChoice:
    """The sampler euler_ancestral_cfg_pp.

    Args:
        eta: Share of the noise that is drawn anew at each step; 0 is euler_cfg_pp.
        s_noise: Factor on the new noise.
    """
    return SamplerChoice("euler_ancestral_cfg_pp", (("eta", eta), ("s_noise", s_noise)))


@node("SamplerDPMPP_2S_Ancestral", category=SAMPLERS_CATEGORY)
def sampler_dpmpp_2s_ancestral(*, eta: NoiseScale = 1.0, s_noise: NoiseScale = 1.0) -> SamplerChoice:
    """The sampler dpmpp_2s_ancestral.

    Args:
        eta: Share of the noise that is drawn anew at each step.
        s_noise: Factor on the new noise.
    """
    return SamplerChoice("dpmpp_2s_ancestral", (("eta", eta), ("s_noise", s_noise)))


@node("SamplerDPMAdaptative", category=SAMPLERS_CATEGORY)
def sampler_dpm_adaptive(
    *,
    order: Annotated[int, Range(2, 3)] = 3,
    rtol: NoiseScale = 0.05,
    atol: NoiseScale = 0.0078,
    h_init: NoiseScale = 0.05,
    pcoeff: NoiseScale = 0.0,
    icoeff: NoiseScale = 1.0,
    dcoeff: NoiseScale = 0.0,
    accept_safety: NoiseScale = 0.81,
    eta: NoiseScale = 0.0,
    s_noise: NoiseScale = 1.0,
) -> SamplerChoice:
    """The sampler dpm_adaptive, which sizes its steps by their error.

    Args:
        order: Order of the solver.
        rtol: Allowed error relative to the picture.
        atol: Allowed error where the picture is near zero.
        h_init: The first step, in the logarithm of the noise level.
        pcoeff: Proportional gain of the step size's controller.
        icoeff: Its integral gain.
        dcoeff: Its differential gain.
        accept_safety: How far a step may have to shrink and still be taken.
        eta: Share of the noise that is drawn anew at each step.
        s_noise: Factor on the new noise.
    """
    tolerances = (("rtol", rtol), ("atol", atol), ("h_init", h_init), ("accept_safety", accept_safety))
    gains = (("pcoeff", pcoeff), ("icoeff", icoeff), ("dcoeff", dcoeff))
    return SamplerChoice(
        "dpm_adaptive", (("order", order), *tolerances, *gains, ("eta", eta), ("s_noise", s_noise))
    )


@node("SamplerLMS", category=SAMPLERS_CATEGORY)
def sampler_lms(*, order: Annotated[int, Range(1, 100)] = 4) -> SamplerChoice:
    """The sampler lms.

    Args:
        order: How many slopes it remembers.
    """
    return SamplerChoice("lms", (("order", order),))


@node("SamplerDPMPP_2M_SDE", category=SAMPLERS_CATEGORY)
def sampler_dpmpp_2m_sde(
    *,
    solver_type: Literal["midpoint", "heun"],
    eta: NoiseScale = 1.0,
    s_noise: NoiseScale = 1.0,
    noise_device: NoiseDevice,
) -> SamplerChoice:
    """The sampler dpmpp_2m_sde.

    Args:
        solver_type: How the change of the estimate is weighted.
        eta: Share of the noise that is drawn anew at each step; 0 is dpmpp_2m.
        s_noise: Factor on the new noise.
        noise_device: Where the noise is computed; "cpu" gives the same on every machine.
    """
    options = (("eta", eta), ("s_noise", s_noise), ("solver_type", solver_type))
    return SamplerChoice(_at("dpmpp_2m_sde", noise_device), options)


@node("SamplerDPMPP_3M_SDE", category=SAMPLERS_CATEGORY)
def sampler_dpmpp_3m_sde(
    *, eta: NoiseScale = 1.0, s_noise: NoiseScale = 1.0, noise_device: NoiseDevice
) -> SamplerChoice:
    """The sampler dpmpp_3m_sde.

    Args:
        eta: Share of the noise that is drawn anew at each step.
        s_noise: Factor on the new noise.
        noise_device: Where the noise is computed; "cpu" gives the same on every machine.
    """
    return SamplerChoice(_at("dpmpp_3m_sde", noise_device), (("eta", eta), ("s_noise", s_noise)))


@node("SamplerDPMPP_SDE", category=SAMPLERS_CATEGORY)
def sampler_dpmpp_sde(
    *, eta: NoiseScale = 1.0, s_noise: NoiseScale = 1.0, r: NoiseScale = 0.5, noise_device: NoiseDevice
) -> SamplerChoice:
    """The sampler dpmpp_sde.

    Args:
        eta: Share of the noise that is drawn anew at each step.
        s_noise: Factor on the new noise.
        r: Where within a step its middle stage lies.
        noise_device: Where the noise is computed; "cpu" gives the same on every machine.
    """
    return SamplerChoice(_at("dpmpp_sde", noise_device), (("eta", eta), ("r", r), ("s_noise", s_noise)))


def _at(name: str, noise_device: str) -> str:
    return f"{name}_gpu" if noise_device == "gpu" else name
