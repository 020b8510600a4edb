"""The mathematics of diffusion: plain functions and classes, which know no node and no HTTP."""
