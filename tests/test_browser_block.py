"""Chapter 6 in a real browser, below: the strips of one layer follow layer and token, and equal a recomputation."""

import re

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.browser import CHROMIUM, choose, go, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from vit_demo.chapters.scene import number
from vit_demo.samples import SAMPLES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
STRIPS = ".inside .strip"


@pytest.fixture
def block(page):
    """Chapter 6 about sample 6, patch 9 chosen, after the last layer."""
    choose(page, 6)
    go(page, 6)
    page.focus(".side .picture")
    for key in ("Escape", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    page.click(".inside [role=radio]:text-is('the chosen patch')")
    page.fill(".card .slider input >> nth=0", "3")
    settled(page, "patch 9 in layer 3")
    return page


def test_it_opens_half_way_with_what_the_model_itself_reads(open_page, address):
    page = open_page(f"{address}/?chapter=6")
    settled(page, "CLS in layer 2")
    assert "2 of 3" in page.inner_text(".card > .slider")
    page.close()


def settled(page, place: str):
    page.wait_for_selector(f".inside h3:text-is('Inside one layer: {place}')")
    page.wait_for_function("!vit.frame.line.busy")


def painted(page) -> list[str]:
    return page.eval_on_selector_all(STRIPS, "strips => strips.map(strip => strip.toDataURL())")


def test_strips_and_words_are_those_of_the_layer_and_token(block, folder):
    model = ViTForImageClassification.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    inputs = ViTImageProcessorPil.from_pretrained(folder)(Image.open(SAMPLES[6][0]), return_tensors="pt")
    with torch.no_grad():
        hidden = torch.cat(model(**inputs, output_hidden_states=True).hidden_states)
    before = painted(block)
    assert len(before) == 8
    block.click(".inside [role=radio]:text-is('CLS')")
    settled(block, "CLS in layer 3")
    block.fill(".inside .slider input", "2")
    settled(block, "CLS in layer 2")
    assert all(old != new for old, new in zip(before, painted(block), strict=True))
    assert block.locator(STRIPS).first.get_attribute("aria-label").startswith(
        f"CLS in layer 2, what comes in: 48 numbers, the largest ±{number(hidden[1, 0].abs().max().item())}, length {number(hidden[1, 0].norm().item())}")
    assert f"length {number(hidden[2, 0].norm().item())}" in block.inner_text(".inside .step >> nth=7")
    assert f"{number(hidden[1, 0].norm().item())} long" in block.inner_text(".inside [aria-live]")
    assert block.inner_text("[data-live=leaving]").endswith(f"= {number(hidden[2, 0, 0].item(), 3)}")
    assert "2 of 3" in block.inner_text(".card > .slider")  # both sliders are one
    with torch.no_grad():
        layer = model.vit.layers[1]
        added = layer.attention(layer.layernorm_before(hidden[1:2]), None)[0][0, 0]
    assert block.text_content(".chapter > .check p >> nth=1") == f"The length of what attention adds to CLS in layer 2: {number(added.norm().item())}."
    attention = added[0].item()
    between = hidden[1, 0, 0].item() + attention
    for name, before, added, after in (("between", hidden[1, 0, 0].item(), attention, between), ("leaving", between, hidden[2, 0, 0].item() - between, hidden[2, 0, 0].item())):
        told = block.inner_text(f"[data-live={name}]").replace("−", "-")
        assert [float(part) for part in re.findall(r"-?[\d.]+", told)] == pytest.approx([before, added, after], abs=0.0011), told
    block.click(".inside [role=radio]:text-is('the chosen patch')")
    settled(block, "patch 9 in layer 2")


def test_before_the_first_layer_there_is_nothing_inside(block):
    block.fill(".card > .slider input", "0")
    settled(block, "patch 9 in layer 1")
    assert "none yet" in block.inner_text(".card > .slider") and "1 of 3" in block.inner_text(".inside .slider")


def test_pointing_asks_the_server_for_nothing(block):
    asked = []
    block.on("request", lambda request: asked.append(request.url))
    box, before = block.locator(".card .picture").bounding_box(), painted(block)
    for share in (0.1, 0.3, 0.5, 0.9):
        block.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
    block.wait_for_timeout(400)
    assert block.evaluate("vit.state.hover") == 63 and asked == [] and painted(block) == before
    block.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.9 * box["height"])
    settled(block, "patch 63 in layer 3")
    assert asked and painted(block) != before
    block.mouse.move(5, 5)


def test_who_wrote_the_logit_sums_to_it(block, folder):
    cells = [float(text.replace("−", "-")) for text in block.locator(".written td.mono").all_inner_texts()]
    assert len(cells) == 9 and sum(cells[:-1]) == pytest.approx(cells[-1], abs=0.04)
    scaled = block.eval_on_selector_all(".written i", "bars => bars.map(bar => parseFloat(bar.style.width) * (bar.className ? -1 : 1))")
    peak = max(map(abs, cells[:-1]))
    assert scaled == pytest.approx([50 * cell / peak for cell in cells[:-1]], abs=1)
    model = ViTForImageClassification.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    inputs, norm = ViTImageProcessorPil.from_pretrained(folder)(Image.open(SAMPLES[6][0]), return_tensors="pt"), model.vit.layernorm
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
        written = [output.hidden_states[0]]
        for layer, entering in zip(model.vit.layers, output.hidden_states, strict=False):
            written.append(layer.attention(layer.layernorm_before(entering), None)[0])
            written.append(layer.mlp(layer.layernorm_after(entering + written[-1])))
        spread, row = (output.hidden_states[-1][0, 0].var(correction=0) + norm.eps).sqrt(), model.classifier.weight[output.logits[0].argmax()]
        gave = [((part[0, 0] - part[0, 0].mean()) / spread * norm.weight @ row).item() for part in written]
    assert cells[:-2] == pytest.approx(gave, abs=0.0051)  # the embedding, then attention and MLP of each layer in turn
    assert block.locator(".written tbody th").all_inner_texts() == ["embedding", "layer 1", "layer 2", "layer 3", "biases", "all together"]
    sides = block.eval_on_selector_all(".written i", "bars => bars.map(bar => bar.getBoundingClientRect().left >= bar.parentNode.getBoundingClientRect().left + bar.parentNode.offsetWidth / 2 - 1)")
    assert sides == [cell >= 0 for cell in cells[:-1]]
