"""The experiments of chapter 8 against what they claim to do."""

import json
from math import comb

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.models import save_model
from tests.test_draw import unpack
from vit_demo.chapters import decision, experiments
from vit_demo.chapters.extras import map_scores
from vit_demo.chapters.scene import Look
from vit_demo.classifier import load
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    classifier = load(save_model(tmp_path_factory.mktemp("experiments") / "model"))
    return Look(classifier, trace(classifier, Image.open(SAMPLES[0][0])))


def last(look, **question) -> dict:
    return list(experiments.answer(look, question))[-1]


def test_keeping_all_patches_changes_nothing(look):
    reply = last(look, what="erase", kept=list(range(64)))
    assert reply["p"] == pytest.approx(look.probabilities.max().item(), abs=1e-5)
    assert reply["top"][0][0] == look.classifier.labels[look.ranked[0]]


def test_keeping_none_gives_every_picture_the_same_answer(look):
    other = Look(look.classifier, trace(look.classifier, Image.open(SAMPLES[9][0])))
    assert last(look, what="erase", kept=[])["top"] == last(other, what="erase", kept=[])["top"]


def test_the_revealed_patches_are_enough(look):
    reply = last(look, what="reveal", kept=[0, 1, 2])
    again = last(look, what="erase", kept=reply["order"])
    assert again["top"][0][0] == look.classifier.labels[look.ranked[0]] and len(reply["order"]) == reply["needed"]
    assert again["p"] >= experiments.scene(look)["data"]["goal"] and 0 <= reply["overlap"] <= 1
    shared = [comb(3, x) * comb(61, 3 - x) / comb(64, 3) for x in range(4)]
    assert reply["by_chance"] == pytest.approx(sum(p * x / (6 - x) for x, p in enumerate(shared)))


def test_patches_that_leave_another_class_ahead_are_not_enough(look, monkeypatch):
    best, second = look.ranked[:2]
    logits = look.trace.logits.repeat(65, 1)  # with the map's best 0, 1, 2 … patches
    logits[0, best] -= 20
    logits[1, second] = logits[1, best] + 0.01
    assert logits[1].softmax(-1)[best] > look.probabilities[best] / 2  # the goal
    monkeypatch.setattr(experiments, "logits_keeping", lambda *_, **__: logits)
    assert last(look, what="reveal")["needed"] == 2


def test_the_erase_game_is_not_won_without_any_patch(look):
    """Some class leads even when nothing is seen; the goal lies above what it has then, and all patches reach it."""
    data = experiments.scene(look)["data"]
    nothing = last(look, what="erase", kept=[])["p"]
    assert data["blank"] == pytest.approx(nothing, abs=1e-6)
    assert data["goal"] == pytest.approx((data["confidence"] + min(nothing, data["confidence"])) / 2, abs=1e-6)
    assert data["goal"] <= data["confidence"]


def test_each_head_alone_is_the_same_as_switching_it_off(look):
    changes = last(look, what="each")["changes"]
    for layer, head in ((0, 0), (2, 1)):
        alone = last(look, what="heads", off=[[layer, head]])
        assert alone["p"] - look.probabilities.max().item() == pytest.approx(changes[layer][head], abs=1e-5)
    assert last(look, what="heads", off=[])["p"] == pytest.approx(look.probabilities.max().item(), abs=1e-5)


def test_the_duel_ends_with_every_map_and_random(look):
    reply = last(look, what="duel")
    assert list(reply["maps"]) == [*experiments.DUEL, "random"] and len(reply["scores"]) == len(reply["maps"])
    assert all(len(unpack(values)) == 64 for values in reply["maps"].values())


def with_extras(tmp_path, look, **tensors) -> Look:
    classifier = load(save_model(tmp_path / "model"))
    save_file(tensors, classifier.files / "extras.safetensors")
    return Look(classifier, look.trace)


def test_a_picture_is_nearest_to_itself(look, tmp_path):
    bank = torch.randn(20, 3, 48).half()
    bank[7] = look.trace.hidden_states[1:, 0]
    beside = with_extras(tmp_path, look, bank=bank, bank_labels=torch.arange(20) % 10,
                         bank_thumbnails=torch.zeros(20, 3, 32, 32, dtype=torch.uint8))
    for layer in (1, 3):
        first = last(beside, what="nearest", layer=layer)["found"][0]
        assert first["cosine"] == pytest.approx(1, abs=1e-3) and first["label"] == look.classifier.labels[7]
    assert last(look, what="nearest", layer=3)["found"] is None


BANK = {"bank": torch.zeros(20, 3, 48), "bank_labels": torch.zeros(20, dtype=torch.long),
        "bank_thumbnails": torch.zeros(20, 3, 32, 32, dtype=torch.uint8)}


@pytest.mark.parametrize("change", [
    {"bank": torch.zeros(20, 9, 48)}, {"bank": torch.full((20, 3, 48), torch.nan)}, {"bank_labels": torch.full((20,), 10)},
    {"bank": torch.zeros(20, 3, 48).to(torch.float8_e4m3fn)}, {"bank_labels": torch.zeros(20, dtype=torch.uint16)},
    {"bank_labels": torch.zeros(20)}, {"bank_labels": torch.zeros(20, 1, dtype=torch.long)}, {"bank_thumbnails": torch.zeros(20, 3, 32, 32)},
    {name: values[:0] for name, values in BANK.items()}])
def test_a_bank_that_does_not_fit_is_left_alone(look, tmp_path, change):
    assert experiments.scene(with_extras(tmp_path / "good", look, **BANK))["data"]["bank"] == 20
    beside = with_extras(tmp_path / "bad", look, **BANK | change)
    assert experiments.scene(beside)["data"]["bank"] == 0


def test_one_class_may_be_ahead_by_any_distance(tmp_path):
    classifier = load(save_model(tmp_path / "model"))
    classifier.model.classifier.bias.data[0] += 1000
    assert "over 1,000</span> times as likely" in decision.scene(Look(classifier, trace(classifier, Image.open(SAMPLES[0][0]))))["story"]


def test_the_energy_table_places_the_picture(look, tmp_path):
    energy = -look.trace.logits.logsumexp(-1).item()
    beside = with_extras(tmp_path, look, energies=torch.tensor([energy - 2, energy - 1, energy + 1, energy + 2]))
    assert "50\u00a0%" in decision.scene(beside)["data"]["none_says"]
    assert decision.scene(beside)["data"]["none"] == {"energy": pytest.approx(energy), "share": 0.5}
    assert "table of energies" in decision.scene(look)["data"]["none_says"] and decision.scene(look)["data"]["none"] is None


def test_the_page_shows_how_true_the_maps_are(look, tmp_path):
    beside = with_extras(tmp_path, look)
    row = {"difference": 0.9, "ci95": [0.8, 1], "drop": {"difference": 0.5, "ci95": [0.4, 0.6]}}  # the page drops patches, so that is what it compares with
    file = beside.classifier.files / "faithfulness.json"
    file.write_text(json.dumps({"pictures": 3, "test": {"presence": row, "shapley": {**row, "pictures": 2}, "random": {"drop": {"difference": 0, "ci95": [-0.1, 0.1]}}, "no map": row}}))
    shown = {"model": "model", "scores": {"presence": [0.5, 0.4, 0.6, 3], "shapley": [0.5, 0.4, 0.6, 2], "random": [0.0, -0.1, 0.1, 3]}}
    assert decision.scene(beside)["data"]["measured"] == experiments.scene(beside)["data"]["measured"] == shown


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"pictures": Infinity, "test": {"random": {"drop": {"difference": 0, "ci95": [0, 0]}}}}',
                                 '{"pictures": 3, "test": {"random": {"drop": {"difference": NaN, "ci95": [0, 0]}}}}', '{"pictures": 3, "test": {"presence": {}}}', '{"pictures": 3, "test": {"presence": {"drop": {"difference": 1, "ci95": [0, 2]}}}}'])
def test_what_tells_nothing_gives_the_bundled_models_numbers(look, tmp_path, told):
    beside = with_extras(tmp_path, look)
    (beside.classifier.files / "faithfulness.json").write_text(told)
    assert map_scores(beside.classifier) == map_scores(load(None))
