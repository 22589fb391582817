"""What a reader plays with in chapters 5, 7 and 8, in a real browser: each number shown equals a recomputation."""

import re
import threading

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import ViTForImageClassification

from tests.browser import CHROMIUM, SAMPLE, go, held_back, plain, folder, address, chromium, faults, open_page, page, at_the_sample, model, traced, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.models import save_model
from tests.served import serve
from vit_demo import classifier
from vit_demo.chapters import decision, experiments
from vit_demo.chapters.experiments import DUEL
from vit_demo.chapters.scene import number, percent
from vit_demo.explain.attention import rollout
from vit_demo.explain.attribution import Attribution
from vit_demo.explain.faithfulness import curves, random_map
from vit_demo.explain.methods import METHODS
from vit_demo.explain.relevance import target
from vit_demo.explain.tokens import embed
from vit_demo.models import Models
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


def logits_keeping(folder, traced, kept: list[int]) -> torch.Tensor:
    """By plain transformers: the tokens of the other patches are never there."""
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        tokens = model.vit.embeddings(traced.pixel_values[None])[:, [0, *(patch + 1 for patch in kept)]]
        for layer in model.vit.layers:
            tokens = layer(tokens)
        return model.classifier(model.vit.layernorm(tokens[:, 0]))[0]


def chosen_patch(page) -> int:
    return int(re.match(r"patch (\d+)", page.inner_text(".side .caption")).group(1))


def test_the_temperature_flattens_the_shares(page, traced):
    go(page, 7)
    best = traced.logits.argmax().item()
    for steps, temperature in (("20", 10.0), ("-20", 0.1), ("0", 1.0)):
        page.fill(".softmax input[type=range]", steps)
        assert page.inner_text("[data-live=p]") == percent((traced.logits / temperature).softmax(0)[best].item())
        assert page.get_attribute(".softmax input[type=range]", "aria-valuetext") == number(temperature)


@pytest.mark.parametrize("name", METHODS)
def test_each_map_is_shown_with_its_own_score(page, model, traced, name):
    go(page, 7)
    best, method = traced.logits.argmax().item(), METHODS[name]
    page.select_option("select[aria-label=method]", name)
    page.wait_for_selector(f'.card .quiet:has-text("{method.title}:"):has-text("Faithfulness on this picture")')
    pixel_values = traced.pixel_values[None]
    found = METHODS[name].find(model, pixel_values, target(model, best))
    if isinstance(found, Attribution):
        found, whole = found.patches, found
        assert f"The patches sum to {number(whole.change + whole.gap)}; the logit changes by {number(whole.change)} from" in page.inner_text(".card")
        assert whole.draws is None or f"Estimated from {whole.draws:,} draws" in page.inner_text(".card")
    told = page.inner_text(".card")
    assert f"patch {chosen_patch(page)}: {number(found[chosen_patch(page)].item(), 3)}" in told and method.says in told and method.unit in told
    drawn = curves(model, embed(model, pixel_values), torch.stack([found, random_map(64)]), best, steps=16)
    assert f"dropped): {number(drawn.score[0].item())}; one random order gets {number(drawn.score[1].item())}." in told
    assert (page.locator(".card .tint rect").count() > 0) == method.by_class  # attention alone speaks neither for a class nor against


def test_the_map_that_comes_next_says_how_far_it_is(page, monkeypatch):
    """Also when the one before it has arrived meanwhile."""
    first, second = threading.Event(), threading.Event()
    held = held_back(decision.attribution, lambda method: {METHODS["gradcam"]: first, METHODS["chefer"]: second}[method].wait(20))
    go(page, 7)
    page.wait_for_selector(".card .quiet:has-text('Faithfulness on this picture')")
    monkeypatch.setattr(decision, "attribution", held)
    page.select_option("select[aria-label=method]", "gradcam")
    page.select_option("select[aria-label=method]", "chefer")
    first.set()
    page.wait_for_selector(".card .quiet:has-text('Grad-CAM:'):has-text('Faithfulness')")
    page.wait_for_function("document.querySelector('.card .progress i').style.width === '6%'")
    assert page.is_visible(".card .progress")
    second.set()
    page.wait_for_selector(".card .quiet:has-text('Chefer'):has-text('Faithfulness')")
    assert not page.is_visible(".card .progress")


def test_why_this_class_and_not_that_one(page, model, traced):
    go(page, 7)
    first, second = traced.logits.topk(2).indices.tolist()
    page.select_option("select[aria-label=method]", "gradcam")
    page.select_option("select[aria-label='and not']", str(second))
    labels = model.config.id2label
    page.wait_for_selector(f".card figcaption:has-text('p({labels[first]} of the two)')")
    page.wait_for_selector(".card .quiet:has-text('Grad-CAM:'):has-text('Faithfulness')")
    found = METHODS["gradcam"].map(model, traced.pixel_values[None], target(model, first, second))
    told = page.inner_text(".card")
    assert f"patch {chosen_patch(page)}: {number(found[chosen_patch(page)].item(), 3)}" in told
    assert "On average" not in told  # that was measured for the answer, against all
    assert page.get_attribute(f"select[aria-label='and not'] option[value='{first}']", "hidden") is not None
    page.select_option("select[aria-label=why]", str(second))
    assert page.input_value("select[aria-label='and not']") == "-1"


def test_attention_is_rolled_out_as_asked(page, folder):
    go(page, 5)
    attention = plain(folder, Image.open(SAMPLES[SAMPLE][0]))[2]
    page.click("text=through all layers")
    for fusion, discard in (("mean", 0), ("max", 50), ("min", 90)):
        page.click(f".stage [role=radio]:has-text('{fusion}')")
        page.fill(".stage input[type=range]", str(discard))
        share = rollout(attention, fusion, discard / 100)[0, 1:].sum().item()
        page.wait_for_selector(f".stage [aria-live]:has-text('The patches together hold {percent(share)}')")
    page.click("text=the whole matrix")


def test_the_chosen_patch_looks_and_a_pair_is_worked_out_number_by_number(page, model, traced):
    go(page, 5)
    page.click("text=the chosen patch looks")
    page.click("[data-layer='1'][data-head='2']")
    page.focus(".side .picture")
    page.keyboard.press("ArrowLeft")
    token = chosen_patch(page) + 1
    page.wait_for_function("!document.querySelector('[data-live=dot]').textContent.includes('…')")
    told = re.search(rf"patch {token - 1} → patch (\d+): (.+?) · to CLS", page.inner_text(".card"))
    key = int(told.group(1)) + 1
    layer = model.vit.layers[1]
    with torch.no_grad():
        hidden = layer.layernorm_before(traced.hidden_states[1])
        query, keys, values = (project(hidden).unflatten(-1, (traced.attentions.shape[1], -1))[:, 2] for project in (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj))
    dot = (query[token] @ keys[key]).item()
    assert float(page.inner_text("[data-live=dot]").replace("−", "-")) == pytest.approx(dot, abs=0.011)
    assert told.group(2) == percent(traced.attentions[1, 2, token, key].item()) and f"sum {page.inner_text('[data-live=dot]')}" in page.inner_text(".worked >> nth=2")
    inked = page.eval_on_selector_all(".worked canvas", "nodes => nodes.map(n => n.getContext('2d').getImageData(0, 0, n.width, 1).data.some(v => v))")
    assert inked == [True] * 5
    mixed = traced.attentions[1, 2, token] @ values
    assert page.inner_text(".worked >> nth=3").split("\n")[-1] == f"× {told.group(2)}" and f"value, patch {key - 1}" in page.inner_text(".worked >> nth=3")
    assert page.inner_text(".worked >> nth=4").split("\n")[-1] == f"±{number(mixed.abs().max().item())}"


def test_the_erase_game_counts_what_was_found_and_not_what_was_shown(page, folder, traced):
    go(page, 8)
    best, p = traced.logits.argmax().item(), traced.logits.softmax(0).max().item()
    label = plain(folder, Image.open(SAMPLES[SAMPLE][0]))[0][best]
    blank = logits_keeping(folder, traced, []).softmax(0)[best].item()
    goal = (p + min(blank, p)) / 2
    page.click("text=keep none")
    page.wait_for_selector(".result:has-text('with 0 of 64 patches')")
    assert "Your fewest that still count: 64" in page.inner_text(".result")  # all of them, at the start; nothing at all never counts
    page.click("button:has-text('every second')")
    page.wait_for_selector(".result:has-text('with 32 of 64 patches')")
    shares = logits_keeping(folder, traced, list(range(0, 64, 2))).softmax(0)
    assert f"{label} has {percent(shares[best].item())}." in page.inner_text(".result")
    counts = shares.argmax().item() == best and shares[best].item() >= goal
    assert f"Your fewest that still count: {32 if counts else 64}" in page.inner_text(".result")
    page.click("text=reveal the map's choice")
    page.wait_for_selector(".card .quiet:has-text('by chance it would be 34\u00a0%')")  # the mean of 32 of 64; the share of the mean would be 33
    needed = int(re.search(r"By its order, (\d+) patch", page.inner_text(".card")).group(1))
    page.wait_for_selector(f".result:has-text('with {needed} of 64 patches')")
    assert page.locator(".card .rings rect").count() == 32
    assert f"Your fewest that still count: {32 if counts else 64}" in page.inner_text(".result")


def test_a_switched_off_head_is_one_whose_output_columns_are_zero(page, folder, traced):
    go(page, 8)
    page.click("text=head switches")
    page.wait_for_function("document.querySelector(\"[data-switch='1,2']\").textContent !== '…'")
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    best, width = traced.logits.argmax().item(), model.config.hidden_size // model.config.num_attention_heads
    with torch.no_grad():
        model.vit.layers[1].attention.o_proj.weight[:, 2 * width : 3 * width] = 0
        off = model(traced.pixel_values[None]).logits[0].softmax(0)[best].item()
    change = 100 * (off - traced.logits.softmax(0)[best].item())
    assert float(page.inner_text("[data-switch='1,2']").replace("−", "-")) == pytest.approx(change, abs=0.051)
    page.click("[data-switch='1,2']")
    page.wait_for_selector(f".result:has-text('with 1 of'):has-text('is {percent(off)}')")


def test_the_duel_scores_every_map_as_the_maths_does(page, model, traced):
    go(page, 8)
    page.click("text=heat-map duel")
    page.wait_for_function("[...document.querySelectorAll('.duel b')].every(b => b.textContent !== '…')")
    best, pixel_values = traced.logits.argmax().item(), traced.pixel_values[None]
    maps = [METHODS[name].map(model, pixel_values, target(model, best)) for name in DUEL] + [random_map(64)]
    score = curves(model, embed(model, pixel_values), torch.stack(maps), best, steps=16).score
    shown = [float(text.replace("−", "-")) for text in page.locator(".duel b").all_inner_texts()]
    assert shown == pytest.approx(score.tolist(), abs=0.0051)


def test_the_nearest_training_pictures_are_those_of_the_bank(open_page, tmp_path):
    folder = save_model(tmp_path / "banked")
    here = classifier.load(folder)
    features = torch.stack([trace(here, Image.open(path)).hidden_states[1:, 0] for path, *_ in SAMPLES])
    save_file({"bank": features.half(), "bank_labels": torch.arange(len(SAMPLES)) % 10, "bank_thumbnails": torch.zeros(len(SAMPLES), 3, 32, 32, dtype=torch.uint8)},
              folder / "extras.safetensors")
    with serve(Models(str(folder))) as served:
        page = open_page(f"{served}/?chapter=8&sample=3")
        page.click("text=nearest pictures")
        layers = features.shape[1]
        for layer in (layers, 1):
            page.fill(".stage input[type=range]", str(layer))
            cosines = torch.cosine_similarity(features[3, layer - 1].half().float(), features[:, layer - 1].half().float(), dim=-1)
            second = cosines.topk(2).indices[1].item()
            page.wait_for_selector(f".alike figure >> nth=1 >> text={number(cosines[second].item())}")
            assert page.inner_text(".alike figcaption >> nth=0").split("\n") == [here.labels[3], "1.00"]
            assert page.inner_text(".alike figcaption >> nth=1").split("\n")[0] == here.labels[second % 10]
        page.close()


def test_back_takes_a_chapter_back(page):
    for chapter in (2, 3, 4):
        go(page, chapter)
    for chapter in (3, 2):
        page.go_back()
        page.wait_for_selector(f".chapter[data-number='{chapter}']")
        assert f"chapter={chapter}" in page.url
    page.go_forward()
    page.wait_for_selector(".chapter[data-number='3']")


def test_the_keyboard_reaches_the_chapter_in_few_steps(open_page, address):
    page = open_page(f"{address}/?chapter=3")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "to the chapter"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('.card').contains(document.activeElement)")
    assert page.locator(".samples [tabindex='0']").count() == page.locator(".ribbon li [tabindex='0']").count() == 1
    page.close()


def test_a_late_answer_counts_for_what_was_asked(page, folder, traced, model):
    """Clicked faster than the server answers: nobody has the score of a picture with patches that they did not see."""
    go(page, 8)
    page.click("text=erase game")
    page.wait_for_selector(".result:has-text('with 64 of 64 patches')")
    page.evaluate("""() => { const button = (text) => [...document.querySelectorAll('.stage button')].find(b => b.textContent === text);
        button('keep all').click(); button('keep none').click();
        document.querySelector('.stage .picture').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' })); }""")
    page.wait_for_selector(".result:has-text('with 1 of 64 patches')")
    best, whole = traced.logits.argmax().item(), traced.logits.softmax(-1).max().item()
    alone, blank = (logits_keeping(folder, traced, kept).softmax(-1) for kept in ([chosen_patch(page)], []))
    counts = alone.argmax().item() == best and alone[best] >= (whole + min(blank[best].item(), whole)) / 2
    assert f"Your fewest that still count: {1 if counts else 64}." in page.inner_text(".result") and not counts


def test_a_reveal_that_comes_late_leaves_a_new_start_alone(page, monkeypatch):
    """Also where it waits for its turn: clicked faster than the server answers."""
    go(page, 8)
    page.click("text=erase game")
    may = threading.Event()
    monkeypatch.setattr(experiments, "heat_map", held_back(experiments.heat_map, lambda method: may.wait(20)))
    page.click("button:has-text('every second')")
    page.wait_for_selector(".result:has-text('with 32 of 64 patches')")
    page.click("text=reveal the map's choice")
    page.wait_for_function("document.querySelector('.stage .progress i').style.width === '5%'")
    page.click("button:has-text('keep all')")
    assert not page.is_visible(".stage .progress")
    may.set()
    page.wait_for_selector(".result:has-text('with 64 of 64 patches')")
    page.wait_for_function("!vit.frame.line.busy")
    assert "with 64 of 64 patches" in page.inner_text(".result") and "By its order" not in page.inner_text(".card") and page.locator(".card .rings rect").count() == 0
    page.evaluate("""() => { const button = (text) => [...document.querySelectorAll('.stage button')].find(b => b.textContent === text);
        button('keep none').click(); button("reveal the map's choice").click(); button('every second').click(); }""")
    page.wait_for_selector(".result:has-text('with 32 of 64 patches')")
    page.wait_for_function("!vit.frame.line.busy")
    assert "with 32 of 64 patches" in page.inner_text(".result") and "By its order" not in page.inner_text(".card")


def test_what_was_revealed_never_counts_however_late_its_answer_comes(page, monkeypatch):
    """It comes after a new start, and is of what was shown before."""
    go(page, 8)
    page.click("text=erase game")
    page.wait_for_selector(".result:has-text('with 64 of 64 patches')")
    erase, may = experiments.erase, threading.Event()

    def held(look, question):
        assert may.wait(20)
        yield from erase(look, question)

    monkeypatch.setattr(experiments, "erase", held)
    page.click("text=reveal the map's choice")
    page.wait_for_selector(".card .quiet:has-text('By its order')")
    assert int(re.search(r"By its order, (\d+) patch", page.inner_text(".card")).group(1)) < 64
    page.click("button:has-text('keep all')")
    may.set()
    page.wait_for_function("!vit.frame.line.busy")
    assert "with 64 of 64 patches" in page.inner_text(".result") and "Your fewest that still count: 64." in page.inner_text(".result")


def test_a_map_that_was_stopped_leaves_none_under_its_name(page):
    go(page, 7)
    page.wait_for_selector(".card .quiet:has-text('Faithfulness on this picture')")
    page.evaluate("document.querySelector('.card').dispatchEvent(new Event('stopped'))")
    assert page.inner_text(".card figcaption.mono >> nth=0") == "…" and "Stopped: choose a map" in page.inner_text(".card")
    assert page.locator(".card .tint rect[style*='opacity: 0.']").count() == 0
    page.select_option("[aria-label='method']", "gradcam")
    page.wait_for_selector(".card .quiet:has-text('Faithfulness on this picture')")
