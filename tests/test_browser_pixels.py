"""Chapters 1 to 4 in a real browser: what is drawn and told of a pixel, a patch, a filter and a token is what plain transformers gives."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.browser import CHROMIUM, canvases, choose, go, same, strip, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.models import save_model
from vit_demo.chapters import patches, tokens
from vit_demo.chapters.projection import COMPONENTS, signed_pictures
from vit_demo.chapters.scene import number, percent
from vit_demo.explain import cost, embeddings
from vit_demo.explain.positions import shuffled_order
from vit_demo.samples import SAMPLES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
SAMPLE, PATCH, ROW, COLUMN = 6, 10, 1, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Filters with biases, which a model has as 0 before it learns."""
    folder = save_model(tmp_path_factory.mktemp("browser") / "model")
    model = ViTForImageClassification.from_pretrained(folder)
    torch.nn.init.normal_(model.vit.embeddings.patch_embeddings.projection.bias, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def pixels(folder):
    """(3,32,32) as the model is given them"""
    return ViTImageProcessorPil.from_pretrained(folder)(Image.open(SAMPLES[SAMPLE][0]).convert("RGB"), return_tensors="pt").pixel_values[0]


@pytest.fixture(scope="module")
def levels(pixels):
    """(3,32,32) bytes"""
    return ((pixels * 0.5 + torch.tensor([0.4, 0.5, 0.6])[:, None, None]) * 255).round().int()


def chapter(page, which: int):
    """That chapter about the sample, patch 10 (row 1, column 2) chosen."""
    choose(page, SAMPLE)
    go(page, which)
    page.focus(".side .picture")
    for key in ("Escape", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)


def test_a_pixel_pointed_at_is_told_in_its_three_units(page, pixels, levels):
    chapter(page, 1)
    assert page.inner_text("[data-live=pixel]") == "row 4, column 8"  # the first of a patch that is chosen elsewhere
    box = page.locator(".pair svg.picture").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 21.5 / 32, box["y"] + box["height"] * 6.5 / 32)
    red, green, blue = here = levels[:, 6, 21].tolist()
    assert page.eval_on_selector_all(".pixel tbody tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))") == [
        [name, str(byte), number(byte / 255, 3), number(value, 3)] for name, byte, value in zip(("red", "green", "blue"), here, pixels[:, 6, 21].tolist(), strict=True)]
    assert page.evaluate("getComputedStyle(document.querySelector('.pixel .swatch')).backgroundColor") == f"rgb({red}, {green}, {blue})"
    assert page.evaluate("vit.state.patch") == 1 * 8 + 5
    for seen, channel in zip(canvases(page, ".planes canvas"), levels, strict=True):
        same(seen[..., :3], channel[..., None].expand(-1, -1, 3), 0)


def test_a_patch_is_drawn_and_laid_out_as_its_numbers_are(page, pixels, levels):
    chapter(page, 2)
    numbers, values = (whole[:, 4 * ROW : 4 * ROW + 4, 4 * COLUMN : 4 * COLUMN + 4] for whole in (levels, pixels))
    drawn = page.eval_on_selector_all(".close rect", "all => all.map(r => [r.x.baseVal.value, r.y.baseVal.value, ...r.getAttribute('fill').match(/[\\d.]+/g).map(Number)])")
    same(drawn, [[x, y, *numbers[:, y, x]] for y in range(4) for x in range(4)], 0.01)
    assert [int(text) for text in page.locator(".channels td").all_inner_texts()] == numbers.flatten().tolist()
    bars = page.eval_on_selector_all(".flat i", "all => all.map(bar => parseFloat(bar.style.height) * (bar.style.bottom ? 1 : -1))")
    same(bars, 50 * values / values.abs().max(), 0.01)
    assert f"the longest is {number(values.abs().max().item())}" in page.inner_text(".card")
    assert [page.inner_text(f"[data-live={name}]") for name in ("rows", "columns", "first")] == ["4 to 7", "8 to 11", ", ".join(map(number, values[0, 0].tolist()))]


def test_other_patch_sizes_are_told_with_their_own_cost_and_time(page, monkeypatch):
    chapter(page, 2)
    page.fill(".costs input", "4")
    assert page.inner_text(".costs output") == "2 px" and "16² + 1 = 257" in page.inner_text(".facts") and f"layer\t{257 ** 2:,}\n" in page.inner_text(".facts")
    timed = [(8, 17, 0.002, True), (4, 65, 0.05, True), (2, 257, 3.0, False)]
    monkeypatch.setattr(cost, "timings", lambda *given: [SimpleNamespace(patch_size=size, tokens=tokens, pairs=tokens ** 2, seconds=seconds, measured=measured) for size, tokens, seconds, measured in timed])
    monkeypatch.setattr(patches, "other_sizes", lambda look: [8, 4, 2])
    page.click("text=measure on this server")
    page.wait_for_selector("button:has-text('measure again')")
    assert page.eval_on_selector_all(".times tbody tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))") == [
        ["8 px", "289", "", "", "2.0 ms", "", "measured"], ["4 px", "4,225", "14.6", "", "50 ms", "25.0", "measured"], ["2 px", "66,049", "15.6", "", "3.0 s", "60.0", "extrapolated"]]
    page.wait_for_function("!vit.frame.line.busy")


def test_patch_filter_and_product_are_those_that_are_summed_up(page, model, pixels):
    def bracketed(value) -> str:
        return f"({number(value)})" if value < 0 else number(value)

    chapter(page, 3)
    page.fill(".card input[type=range]", "5")
    layer, x = model.vit.embeddings.patch_embeddings.projection, pixels[:, 4 * ROW : 4 * ROW + 4, 4 * COLUMN : 4 * COLUMN + 4]
    w, b = layer.weight[5].detach(), layer.bias[5].item()
    total = (w * x).sum().item()
    assert page.inner_text(".product .sum").split() == ["sum", number(total, 3), "bias", number(b, 3), number(total + b, 3)]
    assert page.text_content(".chapter > .check p >> nth=0") == f"What patch {PATCH} answers to filter 5: {number(total + b, 3)}, as Wx + b."
    for seen, expected, told in zip(canvases(page, ".product canvas"), (x, w, w * x), page.locator(".product figcaption .mono").all_inner_texts(), strict=True):
        same(seen[..., :3], 127.5 * (1 + expected.permute(1, 2, 0) / expected.abs().max()), 1)
        assert told == f"±{number(expected.abs().max().item())}"
    assert page.inner_text("[data-live=terms]") == " + ".join(f"{bracketed(w[0, 0, i].item())}·{bracketed(x[0, 0, i].item())}" for i in range(3)) + " + … (48 terms)"
    with torch.no_grad():
        tokens = model.vit.embeddings.patch_embeddings(pixels[None])[0]
    same(strip(canvases(page, ".marked canvas")[0]), (tokens[PATCH] / (0.6 * tokens.abs().max())).clamp(-1, 1), 0.01)
    cells, marker = (page.locator(f".marked {part}").bounding_box() for part in ("canvas", ".marker"))
    assert marker["x"] + marker["width"] / 2 == pytest.approx(cells["x"] + cells["width"] * 5.5 / 48, abs=cells["width"] / 96)


def test_each_component_stands_over_its_own_share(page, model):
    chapter(page, 3)
    components = embeddings.filter_components(embeddings.projection(model)[0], COMPONENTS)
    for seen, expected in zip(canvases(page, ".filters canvas"), signed_pictures(components.filters), strict=True):
        same(seen[..., :3], expected.permute(1, 2, 0), 1)
    assert page.locator(".filters figcaption").all_inner_texts() == [percent(share) for share in components.explained.tolist()]


def test_a_token_is_the_sum_of_its_patch_and_its_position(page, model, pixels):
    chapter(page, 4)
    made = model.vit.embeddings
    with torch.no_grad():
        x, places, cls = made.patch_embeddings(pixels[None])[0], made.position_embeddings[0], made.cls_token[0, 0]
    vectors = [x[PATCH], places[PATCH + 1], x[PATCH] + places[PATCH + 1], cls, places[0], cls + places[0]]
    page.wait_for_timeout(100)  # strips that stay are painted in the next frame
    for seen, vector in zip(canvases(page, ".part canvas"), vectors, strict=True):
        same(strip(seen), (vector / (0.6 * x.abs().max())).clamp(-1, 1), 0.01)
    assert page.locator(".part > span").all_inner_texts() == [f"patch {PATCH}", f"position {PATCH + 1}", f"token {PATCH + 1}", "CLS", "position 0", "token 0"]
    for name, vector in zip(("x", "place", "sum"), vectors, strict=False):
        assert page.inner_text(f"[data-live={name}]") == f"({', '.join(map(number, vector[:3].tolist()))}, …)"


def test_the_jigsaw_that_is_drawn_is_the_one_that_is_told_of(page, model, pixels, levels):
    chapter(page, 4)
    page.click("[data-how=stay]")
    page.wait_for_selector("text=The patches moved, the positions stayed")
    order, embedded = shuffled_order(64, 1, 1), model.vit.embeddings
    with torch.no_grad():
        whole = model(pixels[None]).logits[0].softmax(-1)
        tokens = torch.cat([embedded.cls_token, embedded.patch_embeddings(pixels[None])[:, order]], dim=1) + embedded.position_embeddings
        for layer in model.vit.layers:
            tokens = layer(tokens)
        shuffled = model.classifier(model.vit.layernorm(tokens[:, 0]))[0].softmax(-1)
    best, said = whole.argmax().item(), shuffled.argmax().item()
    labels = model.config.id2label
    assert f"{labels[said]}, {percent(shuffled[said].item())}. {labels[best]} was {percent(whole[best].item())}, is now {percent(shuffled[best].item())}." in page.inner_text(".result")
    pieces = levels.unflatten(1, (8, 4)).unflatten(3, (8, 4)).permute(1, 3, 0, 2, 4).flatten(0, 1)[order]  # (64,3,4,4)
    shown = pieces.unflatten(0, (8, 8)).permute(2, 0, 3, 1, 4).reshape(3, 32, 32)
    same(canvases(page, ".costs canvas")[0][2::4, 2::4, :3], shown.permute(1, 2, 0), 0)


def test_where_the_pieces_tell_all_the_jigsaw_leads_to_a_sample_where_they_do_not(page, folder, monkeypatch):
    """Of this model all answers are alike, shuffled or not."""
    chapter(page, 4)
    page.click("[data-how=stay]")
    page.wait_for_selector(".result:has-text('try one whose colours do not give it away.')")
    monkeypatch.setattr(tokens, "BUNDLED", folder)
    go(page, 3)
    go(page, 4)
    page.click("[data-how=stay]")
    page.click(".result button:has-text('this ship')")
    page.wait_for_selector("[data-sample='15'][aria-pressed='true']")
    page.wait_for_function("!vit.steps.busy")
