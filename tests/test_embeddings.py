import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels
from vit_demo.explain.embeddings import assembly, evenness, filter_components, project, projection, projection_sum
from vit_demo.explain.patches import patchify


def patches(name):
    return patchify(pixels(name)[0], model(name).config.patch_size)


@pytest.mark.parametrize("name", SHAPES)
def test_projected_patches_with_cls_and_positions_are_the_models_embeddings(name):
    weight, bias = projection(model(name))
    projected = project(patches(name), weight, bias)
    assert_close(projected, model(name).vit.embeddings.patch_embeddings(pixels(name))[0], atol=1e-5, rtol=0)
    parts = assembly(model(name), projected)
    assert_close(parts.embeddings, outputs(name).hidden_states[0][0], atol=1e-5, rtol=0)
    assert torch.equal(parts.embeddings, torch.cat([parts.cls, parts.patches]) + parts.positions)


@pytest.mark.parametrize("name", SHAPES)
def test_the_terms_of_one_number_add_up_to_it(name):
    weight, bias = projection(model(name))
    patch = patches(name)[5]
    for dimension in (0, 47):
        worked = projection_sum(patch, weight, bias, dimension)
        assert worked.terms.shape == patch.shape
        assert_close(worked.terms.sum() + worked.bias, worked.value)
        assert_close(worked.value, project(patch, weight, bias)[dimension], atol=1e-5, rtol=0)


@pytest.mark.parametrize("side, colours", [(1, 3), (2, 9), (4, 9), (16, 9)])
def test_colours_and_slopes_are_even_and_noise_is_as_even_as_chance(side, colours):
    generator = torch.Generator().manual_seed(0)
    slope = torch.arange(side).float()
    even = torch.randn(8, 3, 1, 1, generator=generator) + torch.randn(8, 3, 1, 1, generator=generator) * slope - slope[:, None]
    shares, chance = evenness(even)
    assert_close(shares, torch.ones(8))
    assert chance == pytest.approx(colours / (3 * side**2))
    noise = torch.randn(20_000 // side, 3, side, side, generator=generator)
    assert evenness(noise)[0].mean().item() == pytest.approx(chance, rel=0.05)
    edge = torch.zeros(1, 3, 4, 4)
    edge[:, :, 1:3] = 1.0  # a bar: its mean is half of its energy
    assert evenness(edge - edge.mean())[0].item() == pytest.approx(0, abs=1e-6) and evenness(edge)[0].item() == pytest.approx(0.5)
    assert evenness(torch.zeros(1, 3, 4, 4))[0].item() == 0


def test_components_of_filters_made_from_two_patterns_are_those_patterns():
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(3 * 4 * 4, 2, generator=generator))
    amounts, _ = torch.linalg.qr(torch.randn(20, 2, generator=generator) @ torch.eye(2))
    amounts = amounts - amounts.mean(dim=0)
    amounts, _ = torch.linalg.qr(amounts)  # centred and uncorrelated, so these directions are the principal ones
    filters = (amounts * torch.tensor([2.0, 1.0])) @ basis.T + 0.7
    found = filter_components(filters.reshape(20, 3, 4, 4))
    assert found.filters.shape == (20, 3, 4, 4)
    assert_close((found.filters[:2].flatten(1) @ basis).abs(), torch.eye(2), atol=1e-4, rtol=0)
    assert_close(found.explained[:3], torch.tensor([0.8, 0.2, 0.0]), atol=1e-5, rtol=0)


def test_components_are_orthogonal_and_explain_everything_together():
    weight, _ = projection(model("32/4"))
    found = filter_components(weight, count=48)
    flat = found.filters.flatten(1)
    assert_close(flat @ flat.T, torch.eye(48), atol=1e-5, rtol=0)
    assert_close(found.explained.sum(), torch.tensor(1.0))
    assert torch.equal(found.explained, found.explained.sort(descending=True).values)
    assert (flat.max(dim=1).values == flat.abs().max(dim=1).values).all()
