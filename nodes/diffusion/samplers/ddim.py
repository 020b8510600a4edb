"""DDIM: Euler's method by its first name in this field."""

from dataclasses import replace

from nodes.diffusion.samplers.euler import euler

ddim = replace(euler, name="ddim", redraws_inpaint_noise=True)
"""Song et al. 2020 with η = 0; in σ space its step is Euler's (Karras et al. 2022, appendix C.4)."""
