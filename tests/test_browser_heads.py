"""Chapter 5 in a real browser: each grid, matrix, line and piece that is drawn of a head is that head's, by plain transformers."""

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.browser import CHROMIUM, canvases, same, strip, choose, go, plain, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from vit_demo.chapters import attention as chapter
from vit_demo.chapters.scene import number, percent
from vit_demo.explain.attention import mean_distance, query_key_map, rollout
from vit_demo.samples import SAMPLES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
SAMPLE, PATCH, LAYER, HEAD = 6, 10, 2, 0  # another layer than head, so that none is taken for the other
GROUND, BLUE = torch.tensor([238.0, 239, 236]), torch.tensor([0.0, 114, 178])
VEIL = "rects => rects.map(rect => 1 - rect.style.opacity / 0.86)"


@pytest.fixture(scope="module")
def attention(folder):
    return plain(folder, Image.open(SAMPLES[SAMPLE][0]))[2]


@pytest.fixture(scope="module")
def projected(folder):
    """Queries, keys and values (T,d) of that head"""
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = ViTImageProcessorPil.from_pretrained(folder)(Image.open(SAMPLES[SAMPLE][0]).convert("RGB"), return_tensors="pt").pixel_values
    with torch.no_grad():
        layer, hidden = model.vit.layers[LAYER], model.vit(pixels, output_hidden_states=True).hidden_states[LAYER][0]
        return [project(layer.layernorm_before(hidden))[:, 16 * HEAD : 16 * HEAD + 16] for project in (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj)]


@pytest.fixture
def head(page):
    """Chapter 5 about the sample, that head and patch 10 chosen."""
    choose(page, SAMPLE)
    go(page, 5)
    page.click(f"[data-layer='{LAYER}'][data-head='{HEAD}']")
    page.click("text=the chosen patch looks")
    page.focus(".side .picture")
    for key in ("Escape", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_function("!document.querySelector('[data-live=dot]').textContent.includes('…')")
    return page


def opened(page, part: str):
    """That part below, opened at another head, and that head chosen then: what it shows follows."""
    page.click("[data-layer='1'][data-head='2']")
    page.click(f"text={part}")
    page.wait_for_function("!vit.frame.line.busy")
    page.click(f"[data-layer='{LAYER}'][data-head='{HEAD}']")


def test_each_small_grid_is_that_of_its_own_layer_and_head(head, attention):
    given = attention[:, :, PATCH + 1, 1:]
    grids = canvases(head, ".thumbs canvas")
    assert len(grids) == 9
    for place, seen in enumerate(grids):
        weights = given.flatten(0, 1)[place].reshape(8, 8)
        same(seen[4::8, 4::8, :3], GROUND + (BLUE - GROUND) * (weights / weights.max())[..., None], 2)
    assert head.locator(".thumbs button").all_inner_texts() == [f"{place // 3 + 1} · {place % 3 + 1}" for place in range(9)]
    weights = given[LAYER, HEAD]
    same(head.eval_on_selector_all(".card .picture:not(.small) .veil rect", VEIL), weights / weights.max(), 0.002)
    assert head.inner_text(".card .scale >> nth=0").split("\n")[-1] == percent(weights.max().item())


def test_a_pair_is_worked_out_with_its_own_vectors(head, attention, projected):
    query, key, value = projected
    weights, token = attention[LAYER, HEAD, PATCH + 1], PATCH + 1
    other = 1 + weights[1:].argmax().item()
    vectors = [query[token], key[other], query[token] * key[other], value[other], weights @ value]
    for seen, vector in zip(canvases(head, ".worked canvas"), vectors, strict=True):
        same(strip(seen), vector / vector.abs().max(), 0.02)
    dot = vectors[2].sum().item()
    assert float(head.inner_text("[data-live=score]").replace("−", "-")) == pytest.approx(dot / 4, abs=0.011)
    most = weights.argsort(descending=True)[:4].tolist()
    assert head.inner_text("[data-live=mix]") == " + ".join(f"{percent(weights[t].item())} v({t - 1 if t else 'CLS'})" for t in most) + " + …"
    assert head.text_content(".chapter > .check p >> nth=0") == f"The weight that patch {PATCH} gives to patch {other - 1} in layer {LAYER + 1}, head {HEAD + 1}: {percent(weights[other].item())}."
    assert head.inner_text("[data-live=rest]") == f"The class token gets {percent(weights[0].item())}."


def test_a_row_of_the_matrix_is_a_token_that_looks(head, attention):
    opened(head, "the whole matrix")
    weights = attention[LAYER, HEAD]
    peak = weights.flatten().sort().values[int(65 * 65 * 0.995)].item()
    same(canvases(head, ".matrix")[0][..., :3], GROUND + (BLUE - GROUND) * (weights / peak).clamp(max=1)[..., None], 1.5)
    assert head.inner_text(".matrix-box + .scale").split("\n")[-1] == percent(peak)
    marked, whole = (head.locator(part).bounding_box() for part in (".matrix-box i", ".matrix"))
    assert (marked["y"] + marked["height"] / 2 - whole["y"]) / whole["height"] == pytest.approx((PATCH + 1.5) / 65, abs=0.004)
    head.locator(".matrix").scroll_into_view_if_needed()
    whole = head.locator(".matrix").bounding_box()
    head.mouse.move(whole["x"] + whole["width"] * 3.5 / 65, whole["y"] + whole["height"] * 30.5 / 65)
    assert head.inner_text(".matrix-box ~ .caption") == f"patch 29 gives {percent(weights[30, 3].item())} to patch 2" and head.evaluate("vit.state.hover") == 29
    head.mouse.move(5, 5)


def test_a_piece_of_the_picture_lies_where_its_key_does(head, attention, projected):
    query, key, _ = projected
    shown, weights = query_key_map(query, key), attention[LAYER, HEAD]
    opened(head, "queries and keys")
    head.wait_for_function("!vit.frame.line.busy")
    head.wait_for_selector(".plane + .caption:has-text('looks most at')")
    assert f"They hold {percent(shown.explained.sum().item())} of what the 16 numbers" in head.inner_text(".stage")
    drawn = head.wait_for_function("""() => { const pen = CanvasRenderingContext2D.prototype, draw = pen.drawImage, seen = [];
        pen.drawImage = function (image, sx, sy, sw, sh, x, y, w, h) { seen.push([sx / sw, sy / sh, x + w / 2, y + h / 2, this.globalAlpha]); };
        vit.set({}); pen.drawImage = draw;
        return seen.length === 64 && seen.flat().every(Number.isFinite) && seen; }""").json_value()  # once the picture is there
    drawn = torch.tensor(drawn)
    same(drawn[:, :2], [[patch % 8, patch // 8] for patch in range(64)], 0.001)
    same(drawn[:, 4], 0.22 + 0.78 * weights[PATCH + 1, 1:] / weights[PATCH + 1].max(), 0.002)
    places = torch.cat([shown.query, shown.key])
    middle, span = (places.amax(0) + places.amin(0)) / 2, places.amax(0) - places.amin(0)
    area = torch.tensor(head.evaluate("(({ clientWidth, clientHeight }) => [clientWidth, clientHeight])(document.querySelector('.plane'))"))
    same(drawn[:, 2:4], area / 2 + (shown.key[1:] - middle) * ((area - 32) / span).min(), 0.5)
    far = torch.cdist(shown.query, shown.key)
    ranks = (far <= far.gather(1, weights.argmax(1, keepdim=True)) + 1e-6).sum(1).float()
    assert f"looks at most is number {ranks.mean():.0f} of 65 by nearness here" in head.inner_text(".stage")


def test_the_line_of_how_far_a_head_looks_is_its_own(head, attention):
    opened(head, "how far they look")
    far = mean_distance(attention, (8, 8), 4)[:, HEAD].tolist()
    assert head.get_attribute(".stage .chart", "aria-label").split("; ")[0].endswith(f"head {HEAD + 1}: {', '.join(number(value, 1 if value % 1 else 0) for value in far)}")
    x, y, level, now = head.evaluate("""() => { const at = (part, name) => [...document.querySelectorAll(`.stage .chart ${part}`)].map(node => +node.getAttribute(name));
        return [at(".strength circle", "cx"), at(".strength circle", "cy"), at(".level", "y1"), at(".now", "x1")]; }""")
    assert now == [x[LAYER]] and x == sorted(x)
    per_pixel = (y[0] - y[1]) / (far[1] - far[0])  # one scale for all of them
    uniform = torch.cdist(*[torch.cartesian_prod(torch.arange(8), torch.arange(8)).float() * 4] * 2).mean().item()
    assert [y[0] - y[2], y[0] - level[0]] == pytest.approx([per_pixel * (far[2] - far[0]), per_pixel * (uniform - far[0])], abs=0.5) and per_pixel > 0


def test_attention_rolled_out_lights_the_patches_it_comes_to(head, attention):
    head.click("text=through all layers")
    head.wait_for_selector(".stage [aria-live]:has-text('The patches together hold')")
    found = rollout(attention, "mean", 0)[0, 1:]
    same(head.eval_on_selector_all(".stage .veil rect", VEIL), found / found.max(), 0.002)
    assert head.inner_text(".stage .scale").split("\n")[-1] == percent(found.max().item())
    assert f"The patches together hold {percent(found.sum().item())}, CLS keeps {percent(1 - found.sum().item())} for itself" in head.inner_text(".stage")


@pytest.mark.parametrize("part, waits, told", [("queries and keys", ".stage", "They hold"), ("the whole matrix", ".stage .caption", "65 × 65 weights")])
def test_who_comes_back_before_the_other_layer_has_come_is_not_told_to_wait(head, monkeypatch, part, waits, told):
    monkeypatch.setattr(chapter, "SENT_WHOLE", 0)  # as of a large model
    go(head, 4)
    go(head, 5)
    head.click(f"text={part}")
    head.wait_for_function("!vit.frame.line.busy")
    head.wait_for_selector(f"{waits}:has-text('{told}')")
    head.evaluate("""[[0, 1], [2, 0]].forEach(([layer, head]) => document.querySelector(`[data-layer="${layer}"][data-head="${head}"]`).click())""")
    head.wait_for_function("!vit.frame.line.busy")
    assert told in head.inner_text(waits) and "waiting" not in head.inner_text(".stage")
