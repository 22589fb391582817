"""Other models in a real browser: loads, stops, newer and older versions, snapshots on the Hub."""

import math
import re
import shutil
import threading

import pytest
from huggingface_hub import HfApi, constants
from PIL import Image

from tests.browser import CHROMIUM, bars, choose, expected_bars, go, plain, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.films import run_of_training
from tests.models import save_model
from tests.served import serve
from vit_demo import classifier
from vit_demo.chapters.scene import percent
from vit_demo.models import KEPT, Models
from vit_demo.samples import FIRST, SAMPLES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


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
    picture = Image.open(SAMPLES[FIRST][0])
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


@pytest.mark.parametrize("chapter", [4, 6, 7])
def test_a_model_of_more_patches_takes_over_whatever_chapter_is_open(open_page, tmp_path, chapter):
    few, many = (save_model(tmp_path / name, patch=patch) for name, patch in (("few", 16), ("many", 2)))
    with serve(Models(str(few), lambda source, **options: classifier.load(many if source == "user/many" else few))) as served:
        page = open_page(f"{served}/?chapter={chapter}")
        ask_for(page, "user/many")
        page.wait_for_selector("[data-chapter='2']:has-text('256 of 2×2')")
        page.wait_for_selector(".chapter .picture[viewBox='0 0 16 16']")
        assert page.get_attribute(".side .picture", "viewBox") == "0 0 16 16"
        assert bars(page) == expected_bars(many, Image.open(SAMPLES[FIRST][0]))
        page.focus(".side .picture")
        page.keyboard.press("ArrowRight")
        marks = page.eval_on_selector_all(".picture .chosen", "nodes => nodes.filter(n => n.style.display !== 'none').map(n => n.getAttribute('x'))")
        assert len(marks) > 1 and set(marks) == {"9"}  # the chapter follows
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
        assert bars(page) == expected_bars(there, Image.open(SAMPLES[FIRST][0]))
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
        labels, probabilities, _ = plain(there, Image.open(SAMPLES[FIRST][0]))
        assert f"it says {labels[probabilities.argmax().item()]}, {percent(probabilities.max().item())}" in page.inner_text(".lapse .told")
        page.close()


def test_a_model_that_had_to_make_room_leaves_nothing_of_itself_on_the_page(hub, open_page, folder, on_the_hub):
    name, _ = on_the_hub("page-evicted", patch=8)
    others = [on_the_hub(f"page-evicts-{number}")[0] for number in range(KEPT)]
    models = Models(str(folder))
    with serve(models) as served:
        page = open_page(f"{served}/?chapter=4")
        ask_for(page, name)
        page.wait_for_selector("[data-chapter='2']:has-text('16 of 8×8')")
        for other in others:
            loading = models.fetch(other)
            assert loading.done.wait(20)
            models.leave(loading)
        page.click("[data-how=stay]")  # a question of the chapter that the other model drew
        page.wait_for_selector("text=no longer up to date")
        go(page, 2)
        assert "64 of 4×4" in page.inner_text("[data-chapter='2']") and bars(page) == expected_bars(folder, Image.open(SAMPLES[FIRST][0]))
        assert page.inner_text("#model-line").startswith("Answering: model.") and f"{name} had to make room" in page.inner_text("#model-line")
        page.close()
