import pytest
import torch
from transformers import ViTConfig

from tests.explain_models import SHAPES, model, pixels
from vit_demo.explain.methods import DEFAULT, METHODS, QUICK, opening
from vit_demo.explain.relevance import target


def test_the_default_is_shipped():
    assert DEFAULT in METHODS and not METHODS[QUICK].slow


def test_a_large_model_opens_with_the_quick_map():
    assert opening(ViTConfig(image_size=32, patch_size=4, hidden_size=192, num_hidden_layers=6, intermediate_size=384)) == DEFAULT
    assert opening(ViTConfig()) == QUICK  # ViT-B/16 at 224 px


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_said_of_a_map_holds(name, method):
    said, vit = METHODS[method], model(name)
    maps = [said.map(vit, pixels(name), target(vit, wanted)) for wanted in (0, 1)]
    for found in maps:
        assert found.shape == (vit.vit.embeddings.patch_embeddings.num_patches,) and found.isfinite().all()
        assert (found.min() < 0) == said.signed
    assert torch.equal(*maps) == (not said.by_class)


@pytest.mark.parametrize("method", [name for name, said in METHODS.items() if said.slow])
def test_slow_maps_tell_their_progress(method):
    seen = []
    METHODS[method].map(model("16x24/4"), pixels("16x24/4"), target(model("16x24/4"), 0), progress=lambda *d: seen.append(d))
    assert seen and seen[-1][0] == seen[-1][1]
