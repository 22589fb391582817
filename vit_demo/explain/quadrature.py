"""Where to stand, and how much to count each place, when adding up along a way from 0 to 1."""

import torch
from torch import Tensor


def gauss_legendre(steps: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Points (steps,) and weights (steps,) that sum to 1, as `like`: exact for polynomials up to degree 2 steps - 1.

    Eigenvalues of the Jacobi matrix of the Legendre polynomials (Golub & Welsch 1969).
    """
    k = torch.arange(1, steps, dtype=torch.double)
    beside = k / (4 * k.square() - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return ((points + 1) / 2).to(like), vectors[0].square().to(like)
