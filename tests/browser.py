"""A real browser for the tests: fixtures (import them by name) and what a visitor does on the page."""

import shutil
import time

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.models import save_model
from tests.served import serve
from vit_demo import classifier
from vit_demo.chapters.scene import percent
from vit_demo.models import Models
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SAMPLE = 6


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


@pytest.fixture(scope="module")
def faults():
    """What was said on the console, thrown, or asked of any other machine."""
    return []


@pytest.fixture(scope="module")
def open_page(chromium, faults):
    """open_page(url) -> the page, its first screen drawn. One cache for all of them, as a visitor has."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")

    def visit(url, color_scheme="light"):
        page = context.new_page()
        page.emulate_media(color_scheme=color_scheme)
        page.on("console", lambda m: faults.append(f"{m.text} {m.location.get('url', '')}") if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("http://127.0.0.1", "data:", "blob:")) else faults.append(r.url))
        page.goto(url)
        page.wait_for_selector(".chapter h2")
        return page

    yield visit
    context.close()


@pytest.fixture(scope="module")
def page(open_page, address):
    return open_page(address)


@pytest.fixture(autouse=True)
def nothing_went_wrong(request):
    yield
    assert request.getfixturevalue("faults") == []


def plain(folder, picture: Image.Image, weights=None):
    """(labels, probabilities, attentions) by transformers alone; `weights`: another folder to take those from."""
    model = ViTForImageClassification.from_pretrained(weights or folder, attn_implementation="eager", dtype=torch.float32)
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
    drawn(page)


def go(page, chapter: int):
    page.click(f"[data-chapter='{chapter}']")
    page.wait_for_selector(f".chapter[data-number='{chapter}']")
    drawn(page)


def drawn(page):
    """Until the answers to all clicks are there: one to where the page is already would otherwise be drawn over what a test does next."""
    page.wait_for_function("!vit.steps.busy")


def canvases(page, selector: str) -> list[torch.Tensor]:
    """Red, green, blue and alpha (h,w,4) of each."""
    drawn = page.eval_on_selector_all(selector, "all => all.map(c => [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]])")
    return [torch.tensor(data).reshape(height, width, 4).float() for height, width, data in drawn]


def strip(canvas: torch.Tensor) -> torch.Tensor:
    """A painted strip (1,n,4) -> shares of its full colour (n,), above 0 where it is blue."""
    red, _, blue, alpha = canvas[0].T
    return alpha / 255 * torch.where(blue > red, 1, -1)


def same(seen, expected, within):
    assert torch.as_tensor(seen).float().flatten().tolist() == pytest.approx(torch.as_tensor(expected).float().flatten().tolist(), abs=within)


def held_back(find, wait):
    """In place of what finds a map: it says twice how far it is, since a bit is sent when the one after it is there, and waits; wait(method) -> in time."""
    def held(method, model, pixel_values, wanted, progress):
        for share in (1, 2):
            progress(share, 10)
            time.sleep(0.1)
        assert wait(method)
        return find(method, model, pixel_values, wanted, progress)

    return held


# Fixtures of the chapters about one sample.


@pytest.fixture(scope="module")
def traced(folder):
    return trace(classifier.load(folder), Image.open(SAMPLES[SAMPLE][0]))


@pytest.fixture(scope="module")
def model(folder):
    return classifier.load(folder).viewing


@pytest.fixture(autouse=True)
def at_the_sample(page):
    if page.get_attribute(f"[data-sample='{SAMPLE}']", "aria-pressed") != "true":
        choose(page, SAMPLE)
