"""Integrals of interpolating polynomials: the weights of multistep methods over unequal steps."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_legendre

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_POINTS, _WEIGHTS = roots_legendre(32)


def integrals(nodes: Sequence[float], begin: float, end: float, weight: Curve = np.ones_like) -> list[float]:
    """∫ weight(t) L_j(t) dt from `begin` to `end`, for each Lagrange basis polynomial L_j on `nodes`.

    By Gauss-Legendre quadrature: exact for polynomials up to degree 63.
    """
    t = (end - begin) / 2 * _POINTS + (begin + end) / 2
    scale = _WEIGHTS * weight(t) * ((end - begin) / 2)
    return [float(scale @ basis(nodes, j, t)) for j in range(len(nodes))]


def basis(nodes: Sequence[float], j: int, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Lagrange polynomial that is 1 at the j-th of the nodes and 0 at the others, at each t."""
    value = np.ones_like(t)
    for k, node in enumerate(nodes):
        if k != j:
            value *= (t - node) / (nodes[j] - node)
    return value
