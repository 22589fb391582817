"""The page in a real browser: what is shown is what plain transformers computes, with no request beyond loopback."""

import math
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.models import save_model
from tests.served import serve
from tests.test_lapse import run_of_training
from vit_demo import classifier
from vit_demo.chapters import CHAPTERS, patches
from vit_demo.chapters.scene import number, percent, whole
from vit_demo.explain.attention import attend, query_key_map
from vit_demo.models import Models
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

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
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
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


def go(page, chapter: int):
    page.click(f"[data-chapter='{chapter}']")
    page.wait_for_selector(f".chapter[data-number='{chapter}']")


def test_a_sample_is_classified_without_a_click(page, folder):
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[0][0]))
    assert "truth: cat" in page.inner_text(".answer") and "always picks one" in page.inner_text(".answer")


@pytest.mark.parametrize("sample", [1, 4])
def test_a_clicked_sample_is_classified(page, folder, sample):
    choose(page, sample)
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[sample][0]))
    right = bars(page)[0][0] == SAMPLES[sample][2]
    assert ("The model is right" if right else "The model is wrong") in page.inner_text(".answer")


def test_the_k_slider_shows_more_classes(page, folder):
    choose(page, 0)
    page.fill(".answer input[type=range]", "9")
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[0][0]), 9)
    page.fill(".answer input[type=range]", "5")


def test_pointing_at_a_patch_names_it_without_asking_the_server(page):
    page.wait_for_timeout(300)
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


def test_attention_shown_is_attention_recomputed(page, folder):
    go(page, 5)
    choose(page, 6)
    attention = plain(folder, Image.open(SAMPLES[6][0]))[2]
    page.click("[data-layer='2'][data-head='1']")
    patch = int(re.search(r"CLS → patch (\d+)", page.inner_text(".card figcaption")).group(1))
    assert f"CLS → patch {patch}: {percent(attention[2, 1, 0, patch + 1].item())}" in page.inner_text(".card")
    page.click("text=the chosen patch looks")
    weights = attention[2, 1, patch + 1, 1:]
    best = weights.argmax().item()
    assert f"patch {patch} → patch {best}: {percent(weights[best].item())}" in page.inner_text(".card")
    page.wait_for_function("!document.querySelector('[data-live=dot]').textContent.includes('…')")


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


def test_the_address_shows_the_same_again(page, open_page):
    """Where the test above came to: sample 6, chapter 5, layer 3, head 2."""
    again = open_page(page.url)
    assert all(part in page.url for part in ("sample=6", "chapter=5", "layer=3", "head=2"))
    assert again.get_attribute(".thumbs [aria-pressed='true']", "aria-label") == "layer 3, head 2"
    assert again.get_attribute(".samples [aria-pressed='true']", "data-sample") == "6"
    again.close()


def test_of_many_buttons_one_is_in_the_tab_order_and_arrows_walk(page):
    go(page, 5)
    page.focus("[data-layer='2'][data-head='1']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("[document.activeElement.dataset.layer, document.activeElement.dataset.head]") == ["0", "2"]  # six in a row
    assert page.locator(".thumbs [tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert page.get_attribute(".thumbs [aria-pressed='true']", "aria-label") == "layer 1, head 3"
    page.click("[data-layer='2'][data-head='1']")


def test_the_bank_is_pulled_to_what_stands_beside_it(page):
    go(page, 5)
    river, money, bank = torch.tensor([[2, 0.2], [0.2, 2], [1, 1]])
    for sentence, other, name in (("money in the bank", money, "money"), ("the river bank", river, "river")):
        page.click(f".opening button:has-text('{sentence}')")
        weights = (torch.stack([other, bank]) @ bank / 2 ** 0.5).softmax(0)
        after = weights[0] * other + weights[1] * bank
        assert f"So bank becomes {weights[0]:.2f} {name} + {weights[1]:.2f} bank = ({after[0]:.1f}, {after[1]:.1f})" in page.inner_text(".opening")


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
    for sample in (0, 3):
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
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.close()


def test_a_model_without_snapshots_says_how_to_make_them(page):
    go(page, 9)
    page.wait_for_selector(".lapse:has-text('--snapshots 8')")


@pytest.mark.parametrize("patch", [4, 8])
def test_each_chapters_number_is_what_its_snippet_gives(open_page, tmp_path, monkeypatch, patch):
    """With two models: the code that stands on the page, run as it is, gives a number that stands on the page."""
    os.symlink(Path(__file__).parent.parent / "vit_demo", tmp_path / "vit_demo")
    monkeypatch.chdir(tmp_path)
    with serve(Models(str(save_model(tmp_path / "model", patch=patch)))) as served:
        page = open_page(f"{served}/?sample=3&layer=2")
        for chapter in range(1, len(CHAPTERS) + 1):
            go(page, chapter)
            if chapter == 5:
                page.click("text=queries and keys")
                page.wait_for_selector("text=They hold")
            told = page.inner_text(".chapter") + " ".join(page.eval_on_selector_all(".chapter svg", "charts => charts.map(chart => chart.ariaLabel)"))
            for code in page.eval_on_selector_all(".chapter > .check code", "nodes => nodes.map(node => node.textContent)"):
                space = {}
                exec(code, space)
                answer = space["answer"]
                shown = {whole(round(answer))} if answer > 1000 else {number(answer), number(answer, 3)} | ({percent(answer)} if 0 < answer < 1 else set())
                assert any(re.search(rf"(?<![\d.,−]){re.escape(text)}(?![\d.,]\d)", told) for text in shown), (chapter, shown)
        page.close()


def test_an_upload_is_classified_and_a_bad_one_gets_a_line(page, folder, tmp_path):
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


@pytest.mark.parametrize("query, scheme", [("?__theme=dark", "light"), ("", "dark")])
def test_dark_is_dark(open_page, address, query, scheme):
    page = open_page(address + query, color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor") == "rgb(20, 23, 27)"
    page.close()


def test_models_from_the_hub_arrive_while_the_bundled_one_answers(hub, open_page, folder, tmp_path_factory):
    """First the one that --model names, held back for a while; then one that the visitor types; then one that is not there."""
    others = [save_model(tmp_path_factory.mktemp("hub") / name, patch=patch) for name, patch in (("slow", 8), ("typed", 16))]
    for other in others:
        HfApi().create_repo(f"page-{other.name}")
        HfApi().upload_folder(repo_id=f"{hub.user}/page-{other.name}", folder_path=other)
    slow, typed = (f"{hub.user}/page-{other.name}" for other in others)
    go_on = threading.Event()

    def load(source, **options):
        if source == slow:
            assert go_on.wait(60)
        return classifier.load(folder if source is None else source, **options)

    models = Models(slow, load)
    picture = Image.open(SAMPLES[0][0])
    with serve(models) as served:
        page = open_page(served)
        assert bars(page) == expected_bars(folder, picture)
        assert slow in page.inner_text("#model-line") and "Loading" in page.inner_text("#model-line")
        go_on.set()
        page.wait_for_selector("[data-chapter='2']:has-text('16 of 8×8')")
        assert bars(page) == expected_bars(others[0], picture)
        assert page.inner_text("#model-line").startswith(f"Answering: {slow}")
        page.click("#models > button")
        page.fill("#models input", typed)
        page.click("#models button:has-text('Load')")
        page.wait_for_selector("[data-chapter='2']:has-text('4 of 16×16')")
        assert bars(page) == expected_bars(others[1], picture)
        page.fill("#models input", f"{hub.user}/nobody-knows")
        page.keyboard.press("Enter")
        page.wait_for_selector("#coming .bad:not(:empty)")
        assert page.inner_text("#coming .bad") == f"{hub.user}/nobody-knows: the Hub has no such public model; check its name"
        assert bars(page) == expected_bars(others[1], picture)
        page.click("#coming .stop")
        page.wait_for_selector("#coming .loading", state="hidden")
        choose(page, 5)
        assert bars(page) == expected_bars(others[1], Image.open(SAMPLES[5][0]))
        page.close()


@pytest.fixture
def on_the_hub(hub, tmp_path_factory):
    """on_the_hub(name, **shape) -> (repository, folder)"""
    def put(name, **shape):
        there = save_model(tmp_path_factory.mktemp("hub") / name, **shape)
        hub.seed("models", f"{hub.user}/{name}", there)
        return f"{hub.user}/{name}", there

    return put


def ask_for(page, name: str):
    if not page.is_visible("#models input"):
        page.click("#models > button")
    page.fill("#models input", name)
    page.click("#models button:has-text('Load')")


def test_a_load_tells_its_bytes_and_a_stopped_one_leaves_the_old_model(hub, open_page, folder, on_the_hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    slow, there = on_the_hub("page-stopped", patch=8)
    size = (there / "model.safetensors").stat().st_size
    rule = hub.fault("page-stopped/resolve/.*safetensors", rate=40_000)
    models = Models(str(folder))
    with serve(models) as served:
        page = open_page(served)
        ask_for(page, slow)
        page.wait_for_function("document.querySelector('#coming progress').value > 0")
        assert page.inner_text("#coming b") == f"Loading {slow}"
        assert re.fullmatch(rf"fetching 0.\d of {size / 1e6:.1f} MB", page.inner_text("#coming .step"))
        choose(page, 4)  # meanwhile the page goes on, with the old model
        assert bars(page) == expected_bars(folder, Image.open(SAMPLES[4][0]))
        page.click("#coming .stop")
        page.wait_for_selector("#coming .loading", state="hidden")
        page.wait_for_timeout(3000)
        assert max(call["bytes"] for call in hub.calls if call["path"].endswith("safetensors") and "page-stopped" in call["path"]) < size
        assert models.get(slow) is models.default and bars(page) == expected_bars(folder, Image.open(SAMPLES[4][0]))
        assert "Answering: model" in page.inner_text("#model-line")
        rule.times = 0
        ask_for(page, slow)
        page.wait_for_selector("[data-chapter='2']:has-text('16 of 8×8')")
        assert bars(page) == expected_bars(there, Image.open(SAMPLES[4][0]))  # the picture chosen meanwhile stays
        page.close()


def test_who_goes_away_leaves_no_load_behind(hub, open_page, folder, on_the_hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    slow, _ = on_the_hub("page-left")
    hub.fault("page-left/resolve/.*safetensors", rate=20_000)
    models = Models(str(folder))
    with serve(models) as served:
        page = open_page(served)
        ask_for(page, slow)
        page.wait_for_function("document.querySelector('#coming progress').value > 0")
        loading = models.fetch(slow)
        models.leave(loading)
        page.close()
        assert loading.done.wait(10) and loading.classifier is None


def test_a_newer_version_is_told_and_opened_by_a_click(hub, open_page, folder, on_the_hub, tmp_path):
    name, old = on_the_hub("page-grows", patch=8)
    models = Models(str(folder))
    with serve(models) as served:
        page, other = open_page(served), open_page(served)
        ask_for(page, name)
        page.wait_for_selector(f"#model-line:has-text('Answering: {name}, revision')")
        first = models.get(name).revision
        assert first[:8] in page.inner_text("#model-line") and not page.is_visible("#model-line .newer")
        newer = save_model(tmp_path / "newer", patch=16)
        second = HfApi().upload_folder(repo_id=name, folder_path=newer).oid
        models.held(name).asked = -math.inf  # ten minutes later
        choose(page, 3)
        choose(page, 2)
        page.wait_for_timeout(500)
        choose(page, 1)
        assert f"A newer version is on the Hub: {second[:8]}." in page.inner_text("#model-line")
        assert bars(page) == expected_bars(old, Image.open(SAMPLES[1][0]))
        page.click("#model-line .newer button")
        page.wait_for_selector(f"#model-line:has-text('revision {second[:8]}')")
        assert bars(page) == expected_bars(newer, Image.open(SAMPLES[1][0])) and not page.is_visible("#model-line .newer")
        assert models.get(name).revision == first  # for who has not clicked, nothing changes
        choose(other, 1)
        assert "Answering: model" in other.inner_text("#model-line") and bars(other) == expected_bars(folder, Image.open(SAMPLES[1][0]))
        ask_for(page, f"{name}@{first}")
        page.wait_for_selector(f"#model-line .newer:has-text('{second[:8]}')")  # a pinned one is compared with the main branch
        page.close()
        other.close()


def test_an_older_copy_says_that_it_stands_in(hub, open_page, folder, on_the_hub):
    name, there = on_the_hub("page-kept", patch=8)
    classifier.load(name, token=False)  # some time ago
    hub.fault(".", status=503)
    with serve(Models(str(folder))) as served:
        page = open_page(served)
        ask_for(page, name)
        page.wait_for_selector(f"#model-line:has-text('Answering: {name}, revision')")
        assert "the Hub has trouble answering (503); try again in a while. This is the copy kept from before." in page.inner_text("#model-line")
        assert bars(page) == expected_bars(there, Image.open(SAMPLES[0][0]))
        page.close()


def test_a_visitor_opens_the_snapshots_of_a_model_on_the_hub(hub, open_page, folder, tmp_path):
    there, name = run_of_training(tmp_path / "run"), f"{hub.user}/page-film"
    hub.seed("models", name, there)
    for snapshot in sorted((there / "snapshots").iterdir()):
        shutil.copy(there / "preprocessor_config.json", snapshot)
        HfApi().create_branch(name, branch=snapshot.name)
        HfApi().upload_folder(repo_id=name, folder_path=snapshot, revision=snapshot.name)
    with serve(Models(str(folder))) as served:
        page = open_page(f"{served}/?chapter=9")
        ask_for(page, name)
        page.wait_for_selector(f"#model-line:has-text('Answering: {name}')")
        page.click(".lapse button:has-text('open 2 snapshots, about 0.')")
        page.wait_for_selector(".lapse .told:has-text('After epoch 2')")
        labels, probabilities, _ = plain(there, Image.open(SAMPLES[0][0]))
        assert f"it says {labels[probabilities.argmax().item()]}, {percent(probabilities.max().item())}" in page.inner_text(".lapse .told")
        page.close()
