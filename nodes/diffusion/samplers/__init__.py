"""The samplers, by their names in workflows; one file a family."""

from collections.abc import Mapping
from types import MappingProxyType

from nodes.diffusion.samplers import (
    ddim,
    dpm2,
    dpm_solver,
    dpmpp,
    dpmpp_sde,
    er_sde,
    euler,
    gradient_estimation,
    heun,
    ipndm,
    lms,
    posterior,
    res_multistep,
    sa_solver,
    seeds,
    uni_pc,
)
from nodes.diffusion.samplers.sampler import Sampler

_FAMILIES = (
    euler, heun, dpm2, lms, dpm_solver, dpmpp, dpmpp_sde, posterior, ipndm, res_multistep,
    gradient_estimation, er_sde, seeds, sa_solver, ddim, uni_pc,
)  # fmt: skip

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {s.name: s for family in _FAMILIES for s in vars(family).values() if isinstance(s, Sampler)}
)
"""Every sampler by its name in workflows; the order of those that are listed is the combo's order."""

__all__ = ["SAMPLERS", "Sampler"]
