"""The time-lapse of chapter 9: each snapshot is what it is said to be, and nothing stays."""

import gc
import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.films import HISTORY, last, look_at, run_of_training, scaled
from tests.models import save_model
from tests.test_draw import unpack
from training.config import TrainConfig
from training.outcome import snapshot_epochs
from vit_demo import snapshots
from vit_demo.chapters import lapse, model, projection
from vit_demo.chapters.work import told
from vit_demo.classifier import load
from vit_demo.errors import Stopped
from vit_demo.samples import SAMPLES


@pytest.fixture
def folder(tmp_path):
    return run_of_training(tmp_path / "run")


def test_the_last_snapshot_of_equal_weights_is_the_model(folder):
    look = look_at(load(folder))
    reply = last(look)
    first, same = reply["steps"]
    assert reply["epochs"] == [1, 2] and reply["progress"] == 1
    assert same["filters"] == projection.scene(look)["data"]["components"] != first["filters"]
    assert same["p"] == pytest.approx(look.probabilities.max().item(), abs=1e-6) and same["says"] == look.classifier.labels[look.ranked[0]]
    assert torch.allclose(unpack(same["attention"]).float(), look.trace.attentions[:, :, 0, 1:].mean(1), atol=1e-5)
    positions = look.model.vit.embeddings.position_embeddings[0, 1:]
    positions = positions - positions.mean(dim=0)
    cosines = torch.cosine_similarity(positions[:, None], positions[None], dim=-1)
    assert torch.allclose(unpack(same["similarity"]).flatten(2).flatten(0, 1).float(), cosines, atol=5e-3)


def test_each_snapshot_answers_as_plain_transformers_do(folder, monkeypatch):
    look = look_at(load(folder))
    reply = last(look)
    plain = ViTForImageClassification.from_pretrained(folder / "snapshots" / "epoch-001", dtype=torch.float32)
    with torch.no_grad():
        expected = plain(look.trace.pixel_values[None]).logits[0].softmax(-1)
    step = reply["steps"][0]
    assert step["p"] == pytest.approx(expected[look.ranked[0]].item(), abs=1e-5)
    assert [step["says"], step["sure"]] == [look.classifier.labels[expected.argmax()], pytest.approx(expected.max().item(), abs=1e-5)]
    monkeypatch.chdir(folder.parent)
    space = {}
    exec(reply["check"]["code"], space)
    assert space["answer"] == pytest.approx(reply["check"]["value"], abs=1e-5) == pytest.approx(step["p"], abs=1e-5)


def test_accuracies_come_from_the_history_and_say_of_what(folder):
    steps = last(look_at(load(folder)))["steps"]
    assert [step["accuracy"] for step in steps] == [[0.25, "the augmented training pictures"], [0.75, "the validation pictures"]]
    for history in (None, "x", [3, None], [{"epoch": 1, "train_accuracy": "high"}], [{"epoch": 1, "train_accuracy": float("nan")}]):
        assert lapse.accuracy({"history": history}, 1) is None


@pytest.mark.parametrize(("metrics", "ends"), [({"epochs": 9, "settings": {"keep": "last"}}, True), ({"epochs": 2**70, "settings": {"keep": "last"}}, False), ({"epochs": 9, "settings": {"keep": "best"}}, False),
                                               ({"epochs": 2, "settings": {"keep": "last"}}, False), ({"epochs": "9", "settings": []}, False)])
def test_the_film_ends_with_the_model_itself_where_it_is_what_came_out_last(folder, metrics, ends):
    (folder / "metrics.json").write_text(json.dumps({"history": HISTORY + [{"epoch": 9, "validation_accuracy": 0.875}], **metrics}))
    scaled(folder, 2).save_pretrained(folder / "snapshots" / "epoch-002")
    look = look_at(load(folder))
    reply = last(look)
    assert reply["epochs"] == [1, 2] + [9] * ends and reply["copies"] == 2 and reply["bytes"] == 4 * sum(p.numel() for p in look.model.parameters())
    assert len(reply["steps"]) == 2 + ends and reply["steps"][1]["p"] != pytest.approx(look.probabilities.max().item())
    if ends:
        assert reply["steps"][2]["p"] == pytest.approx(look.probabilities.max().item(), abs=1e-6) and reply["steps"][2]["accuracy"][0] == 0.875


def test_signs_of_filters_follow_the_model(folder):
    opposite = ViTForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        opposite.vit.embeddings.patch_embeddings.projection.weight.mul_(-1)  # the same components, but for their signs
    opposite.save_pretrained(folder / "snapshots" / "epoch-001")
    first, same = last(look_at(load(folder)))["steps"]
    assert (unpack(first["filters"]) - unpack(same["filters"])).abs().max() <= 1


def test_a_model_without_any_says_so_where_the_app_carries_none(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "CARRIED", tmp_path / "nowhere")
    assert last(look_at(load(save_model(tmp_path / "alone"))))["epochs"] == []


def plain_probabilities(folder: Path) -> torch.Tensor:
    pixels = ViTImageProcessorPil.from_pretrained(snapshots.CARRIED)(Image.open(SAMPLES[0][0]).convert("RGB"), return_tensors="pt").pixel_values
    with torch.no_grad():
        return ViTForImageClassification.from_pretrained(folder, dtype=torch.float32)(pixels).logits[0].softmax(-1)


def test_beside_a_model_without_any_the_carried_one_is_shown_as_it_learned(tmp_path, monkeypatch):
    """Whatever the visitor's model looks like: its picture, seen by the other, with the other's patches, classes and numbers."""
    reply = last(look_at(load(save_model(tmp_path / "alone", patch=8))))
    metrics, answer = json.loads((snapshots.CARRIED / "metrics.json").read_text()), plain_probabilities(snapshots.CARRIED)
    assert reply["epochs"] == [*snapshot_epochs(TrainConfig(**metrics["settings"])), metrics["epochs"]] and reply["copies"] == len(reply["epochs"]) - 1
    model = load(snapshots.CARRIED)
    of = reply["of"]
    assert (of["rows"], of["cols"], of["layers"]) == (8, 8, model.model.config.num_hidden_layers) and of["label"] == model.labels[answer.argmax()]
    assert of["whose"] == f"a ViT of {model.model.num_parameters():,} weights, which learned {metrics['dataset']['name']} from scratch in {metrics['epochs']} epochs"
    for step, folder in zip(reply["steps"], [*sorted((snapshots.CARRIED / "snapshots").iterdir()), snapshots.CARRIED], strict=True):
        assert step["p"] == pytest.approx(plain_probabilities(folder)[answer.argmax()].item(), abs=1e-5)
        assert step["accuracy"] == [metrics["history"][step["epoch"] - 1]["validation_accuracy"], "the validation pictures"]
    assert reply["steps"][0]["accuracy"][0] < reply["steps"][-1]["accuracy"][0] - 0.2  # it has learned something meanwhile
    monkeypatch.chdir(Path(snapshots.__file__).parent.parent)
    space = {}
    exec(reply["check"]["code"], space)
    assert space["answer"] == pytest.approx(reply["steps"][0]["p"], abs=1e-5)


def test_what_cannot_be_opened_is_told_and_left_out(folder):
    broken, other = folder / "snapshots" / "epoch-003", folder / "snapshots" / "epoch-004"
    shutil.copytree(folder / "snapshots" / "epoch-001", broken)
    (broken / "model.safetensors").write_bytes(b"0" * 99)
    save_model(other, patch=8)
    (folder / "snapshots" / "epoch-five").mkdir()
    first, same, damaged, shaped = last(look_at(load(folder)))["steps"]
    assert "p" in first and "p" in same
    assert "damaged" in damaged["problem"] and "another shape" in shaped["problem"]


def test_no_model_stays_in_memory(folder):
    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, ViTForImageClassification) for thing in gc.get_objects())

    look = look_at(load(folder))
    reply = last(look)  # the first time fills what the libraries keep
    before = alive()
    most = max(alive() for _ in model.answer(look, {"what": "lapse"}))
    assert len(reply["steps"]) == 2 and most <= before + 2 and alive() == before  # a model and its viewing twin


def until(film, count: int) -> dict:
    """The film's first reply with so many steps, or a problem: while one is on its way, which may take, the last one is told again."""
    return next(reply for reply in film if len(reply["steps"]) >= count or "problem" in reply)


def test_whoever_is_cut_off_in_mid_film_holds_up_nobody(folder, monkeypatch):
    """As when a server ends below a visitor: nobody goes on with their film, and nobody closes it either."""
    monkeypatch.setattr(lapse, "WAIT", 0.1)
    look = look_at(load(folder))
    cut_off = model.answer(look, {"what": "lapse"})
    assert next(cut_off)["steps"] == [] and len(until(cut_off, 1)["steps"]) == 1
    assert len(last(look)["steps"]) == 2
    assert len(until(cut_off, 2)["steps"]) == 2  # and could go on


@pytest.fixture
def opening(monkeypatch):
    """opening(folder, at) -> events: a snapshot is being opened, and may be; of the film's snapshot at that place."""
    def begin(folder, at):
        begun, may = threading.Event(), threading.Event()
        film = lapse.film

        def held(classifier):
            found = film(classifier)
            slow = replace(found[at], open=lambda stop: (begun.set(), may.wait(30), found[at].open(stop))[-1])
            return [slow if snapshot is found[at] else snapshot for snapshot in found]

        monkeypatch.setattr(lapse, "film", held)
        visitor = threading.Thread(target=lambda: last(look_at(load(folder))))
        visitor.start()
        assert begun.wait(30)
        monkeypatch.setattr(lapse, "film", film)
        monkeypatch.setattr(lapse, "WAIT", 0.1)
        ends.append(lambda: (may.set(), visitor.join()))
        return may, visitor

    ends = []
    yield begin
    for end in ends:
        end()


def test_visitors_take_turns_and_are_told_when_that_takes_long(folder, opening):
    may, visitor = opening(folder, 0)
    told = last(look_at(load(folder)))
    assert not told["open"] and told["steps"] == [] and told["problem"].startswith("another visitor's snapshots are being opened")
    may.set()
    visitor.join()
    assert len(last(look_at(load(folder)))["steps"]) == 2


def test_who_waits_too_long_in_mid_film_keeps_what_is_there(folder, opening):
    look = look_at(load(folder))
    waiting = model.answer(look, {"what": "lapse"})
    assert next(waiting)["steps"] == [] and len(until(waiting, 1)["steps"]) == 1
    opening(folder, 1)
    told = until(waiting, 2)
    assert [told["open"], told["check"]["value"], "p" in told["steps"][0]] == [True, told["steps"][0]["p"], True]
    assert told["steps"][1]["epoch"] == 2 and "another visitor" in told["steps"][1]["problem"] and next(waiting, None) is None


def test_whoever_leaves_while_a_snapshot_is_on_its_way_stops_that(folder, monkeypatch):
    look, heard, ended = look_at(load(folder)), [], threading.Event()
    film = [replace(snapshot, open=lambda stop: (heard.append(stop.wait(60)), ended.set())) for snapshot in lapse.film(look.classifier)]
    monkeypatch.setattr(lapse, "film", lambda classifier: film)
    leaving = model.answer(look, {"what": "lapse"})
    assert [next(leaving)["steps"], next(leaving)["steps"]] == [[], []]
    leaving.close()
    assert ended.wait(10) and heard == [True]


def test_a_silent_hub_keeps_nobody_from_other_work(folder, monkeypatch):
    """The list of the snapshots is asked for there; that has places of its own."""
    look, silent = look_at(load(folder)), threading.Event()
    film = lapse.film
    monkeypatch.setattr(lapse, "film", lambda classifier: silent.wait(60) and film(classifier))
    asked = [model.answer(look, {"what": "lapse"}) for _ in range(4)]
    visitors = [threading.Thread(target=lambda one=one: next(one)) for one in asked]
    for visitor in visitors:
        visitor.start()
    try:
        assert {"answer": 42, "progress": 1} in [bit for _, bit in zip(range(20), told(lambda progress: {"answer": 42}), strict=False)]  # ten seconds
    finally:
        silent.set()
        for visitor in visitors:
            visitor.join()


def test_whoever_leaves_while_waiting_stops_waiting(folder, opening, monkeypatch):
    may, visitor = opening(folder, 0)
    monkeypatch.setattr(lapse, "WAIT", 30)
    stop, begun = threading.Event(), time.monotonic()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped), lapse.turn(stop):
        pass
    assert 0.3 <= time.monotonic() - begun < 15 and visitor.is_alive() and not may.is_set()


def test_large_ones_are_opened_when_asked_for(folder, monkeypatch):
    monkeypatch.setattr(lapse, "UNASKED", 1000)
    look = look_at(load(folder))
    waiting = last(look)
    assert waiting["steps"] == [] and not waiting["open"] and waiting["bytes"] == 4 * sum(p.numel() for p in look.model.parameters())
    assert len(last(look, open=True)["steps"]) == 2
