"""Chapters 7 and 8 in a real browser: each bar, tint, frame, curve and legend stands for the class, patch, head or map that it is said to be of."""

import json
import re
import threading

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.browser import CHROMIUM, SAMPLE, go, held_back, same, folder, address, chromium, faults, open_page, page, at_the_sample, model, traced, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.models import save_model
from tests.served import serve
from vit_demo import classifier
from vit_demo.chapters import decision
from vit_demo.chapters.experiments import DUEL
from vit_demo.chapters.scene import number, percent
from vit_demo.classifier import BUNDLED, FAITHFULNESS_FILE
from vit_demo.explain import faithfulness, heads
from vit_demo.explain.faithfulness import curves, random_map
from vit_demo.explain.methods import DEFAULT, METHODS
from vit_demo.explain.relevance import target
from vit_demo.explain.tokens import embed
from vit_demo.models import Models
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
VEIL = "rects => rects.map(rect => 1 - rect.style.opacity / 0.86)"


def ends(page, scale: str) -> list[str]:
    return page.inner_text(scale).split("\n")


def points(label: str) -> dict[str, list[str]]:
    """A chart's aria-label -> its series by name."""
    return {name: told.split(", ") for name, told in (series.rsplit(": ", 1) for series in re.split(r"; ", label.split(". ", 1)[1]))}


def test_each_class_has_its_own_logit_and_share(page, model, traced):
    go(page, 7)
    page.fill(".softmax input[type=range]", "6")
    shares, order = (traced.logits / 10 ** 0.3).softmax(0), traced.logits.argsort(descending=True).tolist()
    logits = traced.logits[order]
    rows = page.eval_on_selector_all(".softmax tbody tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))")
    assert [[name, logit, share] for name, _, logit, _, share in rows] == [[model.config.id2label[i], number(traced.logits[i].item()), percent(shares[i].item())] for i in order]
    bars = page.eval_on_selector_all(".softmax .both i", "bars => bars.map(bar => parseFloat(bar.style.width) * (bar.style.left ? 1 : -1) * (bar.className === (bar.style.left ? '' : 'minus') ? 1 : NaN))")
    same(bars, 50 * logits / logits.abs().max(), 0.01)
    same(page.eval_on_selector_all(".softmax .bar i", "bars => bars.map(bar => parseFloat(bar.style.width))"), 100 * shares[order], 0.01)
    page.fill(".softmax input[type=range]", "0")


def test_a_map_is_tinted_and_scaled_as_it_speaks(page, model, traced):
    go(page, 7)
    best, pixel_values = traced.logits.argmax().item(), traced.pixel_values[None]
    page.select_option("select[aria-label=method]", "gradcam")
    page.wait_for_selector(".card .quiet:has-text('Grad-CAM:'):has-text('Faithfulness on this picture')")
    found = METHODS["gradcam"].map(model, pixel_values, target(model, best))
    peak = found.abs().max()
    tints = page.eval_on_selector_all(".card .tint rect", "all => all.map(r => [r.x.baseVal.value, r.y.baseVal.value, r.style.opacity * { for: 1, against: -1 }[r.getAttribute('class')]])")
    same(tints, [[i % 8, i // 8, 0.6 * value / peak] for i, value in enumerate(found)], 0.001)
    assert ends(page, ".card .scale") == [f"−{number(peak.item(), 3)}", f"against … for · {METHODS['gradcam'].unit}", number(peak.item(), 3)]
    for patch in (9, 50):  # pointed at, whichever is chosen
        page.evaluate("patch => vit.set({ hover: patch })", patch)
        assert page.inner_text(".card .row figcaption >> nth=0") == f"patch {patch}: {number(found[patch].item(), 3)}"
    page.evaluate("vit.set({ hover: null })")
    drawn = curves(model, embed(model, pixel_values), torch.stack([found, random_map(64)]), best, steps=16)
    for chart, expected in zip(page.locator(".card .twin .chart").all(), (drawn.insertion, drawn.deletion), strict=True):
        assert points(chart.get_attribute("aria-label")) == {name: [percent(p) for p in line] for name, line in zip(("this map", "random"), expected.tolist(), strict=True)}
    assert [text.split(":")[0] for text in page.locator(".card .twin figcaption").all_inner_texts()] == ["insertion by Grad-CAM", "deletion by Grad-CAM"]
    told = json.loads((BUNDLED / FAITHFULNESS_FILE).read_text())["test"]
    scores = [f"{number(row['difference'])} (95 % interval {number(row['ci95'][0])} to {number(row['ci95'][1])})" for row in (told["gradcam"]["drop"], told["random"]["drop"])]
    assert all(score in page.inner_text(".card") for score in scores) and page.inner_text(".card").index(scores[0]) < page.inner_text(".card").index(scores[1])


def test_how_far_from_all_classes_it_is_stands_on_its_side(open_page, tmp_path):
    here = classifier.load(save_model(tmp_path / "model"))
    energy = -trace(here, Image.open(SAMPLES[SAMPLE][0])).logits.logsumexp(0)
    save_file({"energies": torch.cat([energy - torch.arange(3, 0, -1), energy + torch.arange(1, 10)])}, tmp_path / "model" / "extras.safetensors")
    with serve(Models(str(tmp_path / "model"))) as served:
        page = open_page(f"{served}/?chapter=7&sample={SAMPLE}")
        assert page.get_attribute(".meter", "aria-valuenow") == "25" and "left: 25%" in page.get_attribute(".meter i", "style").replace("left:25%", "left: 25%")
        assert page.inner_text(".meter + .ends").split("\n") == ["lower energy than all held-out", "higher than all"]
        assert "higher than that of 25 % of held-out pictures" in page.inner_text(".card").replace("\xa0", " ") and "among ordinary pictures" in page.inner_text(".card")
        page.close()


def test_a_new_map_leaves_none_of_the_old_one_while_it_is_computed(page, monkeypatch):
    """Nor does what is below jump; and what was stopped can be asked for once more."""
    may = threading.Event()
    held = held_back(decision.attribution, lambda method: may.wait(20))
    go(page, 7)
    page.select_option("select[aria-label=method]", "gradcam")
    page.wait_for_selector(".card .quiet:has-text('Grad-CAM:'):has-text('Faithfulness')")
    page.wait_for_function("!vit.frame.line.busy")
    below = page.evaluate("document.querySelector('.chapter .equation').offsetTop")
    monkeypatch.setattr(decision, "attribution", held)
    page.select_option("select[aria-label=method]", "shapley")
    page.wait_for_function("document.querySelector('.card .progress i').style.width === '6%'")
    assert page.locator(".card .tint rect, .card .twin .chart, .card .below .scale").count() == 0 and page.inner_text(".card .row figcaption >> nth=0") == "…"
    assert page.evaluate("document.querySelector('.chapter .equation').offsetTop") >= below
    page.wait_for_selector(".busy button:visible")
    page.click(".busy button")
    may.set()
    assert "Stopped: choose a map" in page.inner_text(".card")
    page.click("button:has-text('compute again')")
    page.wait_for_selector(".card .quiet:has-text('Shapley values:'):has-text('Faithfulness')")
    assert page.inner_text(".card .twin figcaption >> nth=0").startswith("insertion by Shapley values: ") and page.evaluate("document.activeElement.ariaLabel") == "method"


def test_patches_that_were_taken_away_are_veiled_and_those_of_the_reader_framed(page, model, traced):
    go(page, 8)
    page.click("text=erase game")
    page.click("button:has-text('keep none')")
    page.focus(".stage .picture")
    kept = [1, 2, 10]
    for key in ("Escape", "ArrowRight", "Enter", "ArrowRight", "Enter", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector(".result:has-text('with 3 of 64 patches')")
    lit = "rects => rects.flatMap((rect, i) => rect.style.opacity < 0.1 ? [rect.x.baseVal.value + 8 * rect.y.baseVal.value] : [])"
    assert page.eval_on_selector_all(".stage .veil rect", lit) == kept
    page.click("text=reveal the map's choice")
    page.wait_for_selector(".stage .quiet:has-text('in common')")
    found = METHODS[DEFAULT].map(model, traced.pixel_values[None], target(model, traced.logits.argmax().item()))
    marked = torch.zeros(64, dtype=torch.bool)
    marked[kept] = True
    assert f"best 3 patches and yours: {percent(faithfulness.overlap(marked, found))} in common" in page.inner_text(".stage")
    assert f"by chance it would be {percent(faithfulness.overlap_by_chance(3, 64))}" in page.inner_text(".stage")
    assert page.eval_on_selector_all(".stage .rings rect", "rects => rects.map(r => Math.floor(r.x.baseVal.value) + 8 * Math.floor(r.y.baseVal.value))") == kept
    needed = int(re.search(r"By its order, (\d+) patch", page.inner_text(".stage")).group(1))
    assert sorted(page.eval_on_selector_all(".stage .veil rect", lit)) == sorted(found.argsort(descending=True, stable=True)[:needed].tolist())


def test_what_is_said_of_a_revealed_choice_is_true(page):
    go(page, 8)
    page.click("text=erase game")
    reveal = page.locator("button:has-text(\"reveal the map's choice\")")
    page.click("button:has-text('keep none')")
    reveal.click()
    page.wait_for_selector(".stage .quiet:has-text('By its order')")
    assert "framed" not in page.inner_text(".stage") and page.locator(".stage .rings rect").count() == 0
    assert reveal.is_disabled()  # it would be compared with itself
    page.click("button:has-text('keep all')")
    assert reveal.is_enabled() and "By its order" not in page.inner_text(".stage")


def test_a_score_outlasts_a_look_at_another_game_which_has_its_own_words(page):
    go(page, 8)
    page.click("text=erase game")
    page.click("button:has-text('keep all')")
    page.wait_for_selector(".stage :text('Your fewest that still count')")
    score = re.search(r"count: \d+", page.inner_text(".stage"))[0]
    erases = ".chapter > .equation, .chapter > .try, .chapter > .check"
    assert page.locator(erases).count() == 3 and all(node.is_visible() for node in page.locator(erases).all())
    for game in ("head switches", "heat-map duel"):
        page.click(f"text={game}")
        assert not any(node.is_visible() for node in page.locator(erases).all()) and page.locator(".stage .try").is_visible()
    page.click("text=erase game")
    page.wait_for_selector(f".stage :text('{score}')")
    assert page.locator(erases).first.is_visible()


def test_a_head_that_helped_is_blue(page, model, traced):
    go(page, 8)
    page.click("text=head switches")
    page.wait_for_function("document.querySelector(\"[data-switch='1,2']\").textContent !== '…'")
    changes = 100 * heads.probability_changes(traced.logits, heads.logits_without_each(model, traced.hidden_states), traced.logits.argmax().item())
    peak = changes.abs().max().item()
    assert ends(page, ".stage .scale")[::2] == [f"+{number(peak, 1)}", f"−{number(peak, 1)}"]  # vermilion, grey, blue
    for layer in range(3):
        for head in range(3):
            cell, change = page.locator(f"[data-switch='{layer},{head}']"), changes[layer, head].item()
            assert cell.inner_text() == number(change, 1) and cell.get_attribute("aria-label") == f"layer {layer + 1}, head {head + 1}, alone off: {number(change, 1)} points"
            hue, share = re.search(r"var\(--(\w+)\) calc\(([\d.]+) \*", cell.get_attribute("style")).groups()
            assert hue == ("strength" if change < 0 else "against") and float(share) == pytest.approx(abs(change) / peak, abs=0.001)
    assert page.locator(".switches > span").all_inner_texts() == ["", "head 1", "head 2", "head 3", "layer 1", "layer 2", "layer 3"]


def test_each_map_of_the_duel_lies_over_its_own_name(page, model, traced):
    go(page, 8)
    page.click("text=heat-map duel")
    page.wait_for_selector(".duel [aria-pressed='true']")
    best, pixel_values = traced.logits.argmax().item(), traced.pixel_values[None]
    maps = [METHODS[name].map(model, pixel_values, target(model, best)) for name in DUEL]
    drawn = curves(model, embed(model, pixel_values), torch.stack([*maps, random_map(64)]), best, steps=16)
    for button, name, found in zip(page.locator(".duel button").all(), DUEL, maps, strict=False):
        assert METHODS[name].title in button.inner_text()
        same(button.locator(".veil rect").evaluate_all(VEIL), found.clamp(min=0) / found.max(), 0.002)
    assert page.get_attribute(f".duel button >> nth={drawn.score.argmax()}", "aria-pressed") == "true"
    page.click(".duel button >> nth=2")
    for chart, expected in zip(page.locator(".stage .twin .chart").all(), (drawn.insertion, drawn.deletion), strict=True):
        told = points(chart.get_attribute("aria-label"))
        assert told["this map"] == [percent(p) for p in expected[2].tolist()] and told["random"] == [percent(p) for p in expected[-1].tolist()]
    assert [text.split(":")[0] for text in page.locator(".stage .twin figcaption").all_inner_texts()] == ["insertion", "deletion"]
    measured = json.loads((BUNDLED / FAITHFULNESS_FILE).read_text())
    page.click(".average summary")
    rows = page.eval_on_selector_all(".average tbody tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))")
    titles, scores = {METHODS[name].title: name for name in DUEL} | {"A random order": "random"}, [float(score.replace("−", "-")) for _, score, *_ in rows]
    assert scores == sorted(scores, reverse=True) and len(rows) == 7
    for title, score, interval, pictures in rows:
        row = measured["test"][titles[title]]
        low, high = row["drop"]["ci95"]
        assert [score, interval, pictures] == [number(row["drop"]["difference"]), f"{number(low)} to {number(high)}", str(row.get("pictures", measured["pictures"]))]
