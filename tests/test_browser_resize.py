"""Chapter 4 in a real browser, below its maps: the positions of a picture of another size follow size and patch, and equal a recomputation."""

import pytest
import torch
from transformers import ViTForImageClassification

from tests.browser import CHROMIUM, go, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.models import save_model
from tests.served import serve
from vit_demo.chapters.scene import number
from vit_demo.models import Models

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture
def resized(page):
    """Chapter 4, patch 9 (row 1, column 1) chosen, at twice the size."""
    go(page, 4)
    page.focus(".side .picture")
    for key in ("Escape", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    page.fill(".resized input", "7")
    settled(page, 9, 3, 3)
    return page


def settled(page, patch: int, row: int, col: int):
    page.wait_for_selector(f".resized h3:text-is('where patch {patch} lies, row {row}, column {col}')")
    page.wait_for_function("!vit.frame.line.busy")


def cosines(folder, side: int, place: int) -> torch.Tensor:
    """By transformers and torch alone: (side,side)"""
    embeddings = ViTForImageClassification.from_pretrained(folder).vit.embeddings
    new = embeddings.interpolate_pos_encoding(torch.zeros(1, side * side + 1, 48), side * 4, side * 4)[0, 1:].detach()
    return torch.cosine_similarity(new - new.mean(0), (new - new.mean(0))[place], dim=-1).reshape(side, side)


def test_map_and_words_are_those_of_size_and_patch(resized, folder):
    seen = cosines(folder, 16, 3 * 16 + 3)
    assert f"beside {number(seen[3, 4].item())} · above or below {number(seen[4, 3].item())} · far corner {number(seen[15, 15].item())}" in resized.inner_text(".resized figcaption >> nth=0")
    drawn = resized.evaluate("""() => { const map = document.querySelector('.resized .thumb'), cell = map.width / 16, pen = map.getContext('2d');
        return [[3, 3], [4, 3]].map(([r, c]) => [...pen.getImageData((c + .5) * cell, (r + .5) * cell, 1, 1).data]); }""")
    share, hue, ground = abs(seen[4, 3].item()), (0, 114, 178) if seen[4, 3] > 0 else (213, 94, 0), (238, 239, 236)
    assert drawn[0] == [0, 114, 178, 255]
    assert drawn[1][:3] == pytest.approx([g + (c - g) * share for g, c in zip(ground, hue, strict=True)], abs=1.5)
    assert "64 × 64 px begins with a grid of 16 × 16, so with 257 tokens instead of 65" in resized.inner_text(".resized [aria-live]")


def test_the_slider_works_by_keyboard_and_says_which_size_is_its_own(resized, folder):
    resized.focus(".resized input")
    resized.keyboard.press("Home")
    settled(resized, 9, 0, 0)
    assert "16 × 16 px begins with a grid of 4 × 4, so with 17 tokens" in resized.inner_text(".resized [aria-live]")
    for _ in range(3):
        resized.keyboard.press("ArrowRight")
    settled(resized, 9, 1, 1)
    assert resized.get_attribute(".resized input", "aria-valuetext") == resized.inner_text(".resized output") == "32 × 32 px, its own"
    assert "nothing is interpolated" in resized.inner_text(".resized [aria-live]")
    assert resized.inner_text(".resized figcaption >> nth=0") == resized.inner_text(".marked-map ~ figcaption >> nth=0")  # the map above
    assert resized.evaluate("document.activeElement.matches('.resized input')")


def test_pointing_asks_the_server_for_nothing_and_a_click_for_one_thing(resized, folder):
    asked = []
    resized.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    for map in (".side .picture", ".resized .marked-map"):
        resized.locator(map).scroll_into_view_if_needed()
        box = resized.locator(map).bounding_box()
        for share in (0.1, 0.5, 0.9):
            resized.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
    assert resized.inner_text(".resized figcaption >> nth=1") == f"to row 14, column 14: {number(cosines(folder, 16, 51)[14, 14].item())}"
    resized.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.9 * box["height"])
    assert resized.inner_text(".resized figcaption >> nth=1") == f"to row 14, column 3: {number(cosines(folder, 16, 51)[14, 3].item())}"
    resized.wait_for_timeout(300)
    assert asked == []
    resized.locator(".side .picture").scroll_into_view_if_needed()
    box = resized.locator(".side .picture").bounding_box()
    resized.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.3 * box["height"])
    settled(resized, 23, 5, 15)
    assert len(asked) == 1
    resized.mouse.move(5, 5)


def test_the_snippet_follows_the_slider(resized, folder):
    resized.fill(".resized input", "1")
    settled(resized, 9, 0, 0)
    space = {}
    exec(resized.text_content(".chapter > .check code >> nth=1").replace('folder = "model"', f"folder = {str(folder)!r}"), space)
    assert f"a grid of 5 × 5: {number(space['answer'], 3)}." in resized.text_content(".chapter > .check p >> nth=1")
    assert f"a cosine of {number(space['answer'])} on average, against" in resized.inner_text(".resized [aria-live]")


@pytest.mark.parametrize("size, shown", [((4, 4), 0), ((8, 8), 1), ((16, 32), 1)])
def test_it_is_there_where_places_are_enough_and_fits_360_pixels(open_page, tmp_path, size, shown):
    with serve(Models(str(save_model(tmp_path / "model", size=size)))) as served:
        page = open_page(f"{served}/?chapter=4")
        assert page.locator(".resized").count() == shown and page.locator(".chapter > .check code").count() == 1 + shown
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.close()
