"""Every chapter in a real browser: what is drawn and worked out equals a recomputation."""

import os
import re
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification

from tests.browser import CHROMIUM, choose, go, plain, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.films import run_of_training
from tests.models import save_model
from tests.served import serve
from vit_demo import classifier
from vit_demo.chapters import CHAPTERS, depth, patches, tokens
from vit_demo.chapters.scene import number, percent, whole
from vit_demo.models import Models
from vit_demo.samples import SAMPLES
from vit_demo.snapshots import CARRIED

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


def test_a_patch_chosen_on_the_left_is_marked_in_the_chapter(page):
    go(page, 5)
    page.focus(".side .picture")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    marks = page.eval_on_selector_all(".picture .chosen", "nodes => nodes.map(n => [n.getAttribute('x'), n.getAttribute('y')])")
    assert len(marks) == 2 and all(mark == ["1", "0"] for mark in marks)


def test_a_place_pointed_at_among_the_position_maps_is_shown_large(page, folder):
    go(page, 4)
    positions = ViTForImageClassification.from_pretrained(folder).vit.embeddings.position_embeddings[0, 1:].detach()
    positions = positions - positions.mean(dim=0)
    cosine = torch.cosine_similarity(positions[27], positions[28], dim=0).item()
    page.locator(".mosaic").scroll_into_view_if_needed()
    box = page.locator(".mosaic").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 3.5 / 8, box["y"] + box["height"] * 3.5 / 8)
    assert "the position of patch 27, row 3, column 3" in page.inner_text(".card .below h3[aria-live]")
    assert f"beside {number(cosine)}" in page.inner_text(".card")
    page.mouse.move(5, 5)
    page.focus(".mosaic")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    assert "the position of patch 8, row 1, column 0" in page.inner_text(".card .below h3[aria-live]")
    drawn = page.evaluate("""async () => {
        const image = new Image(); image.src = document.querySelector('.mosaic image').getAttribute('href'); await image.decode();
        const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
        const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
        const tile = image.width / 8, cell = tile / 9, at = (place, other) => [...pen.getImageData((place % 8) * tile + (other % 8 + 1) * cell,
            Math.floor(place / 8) * tile + (Math.floor(other / 8) + 1) * cell, 1, 1).data];
        return [at(27, 27), at(27, 28)];
    }""")
    assert drawn[0] == [0, 114, 178, 255]  # itself: the full blue of style.css
    hue, ground = ((0, 114, 178), (238, 239, 236)) if cosine > 0 else ((213, 94, 0), (238, 239, 236))
    assert drawn[1][:3] == pytest.approx([g + (c - g) * abs(cosine) for g, c in zip(ground, hue, strict=True)], abs=1.5)


@pytest.mark.parametrize("sent_whole", [tokens.SENT_WHOLE, 0])  # all cosines, or the vectors alone
def test_the_large_map_of_a_place_is_its_own_and_marks_it(open_page, address, folder, monkeypatch, sent_whole):
    monkeypatch.setattr(tokens, "SENT_WHOLE", sent_whole)
    positions = ViTForImageClassification.from_pretrained(folder).vit.embeddings.position_embeddings[0, 1:].detach()
    positions = positions - positions.mean(dim=0)
    cosines = torch.cosine_similarity(positions, positions[29], dim=-1)
    page = open_page(f"{address}/?chapter=4&patch=29&sample={5 if sent_whole else 7}")  # row 3, column 5; of another sample, so that it is made anew
    assert page.locator(".mosaic").count() == bool(sent_whole)
    assert page.inner_text(".marked-map ~ figcaption >> nth=0") == f"beside {number(cosines[30].item())} · above or below {number(cosines[37].item())} · far corner {number(cosines[56].item())}"
    mark, whole = (page.locator(f".marked-map {part} >> nth=0").bounding_box() for part in (".mark", "canvas"))
    assert [(mark["x"] + mark["width"] / 2 - whole["x"]) / whole["width"], (mark["y"] + mark["height"] / 2 - whole["y"]) / whole["height"]] == pytest.approx([5.5 / 8, 3.5 / 8], abs=0.02)
    page.close()


@pytest.mark.parametrize("sent_whole", [tokens.SENT_WHOLE, 0])
def test_places_of_which_nothing_is_left_are_like_none(open_page, tmp_path, monkeypatch, sent_whole):
    monkeypatch.setattr(tokens, "SENT_WHOLE", sent_whole)
    model = ViTForImageClassification.from_pretrained(save_model(tmp_path / "model"))
    torch.nn.init.constant_(model.vit.embeddings.position_embeddings, 0.1)
    model.save_pretrained(tmp_path / "model")
    with serve(Models(str(tmp_path / "model"))) as served:
        page = open_page(f"{served}/?chapter=4")
        assert "beside 0.00 · above or below 0.00 · far corner 0.00" in page.inner_text(".card")
        page.close()


def test_a_column_of_patches_has_none_beside_another(open_page, tmp_path):
    with serve(Models(str(save_model(tmp_path / "model", size=(16, 4))))) as served:
        page = open_page(f"{served}/?chapter=4")
        told = page.inner_text(".marked-map ~ figcaption >> nth=0")
        assert told.startswith("above or below ") and "beside" not in told
        page.close()


def test_percent_is_one_rule_here_and_there(page):
    shares = [part / 2000 for part in range(2001)] + [0.9951, 0.9949, 0.99949999999999, 0.9994999999999999, 0.00049, 1e-9, 0.09949]
    assert page.evaluate("shares => shares.map(vit.percent)", shares) == [percent(share) for share in shares]


def test_half_of_what_is_told_of_attention_is_mixing(page, folder):
    go(page, 2)
    config = ViTForImageClassification.from_pretrained(folder).config
    assert f"comparing and mixing take\t{percent(patches.attention_share(config, 4))}" in page.inner_text(".facts")


def test_how_far_heads_look_is_told_of_this_one_picture(page):
    go(page, 5)
    page.click("text=how far they look")
    assert "as the mean of many pictures; here it is this one alone" in page.inner_text(".stage")


def test_long_work_says_how_far_it_is_and_can_be_stopped(page, monkeypatch):
    monkeypatch.setattr(patches, "forward", lambda config, size: lambda: time.sleep(0.2))
    go(page, 2)
    page.click("text=measure on this server")
    page.wait_for_selector(".busy span:has-text('working')")
    page.click(".busy button")
    page.wait_for_selector(".busy", state="hidden")
    measured = page.locator(".times tr").count()
    page.wait_for_timeout(1500)
    assert page.locator(".times tr").count() == measured and page.locator(".progress:visible").count() == 0
    go(page, 4)  # and the next is answered at once
    page.click("[data-how=move]")
    page.wait_for_selector("text=which is rounding")


def test_next_walks_through_all_chapters(page):
    go(page, 1)
    for number, chapter in enumerate(CHAPTERS, 1):
        page.wait_for_selector(f".chapter[data-number='{number}']")
        assert page.inner_text(".chapter h2") == chapter.TITLE and page.query_selector(".card *")
        if number < len(CHAPTERS):
            page.click(".onward .next")


@pytest.mark.parametrize("number", range(1, len(CHAPTERS) + 1))
def test_a_chapter_follows_the_picture_and_fits_360_pixels(page, number):
    go(page, number)
    told = []
    for sample in (1, 3):
        page.evaluate("document.querySelector('.chapter').dataset.old = 1")
        choose(page, sample)
        page.wait_for_selector(".chapter:not([data-old])")
        told.append(page.inner_text(".chapter"))
    assert told[0] != told[1]
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_training_is_watched_along_a_slider(open_page, tmp_path):
    folder = run_of_training(tmp_path / "run")
    with serve(Models(str(folder))) as served:
        page = open_page(f"{served}/?chapter=9")
        for sample in (1, 2, 3, 4):  # each breaks off what was begun for the one before
            choose(page, sample)
        page.wait_for_selector(".lapse .told:has-text('After epoch 2')")
        labels, model, _ = plain(folder, Image.open(SAMPLES[4][0]))
        _, first, _ = plain(folder, Image.open(SAMPLES[4][0]), folder / "snapshots" / "epoch-001")
        best, said = model.argmax().item(), first.argmax().item()
        assert f"After epoch 2 it says {labels[best]}, {percent(model.max().item())}. It was right on 75\u00a0% of the validation pictures." in page.inner_text(".lapse")
        late = page.get_attribute(".lapse .mosaic image", "href")
        page.fill(".lapse input[type=range] >> nth=0", "0")
        assert f"After epoch 1 it says {labels[said]}, {percent(first.max().item())}" in page.inner_text(".lapse .told")
        assert page.get_attribute(".lapse .mosaic image", "href") != late and page.locator(".lapse .filters canvas").count() == 28
        page.click(".lapse button:has-text('play')")
        page.wait_for_selector(".lapse .told:has-text('After epoch 2')")
        slider = page.locator(".lapse .slider").first
        assert slider.locator("output").inner_text() == slider.locator("input").get_attribute("aria-valuetext") == "epoch 2"
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.close()


def test_no_more_components_are_told_of_than_patches_of_one_pixel_have(open_page, tmp_path):
    with serve(Models(str(run_of_training(tmp_path / "run", size=(8, 8), patch=1)))) as served:
        page = open_page(f"{served}/?chapter=9")
        page.wait_for_selector(".lapse .told:has-text('After epoch 2')")
        assert "the first 3 hold 100\u00a0% of the variance" in page.inner_text(".lapse")
        page.close()


def test_beside_a_model_without_snapshots_another_is_watched_and_it_says_how_to_make_them(page):
    go(page, 9)
    epochs = classifier.load(CARRIED).metrics["epochs"]
    page.wait_for_selector(f".lapse .told:has-text('After epoch {epochs} it says')")
    told = page.inner_text(".lapse")
    assert "This model brings no snapshots of its training, so another one is shown as it learned: a ViT of" in told and "--snapshots 8" in told
    page.focus(".lapse input[type=range] >> nth=0")
    page.keyboard.press("Home")
    assert page.inner_text(".lapse .told").startswith("After epoch 1 it says")


@pytest.mark.parametrize("patch", [4, 8])
def test_each_chapters_number_is_what_its_snippet_gives(open_page, tmp_path, monkeypatch, patch):
    """With two models: the code that stands on the page, run as it is, gives a number that stands on the page; it follows what
    the reader chooses."""
    os.symlink(Path(__file__).parent.parent / "vit_demo", tmp_path / "vit_demo")
    monkeypatch.chdir(tmp_path)
    with serve(Models(str(save_model(tmp_path / "model", patch=patch)))) as served:
        page = open_page(f"{served}/?sample=3&layer=2")
        for chapter in range(1, len(CHAPTERS) + 1):
            go(page, chapter)
            page.focus(".side .picture")
            page.keyboard.press("ArrowRight")
            if chapter == 3:
                page.fill(".card input[type=range]", "5")
            if chapter == 5:
                page.click("[data-layer='0'][data-head='1']")
                page.click("text=queries and keys")
                page.wait_for_selector("text=They hold")
            if chapter == 6:
                page.wait_for_function("!vit.frame.line.busy")
            told = page.inner_text(".chapter") + " ".join(page.eval_on_selector_all(".chapter svg", "charts => charts.map(chart => chart.ariaLabel)"))
            for code, says in page.eval_on_selector_all(".chapter > .check .code", "nodes => nodes.map(node => [node.querySelector('code').textContent, node.previousElementSibling.textContent])"):
                space = {}
                exec(code, space)
                answer = space["answer"]
                shown = {whole(round(answer))} if answer > 1000 else {number(answer), number(answer, 3)} | ({percent(answer)} if 0 < answer < 1 else set())
                for words in (told, says) if ": " in says else (told,):  # some say only which number it is
                    assert any(re.search(rf"(?<![\d.,−]){re.escape(text)}(?![\d.,]\d)", words) for text in shown), (chapter, shown, words)
        page.close()


@pytest.mark.parametrize("sent_whole", [depth.SENT_WHOLE, 0])  # all cosines at once, or those of one layer at a time
def test_the_layer_that_chapter_6_reads_after_is_in_the_address(page, open_page, monkeypatch, sent_whole):
    monkeypatch.setattr(depth, "SENT_WHOLE", sent_whole)
    fresh = open_page(f"{page.url.split('?')[0]}?sample=4&chapter=6")
    assert "after" not in fresh.url
    fresh.fill(".card input[type=range]", "1")
    fresh.wait_for_function("document.querySelector('.near canvas').style.visibility === '' && !vit.frame.line.busy")
    shown = fresh.inner_text(".card")
    assert "after=1" in fresh.url and "1 of 3" in shown
    again = open_page(fresh.url)
    again.wait_for_function("document.querySelector('.near canvas').style.visibility === '' && !vit.frame.line.busy")
    assert again.inner_text(".card") == shown
    deeper = open_page(fresh.url.replace("after=1", "after=7"))  # than this model is
    deeper.wait_for_function("location.search.includes('after=3')")
    assert "3 of 3" in deeper.inner_text(".card")
    deeper.close()
    fresh.close()
    again.close()


def test_a_chapter_that_breaks_leaves_the_page_as_it_is(page, monkeypatch):
    def broken(look):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(tokens, "scene", broken)
    go(page, 3)
    go(page, 4)
    told = page.inner_text(".chapter")
    assert "This chapter cannot be drawn of this model and picture; the others may." in told and "secret" not in told and "Check it" not in told
    go(page, 5)
    assert page.is_visible(".thumbs")


def test_after_a_click_that_failed_the_next_one_is_heard(open_page, folder):
    class Once(Models):
        fails = False

        def get(self, source):
            if self.fails:
                self.fails = False
                raise ZeroDivisionError("secret")
            return super().get(source)

    models = Once(str(folder))
    with serve(models) as served:
        page = open_page(served)
        models.fails = True
        page.click("[data-chapter='3']")
        page.wait_for_function("!vit.steps.busy", timeout=10_000)  # it would wait for twenty seconds
        assert "secret" not in page.inner_text("body") and page.get_attribute(".chapter", "data-number") == "1"
        go(page, 2)
        page.close()
