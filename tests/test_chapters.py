"""Every chapter, on pictures and models of several shapes: its data, its snippet, its words."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.models import LABELS, save_model, where_it_lies
from tests.test_draw import unpack
from vit_demo.chapters import CHAPTERS, decision, depth, patches, projection, tokens
from vit_demo.chapters.scene import Look, a, number, percent, snippet
from vit_demo.classifier import load
from vit_demo.explain import embeddings
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

ROOT = Path(__file__).parent.parent
SHAPES = {"square": {}, "large": {"size": (224, 224), "patch": 16}, "wide": {"size": (16, 32), "patch": 4}}


@pytest.fixture(scope="module", params=SHAPES)
def look(request, tmp_path_factory):
    folder = save_model(tmp_path_factory.mktemp("models") / request.param, **SHAPES[request.param])
    classifier = load(folder)
    path, _, label = SAMPLES[1]
    return Look(classifier, trace(classifier, Image.open(path)), 1, 2, f"vit_demo/samples/{path.name}", label)


@pytest.fixture
def beside(look, tmp_path, monkeypatch):
    """A working folder in which the snippets' own paths lead to the samples."""
    os.symlink(ROOT / "vit_demo", tmp_path / "vit_demo")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.NAME)
def test_a_snippet_reproduces_the_number(chapter, look, beside, capsys):
    scene = chapter.scene(look)
    for check in [scene["check"], *scene.get("also", [])]:
        space = {}
        exec(compile(where_it_lies(check["code"], look.classifier.files), "snippet", "exec"), space)
        assert space["answer"] == pytest.approx(check["value"], abs=1e-5)
        assert str(space["answer"]) in capsys.readouterr().out


def test_a_snippet_opens_the_bundled_model_and_one_of_the_hub_by_their_names(look):
    assert 'from_pretrained(\n    "vit_demo/bundled", attn' in snippet(replace(look, classifier=load()), "") and "folder" not in snippet(replace(look, classifier=load()), "")
    code = snippet(replace(look, classifier=replace(look.classifier, name="user/vit", revision="a1b2")), "")
    assert 'from_pretrained(\n    "user/vit", revision="a1b2", attn' in code and "folder" not in code


@pytest.mark.parametrize("sure, told", [
    ([0.1, 0.24, 0.26, 0.93], "after layer 1 it says cat, 24 %, and keeps to it. The largest step is that of layer 3, from 26 % to 93 %."),
    ([0.9, 0.8, 0.7], "after layer 1 it says cat, 80 %, and keeps to it; in the end with 70 %.")])
def test_when_it_makes_up_its_mind_is_told_with_how_sure_it_was(look, sure, told):
    named = replace(look, classifier=replace(look.classifier, labels=("cat",) * len(LABELS)))
    assert re.sub("<[^>]*>", "", depth.settled(named, 1, sure)).replace("\u00a0", " ") == told
    assert re.sub("<[^>]*>", "", depth.settled(named, 0, sure)).startswith("it keeps saying cat")


def test_the_class_said_before_the_first_layer_is_followed_too(look):
    scene = depth.scene(look)
    early = re.search("would say (.*?), whatever", re.sub("<[^>]*>", "", scene["story"])).group(1)
    classes, curves = scene["data"]["classes"], scene["data"]["curves"]
    assert early in classes and len(set(classes)) == len(classes) == len(curves) in (depth.CURVES, depth.CURVES + 1)
    assert curves[classes.index(early)][0] == max(curve[0] for curve in curves)


@pytest.mark.parametrize("share, told", [(0.71, "among ordinary pictures"), (0.93, "among ordinary pictures"), (0.95, "among ordinary pictures"), (0.96, "may be like none of the classes."), (1, "may be like none of the classes.")])
def test_an_energy_that_many_ordinary_pictures_have_is_no_warning(share, told):
    said = decision.none_of_them({"energy": -3.0, "share": share})
    assert told in said and ("Only 1 in 20" in said) == (share > 0.95)


def test_the_bundled_models_smoothing_is_told_with_its_softmax_and_no_others(look):
    bundled = load()
    told = decision.scene(Look(bundled, trace(bundled, Image.open(SAMPLES[0][0]))))["data"]["asked"]
    assert told.replace("\u00a0", " ") == "Training asked for 91 % and no more (label smoothing 0.1)"
    assert decision.scene(look)["data"]["asked"] == ""


def test_the_sample_that_the_jigsaw_leads_to_misleads_the_bundled_model(look):
    bundled, (sample, label) = load(), tokens.MISLED
    there = Look(bundled, trace(bundled, Image.open(SAMPLES[sample][0])))
    assert SAMPLES[sample][2] == label == bundled.labels[there.ranked[0]] and there.probabilities.max() > 0.9
    for question in [{"positions": "stay", "seed": seed} for seed in range(1, 5)] + [{"positions": "zero"}]:
        told, = tokens.answer(there, {"what": "jigsaw", "share": 1, **question})
        assert told["was"] < 0.1 and told["top"][0][0] != label
    assert tokens.scene(there)["data"]["other"] == tokens.MISLED and tokens.scene(look)["data"]["other"] is None


def test_filters_that_look_like_noise_are_told_to(look, monkeypatch):
    """Random weights do; plain colours do not."""
    noise = projection.scene(look)
    assert "Most look like noise" in noise["attempt"]
    weight = look.model.vit.embeddings.patch_embeddings.projection.weight
    even, _ = embeddings.evenness(weight)
    assert noise["data"]["filter"] == even[: noise["data"]["shown"]].argmax() and f"filter {noise['data']['filter']}: " in noise["check"]["says"]
    monkeypatch.setattr(weight, "data", weight.data.mean(dim=(2, 3), keepdim=True).expand_as(weight).contiguous())
    assert "Which ones look for colour" in projection.scene(look)["attempt"]


def test_the_projection_is_a_convolution_too(look):
    scene = projection.scene(look)
    assert f"stride {look.patch}" in re.sub("<[^>]*>", "", scene["story"])
    assert f"conv2d(pixels, layer.weight, layer.bias, stride={look.patch})" in scene["also"][0]["code"]
    assert scene["also"][0]["value"] == pytest.approx(scene["check"]["value"], abs=1e-5)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.NAME)
def test_a_scene_is_plain_json_of_bounded_size(chapter, look):
    scene = chapter.scene(look)
    assert {"story", "view", "equation", "attempt", "data", "check"} <= set(scene)
    assert len(json.dumps(scene, allow_nan=False)) < 3_000_000
    assert re.search(r"\d", chapter.station(look.classifier))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.NAME)
def test_another_picture_gives_other_numbers(chapter, look):
    other = Look(look.classifier, trace(look.classifier, Image.open(SAMPLES[6][0])), 1, 2, look.picture_file, "automobile")
    def told(scene):
        return [scene["story"], scene["check"]["value"], json.dumps(scene["data"])]

    assert told(chapter.scene(look))[2] != told(chapter.scene(other))[2]


def test_labels_cannot_become_markup(tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    names = [hostile, "b&b", *LABELS[2:]]
    folder = save_model(tmp_path / "hostile")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    classifier = load(folder)
    with torch.no_grad():
        classifier.model.classifier.bias[0] += 30  # so that every chapter speaks of it
    look = Look(classifier, trace(classifier, Image.open(SAMPLES[0][0])))
    for chapter in CHAPTERS:
        scene = chapter.scene(look)
        assert "<img" not in scene["story"] + scene["equation"] + scene["attempt"]


def test_the_attention_that_is_sent_is_the_models_own(look):
    chapter = next(c for c in CHAPTERS if c.NAME == "attention")
    data = chapter.scene(look)["data"]
    attention = look.trace.attentions
    if data["all"]:
        sent = unpack(data["all"])
    else:  # a large model: the chosen layer whole, the chosen patch of every layer
        sent = unpack(data["one"])
        assert data["token"] == 1 + look.middle
        assert torch.allclose(unpack(data["row"]).float(), attention[:, :, data["token"]], atol=1e-4)
        attention = attention[data["layer"]]
    assert torch.allclose(sent.float(), attention, atol=1e-4)
    query, key = unpack(data["query"]).float(), unpack(data["key"]).float()
    weights = (query @ key.transpose(-1, -2) / data["width"] ** 0.5).softmax(-1)
    assert torch.allclose(weights, look.trace.attentions[1], atol=1e-3)


def test_the_position_maps_that_are_sent_are_cosines_of_the_models_positions(look):
    chapter = next(c for c in CHAPTERS if c.NAME == "CLS + positions")
    positions = look.model.vit.embeddings.position_embeddings[0, 1:]
    positions = positions - positions.mean(dim=0)
    sent = unpack(chapter.scene(look)["data"]["similarity"]).flatten(2).flatten(0, 1).float()
    assert torch.allclose(sent, torch.cosine_similarity(positions[:, None], positions[None], dim=-1), atol=1e-4)


@pytest.mark.parametrize(("metrics", "told"), [
    ({"base_model": None, "earlier": []}, "began as random numbers"),
    ({"base_model": None, "earlier": [{"command": "python -m training.pretrain --output mae"}, {"command": "python -m training.train"}]}, "began as sines and cosines"),
    ({"base_model": "google/vit"}, ""), ({}, ""), ({"base_model": 3, "earlier": ["x", {"command": None}]}, "")])
def test_how_positions_began_is_said_where_it_is_known(look, monkeypatch, metrics, told):
    monkeypatch.setitem(vars(look.classifier), "metrics", metrics)  # as read from a file before
    assert told in tokens.scene(look)["story"] and ("they began" in tokens.scene(look)["story"].lower()) == bool(told)


def test_patches_whose_projection_would_fill_the_memory_are_not_timed(look, monkeypatch):
    sizes = patches.other_sizes(look)  # none of a picture that is no square
    monkeypatch.setattr(patches, "MOST_WEIGHTS", 3 * sizes[1] ** 2 * look.config.hidden_size if sizes else 0)
    *_, last = patches.answer(look, {"what": "time"})
    assert [row["patch"] for row in last["rows"]] == sizes[1:] and last["progress"] == bool(sizes)
    assert all(row["seconds"] > 0 and row["measured"] == (row["tokens"] <= patches.MOST_TOKENS) for row in last["rows"])


def test_a_jigsaw_that_takes_positions_along_changes_nothing(look):
    chapter = next(c for c in CHAPTERS if c.NAME == "CLS + positions")
    moved, = chapter.answer(look, {"what": "jigsaw", "share": 1, "seed": 3, "positions": "move"})
    stayed, = chapter.answer(look, {"what": "jigsaw", "share": 1, "seed": 3, "positions": "stay"})
    assert moved["largest"] < 1e-4 < stayed["largest"]
    assert sorted(stayed["order"]) == list(range(len(look.trace.patches)))


def test_a_map_comes_with_its_score_beside_randoms(look):
    if look.trace.grid != (8, 8):
        pytest.skip("one shape is enough")
    chapter = next(c for c in CHAPTERS if c.NAME == "decision")
    *steps, last = chapter.answer(look, {"what": "map", "wanted": 3, "against": 5, "method": "chefer"})
    assert len(unpack(last["values"])) == 64 and len(last["score"]) == 2
    assert all(0 <= step["progress"] <= 1 for step in steps)
    alone, any_other, itself = ([*chapter.answer(look, {"what": "map", "wanted": 3, "method": "chefer", **more})][-1] for more in ({}, {"against": -1}, {"against": 3}))
    assert alone == any_other == itself != last


def test_numbers_read_as_people_write_them():
    assert [number(value) for value in (-0.001, 0, -0.5, 1234.567)] == ["0.00", "0.00", "−0.50", "1234.57"]
    assert [a(label) for label in ("cat", "airplane", "Automobile", "")] == ["a cat", "an airplane", "an Automobile", "a "]


def test_percent_shows_what_matters():
    assert [percent(p).replace("\u00a0", " ") for p in (1, 0.9996, 0.31274, 0.0237, 0.00009, 0)] == ["100 %", "100 %", "31 %", "2.4 %", "< 0.1 %", "0 %"]


@pytest.mark.parametrize("share, told", [(0.9951, "99.5 %"), (0.9994999999999999, "99.9 %"), (0.9995, "100 %"), (0.9949, "99 %"), (0.125, "13 %"), (0.0995, "10 %"), (0.0994, "9.9 %")])
def test_only_what_is_all_but_certain_is_100_percent(share, told):
    assert percent(share) == told.replace(" ", "\u00a0")
