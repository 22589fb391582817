"""Chapter 5 in a real browser: who looks where equals a recomputation, head by head, pair by pair."""

import re

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification

from tests.browser import CHROMIUM, choose, go, plain, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.models import save_model
from tests.served import serve
from vit_demo import classifier
from vit_demo.chapters import attention
from vit_demo.chapters.scene import percent
from vit_demo.explain.attention import attend, query_key_map
from vit_demo.models import Models
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


def test_attention_shown_is_attention_recomputed(page, folder):
    go(page, 5)
    choose(page, 6)
    attention = plain(folder, Image.open(SAMPLES[6][0]))[2]
    page.click("[data-layer='2'][data-head='1']")
    patch = int(re.match(r"patch (\d+)", page.inner_text(".side .caption")).group(1))
    weights = attention[2, 1, patch + 1, 1:]
    best = weights.argmax().item()
    assert f"patch {patch} → patch {best}: {percent(weights[best].item())}" in page.inner_text(".card")
    assert page.inner_text(".chapter .equation").startswith(f"q({patch})·k({best}) = ")
    page.click("text=CLS looks")
    assert page.inner_text(".chapter .equation").startswith(f"q(CLS)·k({patch}) = ")
    assert f"CLS → patch {patch}: {percent(attention[2, 1, 0, patch + 1].item())}" in page.inner_text(".card")
    assert f"in layer 3, head 2. It keeps {percent(attention[2, 1, 0, 0].item())} for itself." in page.inner_text(".chapter")
    page.wait_for_function("!document.querySelector('[data-live=dot]').textContent.includes('…')")


def test_another_picture_comes_with_the_queries_of_the_head_that_is_looked_at(page, folder):
    go(page, 5)
    page.click("[data-layer='2'][data-head='1']")
    choose(page, 3)
    assert page.evaluate("[vit.frame.asked, vit.state.layer, vit.state.head]") == [None, 2, 1]  # nothing had to be asked for
    look = trace(classifier.load(folder), Image.open(SAMPLES[3][0]))
    attended = attend(classifier.load(folder).viewing.vit.layers[2], look.hidden_states[2])
    patch = page.evaluate("vit.state.patch")
    best = attended.weights[1, patch + 1, 1:].argmax().item()
    dot = (attended.query[1, patch + 1] @ attended.key[1, best + 1]).item()
    assert float(page.inner_text("[data-live=dot]").replace("−", "-")) == pytest.approx(dot, abs=0.02)


def test_queries_and_keys_in_one_plane_tell_where_they_look(page, folder):
    go(page, 5)
    choose(page, 6)
    page.click("[data-layer='2'][data-head='1']")
    page.click("text=CLS looks")
    page.click("text=queries and keys")
    page.wait_for_selector(".plane + .caption:has-text('CLS looks most at')")
    classifier_here = classifier.load(folder)
    hidden = trace(classifier_here, Image.open(SAMPLES[6][0])).hidden_states[2]
    attended = attend(classifier_here.viewing.vit.layers[2], hidden)
    shown = query_key_map(attended.query[1], attended.key[1])
    assert f"They hold {percent(shown.explained.sum().item())} of what" in page.inner_text(".stage")
    page.focus(".plane")
    page.keyboard.press("ArrowRight")
    patch = int(re.match(r"patch (\d+) looks most", page.inner_text(".plane + .caption")).group(1))
    weights = attended.weights[1, patch + 1]
    best = weights.argmax().item()
    away = (shown.key - shown.query[patch + 1]).norm(dim=-1)
    told = page.inner_text(".plane + .caption")
    assert f"{f'patch {best - 1}' if best else 'CLS'} {percent(weights[best].item())}" in told
    assert f"number {(away <= away[best]).sum()} of 65 by nearness" in told
    page.keyboard.press("Escape")
    assert page.inner_text(".plane + .caption").startswith("CLS looks most at")


def test_a_pair_picked_in_the_matrix_is_worked_out(page, folder):
    attention = plain(folder, Image.open(SAMPLES[6][0]))[2]
    page.click("text=the whole matrix")
    page.focus(".matrix")
    page.click("text=CLS looks")
    page.focus(".matrix")
    page.keyboard.press("ArrowUp")  # from CLS round to the last patch
    page.keyboard.press("ArrowRight")
    told = re.match(r"patch 63 gives (.+) to patch (\d+)", page.inner_text(".matrix-box ~ .caption"))
    weight = attention[2, 1, 64, int(told.group(2)) + 1].item()
    assert told.group(1) == percent(weight) == page.inner_text("[data-live=weight]")
    page.click("text=CLS looks")


def test_attention_opens_where_a_patch_looks_hardest_at_another(page, open_page, folder):
    fresh = open_page(f"{page.url.split('?')[0]}?sample=6&chapter=5")
    patch = int(re.match(r"patch (\d+)", fresh.inner_text(".side .caption")).group(1))
    for sample in (6, 3):  # until the visitor chooses a head, each picture opens with its own
        choose(fresh, sample)
        given = plain(folder, Image.open(SAMPLES[sample][0]))[2][:, :, patch + 1, 1:].clone()
        given[:, :, patch] = 0
        layer, head = divmod(given.amax(-1).argmax().item(), given.shape[1])
        assert fresh.get_attribute(".thumbs [aria-pressed='true']", "aria-label") == f"layer {layer + 1}, head {head + 1}"
        assert "layer=" not in fresh.url and "head=" not in fresh.url
    fresh.click("[data-layer='1'][data-head='2']")
    assert "layer=2&head=3" in fresh.url
    fresh.close()


def test_the_name_of_the_dashed_line_stands_beside_the_curves(page):
    go(page, 5)
    page.click("text=how far they look")
    ends = page.eval_on_selector_all(".stage .chart .line polyline, .stage .chart .level", "lines => lines.map(line => line.getBBox().x + line.getBBox().width)")
    names = page.eval_on_selector_all(".stage .chart g:has(.level) text, .stage .chart .line text", "all => all.map(t => [t.textContent, t.getBBox().x, t.getBBox().y])")
    assert [name for name, *_ in names][:2] == ["everywhere", names[1][0]] and names[1][0].startswith("alike: ") and len(names) == 3
    assert all(x > max(ends) for _, x, _ in names)
    tops = sorted(y for *_, y in names)
    assert min(b - a for a, b in zip(tops, tops[1:], strict=False)) >= 12.9  # none over another


def test_the_address_shows_the_same_again(page, open_page):
    """Where the test above came to: sample 6, chapter 5, layer 3, head 2."""
    again = open_page(page.url)
    assert all(part in page.url for part in ("sample=6", "chapter=5", "layer=3", "head=2"))
    assert again.get_attribute(".thumbs [aria-pressed='true']", "aria-label") == "layer 3, head 2"
    assert again.get_attribute(".samples [aria-pressed='true']", "data-sample") == "6"
    again.close()


def test_the_bank_is_pulled_to_what_stands_beside_it(page):
    go(page, 5)
    river, money, bank = torch.tensor([[2, 0.2], [0.2, 2], [1, 1]])
    places = page.eval_on_selector_all(".bank .word:has(text:not(:empty))", "all => Object.fromEntries(all.map(word => [word.textContent, ['cx', 'cy'].map(name => +word.querySelector('circle').getAttribute(name))]))")
    assert places["money"][0] < places["bank"][0] < places["river"][0] and places["money"][1] < places["bank"][1] < places["river"][1]  # water to the right, money up
    for sentence, other, name in (("money in the bank", money, "money"), ("the river bank", river, "river")):
        page.click(f".opening button:has-text('{sentence}')")
        weights = (torch.stack([other, bank]) @ bank / 2 ** 0.5).softmax(0)
        after = weights[0] * other + weights[1] * bank
        assert f"So bank becomes {weights[0]:.2f} {name} + {weights[1]:.2f} bank = ({after[0]:.1f}, {after[1]:.1f})" in page.inner_text(".opening")


@pytest.fixture(scope="module")
def to_cls_alone(tmp_path_factory):
    """A model in whose first head every token gives all its weight to the class token."""
    folder = save_model(tmp_path_factory.mktemp("models") / "to-cls")
    model = ViTForImageClassification.from_pretrained(folder)
    towards = torch.tensor([1.0, -1.0]).repeat(24)
    with torch.no_grad():
        first, width = model.vit.layers[0].attention, 48 // 3
        model.vit.embeddings.position_embeddings[0, 0] = 100 * towards
        first.q_proj.weight[:width], first.q_proj.bias[:width] = 0, 10
        first.k_proj.weight[:width] = towards
    model.save_pretrained(folder)
    with serve(Models(str(folder))) as served:
        yield served


def test_a_head_that_looks_at_the_class_token_alone_says_so(open_page, to_cls_alone):
    page = open_page(f"{to_cls_alone}/?chapter=5&layer=1&head=1&sample=6")
    page.wait_for_selector(".thumbs")
    assert "looks most at none of them: with < 0.1 % of its attention in layer 1, head 1. The class token gets 100 %." in page.inner_text(".chapter").replace("\xa0", " ")
    patch = int(re.match(r"patch (\d+)", page.inner_text(".side .caption")).group(1))
    assert f"patch {patch} → CLS: 100 %" in page.inner_text(".card").replace("\xa0", " ") and page.inner_text("[data-live=weight]") == "100\xa0%"
    assert page.inner_text(".card .scale >> nth=0").split("\n") == ["0", "weight of one patch", "0\xa0%"]  # of the patches, as that line says
    legend = "each small grid is as blue as its own strongest patch"
    assert f"{legend}; an empty one gives all but a trace of its weight to the class token" in page.inner_text(".card")
    page.click("[data-layer='1'][data-head='0']")
    page.wait_for_selector(".chapter p:has-text('in layer 2, head 1')")
    assert "looks most at row" not in page.inner_text(".chapter") and re.search(r"looks most at patch \d+", page.inner_text(".chapter"))
    page.close()


def test_the_matrix_of_a_layer_that_is_on_its_way_is_not_walked(page, monkeypatch):
    monkeypatch.setattr(attention, "SENT_WHOLE", 0)
    go(page, 4)
    go(page, 5)
    page.evaluate("""() => { document.querySelector(`[data-layer="${(vit.state.layer + 1) % 3}"]`).click();
        document.querySelector(".matrix").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", cancelable: true })); }""")
    page.wait_for_selector(".matrix-box ~ .caption:has-text('weights')")
    page.focus(".matrix")
    page.keyboard.press("ArrowDown")
    assert re.search(r"gives .+ to", page.inner_text(".matrix-box ~ .caption"))


def test_a_chapter_that_was_left_asks_for_nothing_more(page, monkeypatch):
    """Nobody pointed at anything while it was open, so that nothing told it that it is gone."""
    monkeypatch.setattr(attention, "SENT_WHOLE", 0)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "queue/join" in request.url else None)
    for chapter in (5, 2):
        page.evaluate("chapter => document.querySelector(`[data-chapter='${chapter}']`).click()", chapter)
        page.wait_for_selector(f".chapter[data-number='{chapter}']")
    page.wait_for_timeout(300)
    asked.clear()
    page.focus(".side .picture")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert asked == []


def test_a_layer_chosen_while_the_server_works_is_worked_out_all_the_same(page):
    go(page, 5)
    page.click("text=through all layers")
    page.evaluate("""() => { document.querySelector("[data-layer='0'][data-head='2']").click();
        const slider = document.querySelector(".stage input[type=range]"); slider.value = slider.max; slider.dispatchEvent(new Event("input")); }""")
    page.wait_for_function("vit.state.layer === 0 && !document.querySelector('[data-live=dot]').textContent.includes('…')")
