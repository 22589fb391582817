from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close
from transformers import ViTConfig, ViTImageProcessorPil

from tests.explain_models import SHAPES, model, pixels
from vit_demo.chapters import patches as chapter
from vit_demo.errors import UserError
from vit_demo.explain.patches import model_grid, patchify, unnormalise, unpatchify


@pytest.mark.parametrize("name", SHAPES)
def test_patches_put_back_are_the_picture(name):
    picture = pixels(name)
    grid = model_grid(model(name))
    assert torch.equal(unpatchify(patchify(picture, model(name).config.patch_size), grid), picture)
    assert torch.equal(unpatchify(patchify(picture[0], model(name).config.patch_size), grid), picture[0])


def test_patches_come_in_reading_order():
    picture = torch.arange(2 * 4 * 6).reshape(2, 4, 6)
    patches = patchify(picture, 2)
    assert patches.shape == (6, 2, 2, 2)
    assert torch.equal(patches[1], picture[:, 0:2, 2:4])
    assert torch.equal(patches[3], picture[:, 2:4, 0:2])


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="5x6 px picture does not divide into 2 px patches"):
        patchify(torch.zeros(3, 5, 6), 2)
    with pytest.raises(ValueError, match="4 patches do not fill a grid of 2 rows x 3 columns"):
        unpatchify(torch.zeros(4, 3, 2, 2), (2, 3))


def test_unnormalise_undoes_the_processor():
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
    picture = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = processor(picture.permute(1, 2, 0).numpy(), return_tensors="pt").pixel_values[0]
    assert_close(unnormalise(seen, processor.image_mean, processor.image_std) * 255, picture.float(), atol=1e-3, rtol=0)


def seen(width, side) -> SimpleNamespace:
    """A model as a chapter looks at it, as far as its patches are concerned."""
    return SimpleNamespace(size=(side, side), config=ViTConfig(hidden_size=width, num_attention_heads=1, num_hidden_layers=1, intermediate_size=8, image_size=side, num_labels=3))


@pytest.mark.parametrize(("width", "side", "built"), [
    (1280, 505, None),  # its sides are 505 and 101, of 979 and 39 million weights, and 1, of 255,026 tokens
    (1280, 64, [64, 32, 16, 8, 4, 2]), (48, 32, [32, 16, 8, 4, 2, 1]), (1280, 512, [64, 32, 16])])
def test_no_patch_size_is_timed_that_takes_a_huge_model(monkeypatch, width, side, built):
    made = []
    monkeypatch.setattr(chapter, "forward", lambda config, size: (made.append(size), lambda: None)[1])
    if built is None:
        with pytest.raises(UserError, match="no patch size of this model can be timed.* 1,025 tokens, and a projection of 30 million weights"):
            list(chapter.answer(seen(width, side), {"what": "time"}))
    else:
        *_, last = chapter.answer(seen(width, side), {"what": "time"})
        assert last["progress"] == 1 and [row["patch"] for row in last["rows"] if row["measured"]] == built
    assert made == (built or []) and all(3 * size * size * width <= chapter.MOST_WEIGHTS for size in made)
