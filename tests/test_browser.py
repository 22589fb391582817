"""The page in a real browser: what is shown is what plain transformers computes, with no request beyond loopback."""

import re
import shutil

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.models import save_model
from tests.served import serve
from vit_demo.chapters import CHAPTERS
from vit_demo.chapters.scene import percent
from vit_demo.models import Models
from vit_demo.samples import SAMPLES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("browser") / "model")


@pytest.fixture(scope="module")
def address(folder):
    with serve(Models(str(folder))) as served:
        yield served


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r tests/requirements.txt")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """open_page(url) -> the page, first screen drawn. At the end: nothing was said on the console, nothing left home."""
    faults, contexts = [], []

    def visit(url, width=1280, **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: faults.append(r.url) if not r.url.startswith(
            ("http://127.0.0.1", "http://localhost", "data:", "blob:")) else None)
        page.goto(url)
        page.wait_for_selector(".chapter h2")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


def plain(folder, picture: Image.Image):
    """(labels, probabilities, attentions) by transformers alone."""
    model = ViTForImageClassification.from_pretrained(folder, attn_implementation="eager")
    processor = ViTImageProcessorPil.from_pretrained(folder)
    with torch.no_grad():
        output = model(**processor(picture.convert("RGB"), return_tensors="pt"), output_attentions=True)
    return model.config.id2label, output.logits[0].softmax(-1), torch.cat(output.attentions)


def bars(page) -> list[tuple[str, str]]:
    return [tuple(item.inner_text().split("\n")) for item in page.query_selector_all(".bars li")]


def expected_bars(folder, picture, k=5):
    labels, probabilities, _ = plain(folder, picture)
    top = probabilities.topk(k)
    return [(labels[i], percent(p)) for i, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)]


def choose(page, sample: int):
    page.click(f"[data-sample='{sample}']")
    page.wait_for_selector(f"[data-sample='{sample}'][aria-pressed='true']")


def test_a_sample_is_classified_without_a_click(open_page, address, folder):
    page = open_page(address)
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[0][0]))
    assert "truth: cat" in page.inner_text(".answer") and "always picks one" in page.inner_text(".answer")


def test_a_clicked_sample_changes_everything(open_page, address, folder):
    page = open_page(address)
    before = page.inner_text(".chapter")
    for sample in (1, 4):
        choose(page, sample)
        assert bars(page) == expected_bars(folder, Image.open(SAMPLES[sample][0]))
        right = bars(page)[0][0] == SAMPLES[sample][2]
        assert ("The model is right" if right else "The model is wrong") in page.inner_text(".answer")
    assert page.inner_text(".chapter") != before


def test_the_k_slider_shows_more_classes(open_page, address, folder):
    page = open_page(address)
    page.fill(".answer input[type=range]", "9")
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[0][0]), 9)


def test_pointing_at_a_patch_names_it_without_asking_the_server(open_page, address):
    page = open_page(address)
    page.wait_for_load_state("networkidle")
    calls = []
    page.on("request", lambda request: calls.append(request.url))
    box = page.locator(".side .picture").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 5.5 / 8, box["y"] + box["height"] * 2.5 / 8)
    assert "patch 21 · row 2, column 5 · token 22" in page.inner_text(".side .caption")
    page.mouse.click(box["x"] + box["width"] * 5.5 / 8, box["y"] + box["height"] * 2.5 / 8)
    page.focus(".side .picture")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert "patch 28 · row 3, column 4 · token 29" in page.inner_text(".side .caption")
    assert calls == []


def test_a_patch_chosen_on_the_left_is_marked_in_the_chapter(open_page, address):
    page = open_page(f"{address}?chapter=5")
    page.focus(".side .picture")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    marks = page.eval_on_selector_all(".picture .chosen", "nodes => nodes.map(n => [n.getAttribute('x'), n.getAttribute('y')])")
    assert len(marks) == 2 and all(mark == ["1", "0"] for mark in marks)


def test_attention_shown_is_attention_recomputed(open_page, address, folder):
    page = open_page(f"{address}?chapter=5&sample=6&layer=3&head=2")
    attention = plain(folder, Image.open(SAMPLES[6][0]))[2]
    patch = int(re.search(r"CLS → patch (\d+)", page.inner_text(".card figcaption")).group(1))
    assert f"CLS → patch {patch}: {percent(attention[2, 1, 0, patch + 1].item())}" in page.inner_text(".card")
    page.click("[data-layer='0'][data-head='2']")
    assert f"CLS → patch {patch}: {percent(attention[0, 2, 0, patch + 1].item())}" in page.inner_text(".card")
    page.click("text=the chosen patch looks")
    weights = attention[0, 2, patch + 1, 1:]
    best = weights.argmax().item()
    assert f"patch {patch} → patch {best}: {percent(weights[best].item())}" in page.inner_text(".card")
    page.wait_for_function("!document.querySelector('[data-live=dot]').textContent.includes('…')")
    assert "layer=1" in page.url and "head=3" in page.url


def test_every_chapter_opens_from_the_ribbon_and_by_next(open_page, address):
    page = open_page(address)
    for number, chapter in enumerate(CHAPTERS, 1):
        page.wait_for_selector(f".chapter[data-number='{number}']")
        assert page.inner_text(".chapter h2") == chapter.TITLE
        assert page.query_selector(".card *")
        if number < len(CHAPTERS):
            page.click(".onward .next")
    page.click("[data-chapter='2']")
    page.wait_for_selector(".chapter[data-number='2']")
    assert f"chapter=2" in page.url


@pytest.mark.parametrize("number", range(1, len(CHAPTERS) + 1))
def test_a_chapter_follows_the_picture(open_page, address, number):
    page = open_page(f"{address}?chapter={number}&sample=0")
    before = page.inner_text(".chapter")
    page.evaluate("document.querySelector('.chapter').dataset.old = 1")
    choose(page, 3)
    page.wait_for_selector(".chapter:not([data-old])")
    assert page.inner_text(".chapter") != before


@pytest.mark.parametrize("number", range(1, len(CHAPTERS) + 1))
def test_a_chapter_fits_360_pixels(open_page, address, number):
    page = open_page(f"{address}?chapter={number}", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_an_upload_is_classified_and_a_bad_one_gets_a_line(open_page, address, folder, tmp_path):
    page = open_page(address)
    picture = Image.radial_gradient("L").resize((90, 60)).convert("RGB")
    picture.save(tmp_path / "mine.png")
    page.set_input_files("#upload input[type=file]", tmp_path / "mine.png")
    page.wait_for_selector(".samples:not(:has([aria-pressed='true']))")
    assert bars(page) == expected_bars(folder, picture)
    assert "truth" not in page.inner_text(".answer")
    choose(page, 2)
    (tmp_path / "broken.png").write_bytes(SAMPLES[0][0].read_bytes()[:300])
    page.set_input_files("#upload input[type=file]", tmp_path / "broken.png")
    page.wait_for_selector("text=damaged or incomplete")
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[2][0]))


def test_dark_is_dark(open_page, address):
    page = open_page(f"{address}?__theme=dark")
    assert page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor") == "rgb(20, 23, 27)"
    page = open_page(address, color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor") == "rgb(20, 23, 27)"
