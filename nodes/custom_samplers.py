"""Nodes that pick a sampler with its options."""

from typing import Annotated, Literal, TypeAlias

from engine.node import node
from engine.ports import Range
from nodes.diffusion.model import Model
from nodes.ports import SamplerChoice
from nodes.sampling import SamplerName

NoiseScale: TypeAlias = Annotated[float, Range(0.0, 100.0, step=0.01, round=False)]
NoiseDevice: TypeAlias = Literal["gpu", "cpu"]
CATEGORY = "sampling/custom_sampling/samplers"


@node("KSamplerSelect", category=CATEGORY)
def ksampler_select(*, sampler_name: SamplerName) -> SamplerChoice:
    """A sampler with its usual options.

    Args:
        sampler_name: The sampler.
    """
    return SamplerChoice(sampler_name)


@node("SamplerEulerAncestral", category=CATEGORY)
def sampler_euler_ancestral(*, eta: NoiseScale = 1.0, s_noise: NoiseScale = 1.0) -> SamplerChoice:
    """The sampler euler_ancestral.

    Args:
        eta: Share of the noise that is drawn anew at each step; 0 is euler.
        s_noise: Factor on the new noise.
    """
    return SamplerChoice("euler_ancestral", (("eta", eta), ("s_noise", s_noise)))


@node("SamplerEulerAncestralCFGPP", category=CATEGORY, title="SamplerEulerAncestralCFG++")
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


@node("SamplerDPMPP_2S_Ancestral", category=CATEGORY)
def sampler_dpmpp_2s_ancestral(*, eta: NoiseScale = 1.0, s_noise: NoiseScale = 1.0) -> SamplerChoice:
    """The sampler dpmpp_2s_ancestral.

    Args:
        eta: Share of the noise that is drawn anew at each step.
        s_noise: Factor on the new noise.
    """
    return SamplerChoice("dpmpp_2s_ancestral", (("eta", eta), ("s_noise", s_noise)))


@node("SamplerDPMAdaptative", category=CATEGORY)
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


@node("SamplerLMS", category=CATEGORY)
def sampler_lms(*, order: Annotated[int, Range(1, 100)] = 4) -> SamplerChoice:
    """The sampler lms.

    Args:
        order: How many slopes it remembers.
    """
    return SamplerChoice("lms", (("order", order),))


@node("SamplerDPMPP_2M_SDE", category=CATEGORY)
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


@node("SamplerDPMPP_3M_SDE", category=CATEGORY)
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


@node("SamplerDPMPP_SDE", category=CATEGORY)
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


@node("SamplerER_SDE", category=CATEGORY)
def sampler_er_sde(
    *,
    solver_type: Literal["ER-SDE", "Reverse-time SDE", "ODE"],
    max_stage: Annotated[int, Range(1, 3)] = 3,
    eta: NoiseScale = 1.0,
    s_noise: NoiseScale = 1.0,
) -> SamplerChoice:
    """The sampler er_sde.

    Args:
        solver_type: How much noise is drawn anew at each level; an ODE draws none.
        max_stage: The solver's order.
        eta: How much of it the reverse-time SDE draws; 0 is the ODE.
        s_noise: Factor on the new noise.
    """
    options = (("solver_type", solver_type), ("max_stage", max_stage), ("eta", eta), ("s_noise", s_noise))
    return SamplerChoice("er_sde", options)


@node("SamplerSASolver", category=CATEGORY)
def sampler_sa_solver(
    *,
    model: Model,
    eta: Annotated[float, Range(0.0, 10.0, step=0.01, round=False)] = 1.0,
    sde_start_percent: Annotated[float, Range(0.0, 1.0, step=0.001)] = 0.2,
    sde_end_percent: Annotated[float, Range(0.0, 1.0, step=0.001)] = 0.8,
    s_noise: NoiseScale = 1.0,
    predictor_order: Annotated[int, Range(1, 6)] = 3,
    corrector_order: Annotated[int, Range(0, 6)] = 4,
    use_pece: bool,
    simple_order_2: bool,
) -> SamplerChoice:
    """The sampler sa_solver.

    Args:
        model: The model whose sampling the percents are shares of.
        eta: Share of the noise that is drawn anew at each step.
        sde_start_percent: The share of the sampling from which noise is drawn.
        sde_end_percent: The share after which none is drawn.
        s_noise: Factor on the new noise.
        predictor_order: How many estimates a step is predicted from.
        corrector_order: How many it is corrected by; 0 does not correct.
        use_pece: Whether to ask the model again after each correction.
        simple_order_2: Whether steps of second order are weighted as for few steps.
    """
    start, end = (model.sampling.percent_to_sigma(p) for p in (sde_start_percent, sde_end_percent))
    options = (("eta", eta), ("first", start), ("last", end), ("s_noise", s_noise))
    orders = (("predictor_order", predictor_order), ("corrector_order", corrector_order))
    flags = (("pece", use_pece), ("simple_order_2", simple_order_2))
    return SamplerChoice("sa_solver", (*options, *orders, *flags))


@node("SamplerEulerCFGpp", category="_for_testing", title="SamplerEulerCFG++")
def sampler_euler_cfg_pp(*, version: Literal["regular", "alternative"]) -> SamplerChoice:
    """The sampler euler_cfg_pp.

    Args:
        version: "alternative" pushes the picture away from the unconditional estimate instead.
    """
    return SamplerChoice("euler_cfg_pp" if version == "regular" else "euler_cfg_pp_alternative")


@node("SamplerLCMUpscale", category=CATEGORY)
def sampler_lcm_upscale(
    *,
    scale_ratio: Annotated[float, Range(0.1, 20.0, step=0.01)] = 1.0,
    scale_steps: Annotated[int, Range(-1, 1000, step=1)] = -1,
    upscale_method: Literal["bislerp", "nearest-exact", "bilinear", "area", "bicubic"],
) -> SamplerChoice:
    """The sampler lcm, with a latent that grows over the first steps.

    Args:
        scale_ratio: How much it grows in all.
        scale_steps: Over how many steps; below 0 half of them.
        upscale_method: How it is resized.
    """
    options = (("scale_ratio", scale_ratio), ("scale_steps", scale_steps))
    return SamplerChoice("lcm_upscale", (*options, ("upscale_method", upscale_method)))


def _at(name: str, noise_device: str) -> str:
    return f"{name}_gpu" if noise_device == "gpu" else name
