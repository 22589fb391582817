"""The positions of a picture of another size: which sizes there are, and what is told of them, of every shape of model."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification

from tests.models import save_model
from tests.test_draw import unpack
from vit_demo import questions
from vit_demo.chapters import resize, tokens
from vit_demo.chapters.scene import Look, number
from vit_demo.classifier import load
from vit_demo.explain.positions import interpolated, neighbour_similarity, position_similarity
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace


def sizes(grid, patch=4, width=48):
    return resize.sizes(SimpleNamespace(trace=SimpleNamespace(grid=grid), config=SimpleNamespace(hidden_size=width), patch=patch))


def look(folder) -> Look:
    classifier = load(folder)
    return Look(classifier, trace(classifier, Image.open(SAMPLES[1][0])))


@pytest.mark.parametrize("grid, patch, found", [
    ((8, 8), 4, {16: (4, 4), 20: (5, 5), 24: (6, 6), 32: (8, 8), 40: (10, 10), 48: (12, 12), 56: (14, 14), 64: (16, 16)}),
    ((14, 14), 16, {112: (7, 7), 144: (9, 9), 176: (11, 11), 224: (14, 14), 288: (18, 18), 336: (21, 21), 400: (25, 25), 448: (28, 28)}),
    ((2, 2), 8, {16: (2, 2), 24: (3, 3), 32: (4, 4)}),
    ((4, 6), 4, {12: (2, 3), 16: (3, 4), 20: (3, 5), 24: (4, 6), 32: (5, 8), 36: (6, 9), 44: (7, 11), 48: (8, 12)}),
    ((4, 1), 4, {16: (4, 1), 20: (5, 1), 24: (6, 2), 28: (7, 2), 32: (8, 2)}),
    ((1, 1), 37, {}), ((1, 2), 8, {}), ((3, 1), 4, {})])
def test_sizes_go_from_half_to_twice_in_whole_patches(grid, patch, found):
    assert sizes(grid, patch) == found


@pytest.mark.parametrize("grid", [(rows, cols) for rows in (1, 2, 3, 5, 7, 16, 110) for cols in (1, 2, 3, 4, 9, 31, 110)])
def test_sizes_are_few_and_the_own_one_is_among_them(grid):
    found = sizes(grid)
    assert len(found) <= 8 and (not found or grid == found[4 * max(grid)]) and bool(found) == (grid[0] * grid[1] >= 4)
    assert all(max(grid) / 2 <= max(other) <= 2 * max(grid) and max(other) * 4 == size for size, other in found.items())


def test_a_table_too_large_is_not_interpolated():
    found = sizes((110, 110), 4, 1280)  # 15 million numbers of its own
    assert max(found) == 440 and all(rows * cols * 1280 <= resize.MOST_NUMBERS for rows, cols in found.values())
    assert max(sizes((128, 128), 4, 1280)) == 512  # its own is no larger by being shown


@pytest.mark.parametrize("settings", [{}, {"size": (224, 224), "patch": 16}, {"size": (16, 32)}, {"size": (8, 8)}])
def test_what_is_told_is_of_this_models_positions(tmp_path, settings):
    seen = look(save_model(tmp_path / "model", **settings))
    table = ViTForImageClassification.from_pretrained(tmp_path / "model").vit.embeddings.position_embeddings[0].detach()
    own, begun = seen.trace.grid, tokens.scene(seen)["data"]["resize"]
    at_home = number(neighbour_similarity(position_similarity(table, own))[0])
    assert [choice["size"] for choice in begun["sizes"]] == list(resize.sizes(seen)) and begun["now"]["size"] == 2 * max(seen.size)
    for place, (size, grid) in enumerate(resize.sizes(seen).items()):
        *_, told = tokens.answer(seen, questions.read(seen, 4, {"what": "resize", "size": size, "patch": seen.middle + 1}))
        cosines = position_similarity(interpolated(table, own, grid), grid)
        row, col = divmod(told["place"], grid[1])
        assert torch.allclose(unpack(told["cosines"]).float(), cosines[row, col], atol=1e-4) and len(json.dumps(told)) < 4000
        there, count = number(neighbour_similarity(cosines)[0]), grid[0] * grid[1] + 1
        assert begun["sizes"][place]["text"] in told["says"] and f"{grid[0]} × {grid[1]}" in told["says"] and f" {count} tokens" in told["says"]
        assert re.findall(r"−?\d\.\d\d", told["says"]) == ([there] if place == begun["own"] else [there, at_home])


@pytest.mark.parametrize("size, patch", [((4, 4), 4), ((8, 16), 8)])
def test_of_too_few_places_nothing_is_offered(tmp_path, size, patch):
    seen = look(save_model(tmp_path / "model", size=size, patch=patch))
    scene = tokens.scene(seen)
    assert scene["data"]["resize"] is None and scene["also"] == []
    assert next(tokens.answer(seen, {"what": "resize"}))["grid"] == list(seen.trace.grid)
