"""Chapter 9 in a real browser: what was measured, and what the snapshots saw, is drawn where it belongs."""

import json

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification

from tests.browser import CHROMIUM, canvases, same, plain, chromium, faults, open_page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.films import run_of_training
from tests.models import LABELS, save_model
from tests.served import serve
from vit_demo.chapters.projection import COMPONENTS, signed_pictures
from vit_demo.chapters.scene import a, number, percent
from vit_demo.explain import embeddings, positions
from vit_demo.models import Models
from vit_demo.samples import SAMPLES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
COUNTS = [[50 + i if i == j else (3 * i + 7 * j) % 6 for j in range(10)] for i in range(10)]  # rows the truth, and unlike the columns
BINS = [{"low": 0.2, "high": 0.3, "count": 10, "confidence": 0.27, "accuracy": 0.1}, {"low": 0.5, "high": 0.6, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.9, "high": 1.0, "count": 90, "confidence": 0.97, "accuracy": 0.85}]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = save_model(tmp_path_factory.mktemp("models") / "measured")
    (folder / "metrics.json").write_text(json.dumps({"test_accuracy": 0.9, "confusion": COUNTS, "calibration": {"bins": BINS}}))
    with serve(Models(str(folder))) as served:
        yield folder, served


def test_a_cell_of_the_confusion_matrix_is_told_as_truth_and_answer(open_page, measured):
    folder, served = measured
    labels, probabilities, _ = plain(folder, Image.open(SAMPLES[1][0]))
    truth, said = LABELS.index(SAMPLES[1][2]), probabilities.argmax().item()
    assert truth != said
    page = open_page(f"{served}/?chapter=9&sample=1")
    cells = page.eval_on_selector_all(".confusion td[style]", "cells => cells.map(cell => [cell.ariaLabel, cell.textContent, cell.className, cell.getAttribute('style')])")
    worst = max(n / sum(row) for i, row in enumerate(COUNTS) for j, n in enumerate(row) if i != j)
    for place, (told, text, marked, style) in enumerate(cells):
        i, j = divmod(place, 10)
        n, of = COUNTS[i][j], sum(COUNTS[i])
        assert told == (f"{LABELS[i]}: {n} of {of} right, {percent(n / of)}" if i == j else f"{n} of {of} pictures of {a(LABELS[i])} were called {LABELS[j]}, {percent(n / of)}")
        assert text == str(n or "") and marked == ("here" if (i, j) == (truth, said) else "")
        assert f"var(--{'strength' if i == j else 'against'}) calc({n / of / (1 if i == j else worst):.3f} *" in style
    page.hover(".confusion td[style] >> nth=12")
    assert page.inner_text(".confusion >> xpath=../.. >> figcaption") == cells[12][0]
    page.close()


def test_how_sure_lies_along_and_how_often_right_up(open_page, measured):
    folder, served = measured
    confidence = plain(folder, Image.open(SAMPLES[1][0]))[1].max().item()
    page = open_page(f"{served}/?chapter=9&sample=1")
    told = page.get_attribute(".reliability", "aria-label")
    assert told == f"reliability diagram: 10 pictures: sure {percent(0.27)}, right {percent(0.1)}; 90 pictures: sure {percent(0.97)}, right {percent(0.85)}"
    assert f"A bar above the line: right more often than it says; below it: less often. Mean gap {percent(0.1 * 0.17 + 0.9 * 0.12)}: how far" in page.inner_text(".measured")
    left, bottom, right, top = page.eval_on_selector(".reliability .ideal", "line => ['x1', 'y1', 'x2', 'y2'].map(name => +line.getAttribute(name))")
    for bar, told in zip(page.locator(".reliability .bin").all(), (BINS[0], BINS[2]), strict=True):
        x, y, width, height = (float(bar.get_attribute(name)) for name in ("x", "y", "width", "height"))
        assert [(x - left) / (right - left), (x + width - left) / (right - left), (bottom - y) / (bottom - top)] == pytest.approx([told["low"], told["high"], told["accuracy"]], abs=0.01)
        assert y + height == pytest.approx(bottom)
    now = float(page.get_attribute(".reliability .now", "x1"))
    assert (now - left) / (right - left) == pytest.approx(confidence, abs=0.001)
    page.close()


def test_a_snapshot_is_shown_with_its_own_filters_positions_and_attention(open_page, tmp_path):
    folder = run_of_training(tmp_path / "run")
    early = ViTForImageClassification.from_pretrained(folder / "snapshots" / "epoch-001")
    early.vit.embeddings.position_embeddings.data = early.vit.embeddings.position_embeddings.data.float().cumsum(1).half()  # neighbours more alike than later
    early.save_pretrained(folder / "snapshots" / "epoch-001")
    picture = Image.open(SAMPLES[4][0])
    labels, whole, _ = plain(folder, picture)
    best = whole.argmax().item()
    with serve(Models(str(folder))) as served:
        page = open_page(f"{served}/?chapter=9&sample=4&patch=10")
        page.wait_for_selector(".lapse .told:has-text('After epoch 2')")
        page.fill(".lapse input[type=range] >> nth=1", "2")
        last = embeddings.filter_components(embeddings.projection(ViTForImageClassification.from_pretrained(folder))[0], COMPONENTS).filters
        sure = []
        for epoch, accuracy in ((1, "25\u00a0% of the augmented training pictures"), (2, "75\u00a0% of the validation pictures")):
            page.fill(".lapse input[type=range] >> nth=0", str(epoch - 1))
            there = folder / "snapshots" / f"epoch-00{epoch}"
            model = ViTForImageClassification.from_pretrained(there, dtype=torch.float32)
            _, shares, attention = plain(folder, picture, there)
            said, p = shares.argmax().item(), shares[best].item()
            sure.append(percent(p))
            told = page.inner_text(".lapse .told")
            assert told == (f"After epoch {epoch} it says {labels[said]}, {percent(shares.max().item())}"
                            + (f"; {labels[best]} has {percent(p)}" if said != best else "") + f". It was right on {accuracy}.")
            looks = attention[1, :, 0, 1:].mean(0)
            same(page.eval_on_selector_all(".lapse .picture:not(.mosaic) .veil rect", "rects => rects.map(rect => 1 - rect.style.opacity / 0.86)"), looks / looks.max(), 0.002)
            assert f"CLS → patch 10: {percent(looks[10].item())}, mean of the heads" in page.inner_text(".lapse")
            components = embeddings.filter_components(embeddings.projection(model)[0], COMPONENTS)
            for seen, expected in zip(canvases(page, ".lapse .filters canvas"), signed_pictures(embeddings.turned(components.filters, last)), strict=True):
                same(seen[..., :3], expected.permute(1, 2, 0), 1)
            similarity = positions.position_similarity(model.vit.embeddings.position_embeddings[0].detach(), (8, 8))
            assert f"neighbours have cosine {number(positions.neighbour_similarity(similarity)[0])} on average" in page.inner_text(".lapse")
            drawn = page.evaluate("""async () => {
                const image = new Image(); image.src = document.querySelector('.lapse .mosaic image').getAttribute('href'); await image.decode();
                const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
                const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0); const tile = image.width / 8, cell = tile / 9;
                return [10, 25, 26].map(other => [...pen.getImageData(2 * tile + (other % 8 + 1) * cell, tile + (Math.floor(other / 8) + 1) * cell, 1, 1).data]); }""")
            for seen, other in zip(drawn, (10, 25, 26), strict=True):
                cosine = similarity.reshape(64, 64)[10, other].item()
                hue, ground = torch.tensor([0.0, 114, 178] if cosine > 0 else [213.0, 94, 0]), torch.tensor([238.0, 239, 236])
                same(seen[:3], ground + (hue - ground) * abs(cosine), 2)
        assert f"sure of {labels[best]}: {', '.join(sure)}" in page.get_attribute(".lapse .chart", "aria-label")
        page.close()
