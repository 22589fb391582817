import pytest
import torch
from torch.testing import assert_close

from vit_demo.explain.quadrature import gauss_legendre


@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_polynomials_up_to_the_degree_are_exact(steps):
    points, weights = gauss_legendre(steps, torch.zeros(1, dtype=torch.double))
    assert ((0 < points) & (points < 1)).all()
    for degree in range(2 * steps):
        assert_close((weights * points**degree).sum().item(), 1 / (degree + 1), atol=1e-12, rtol=0)


def test_two_points_are_those_of_the_books():
    points, weights = gauss_legendre(2, torch.zeros(1))
    assert_close(points, torch.tensor([0.5 - 3**-0.5 / 2, 0.5 + 3**-0.5 / 2]))
    assert_close(weights, torch.tensor([0.5, 0.5]))
