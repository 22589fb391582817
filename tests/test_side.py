"""The words on the left: the truth, the caveat, which model answers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.models import save_model
from vit_demo import side
from vit_demo.chapters.scene import Look
from vit_demo.classifier import load
from vit_demo.looks import Visit
from vit_demo.models import Loading
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return load(save_model(tmp_path_factory.mktemp("side") / "model"))


def said(look, visit) -> str:
    return "".join(text for text, _ in side.of(look, visit)["note"])


def test_a_sample_says_its_truth_and_whether_the_model_is_right(classifier):
    seen = trace(classifier, Image.open(SAMPLES[0][0]))
    best = classifier.labels[seen.logits.argmax()]
    assert "truth: cat" in said(Look(classifier, seen, truth="cat"), Visit(sample=0))
    assert "The model is right." in said(Look(classifier, seen, truth=best), Visit())
    assert "The model is wrong." in said(Look(classifier, seen, truth="dog" if best != "dog" else "cat"), Visit())
    assert "no such class" in said(Look(classifier, seen, truth="unicorn"), Visit())


def test_the_caveat_is_always_there_and_an_upload_has_no_truth(classifier):
    picture = Image.new("RGB", (50, 40), "red")
    picture.info["animated"] = True
    text = said(Look(classifier, trace(classifier, picture)), Visit(sample=None, upload=b""))
    assert "knows these 10 classes only and always picks one" in text and "truth" not in text


def said_of(classifier, held=None, wanted=None, visit=Visit()) -> dict:
    models = SimpleNamespace(get=lambda source: classifier, held=lambda source: held, wanted=wanted, look_for_newer=lambda held: None)
    return side.answering(models, visit)


def test_the_model_line_names_who_answers_and_what_became_of_the_other(classifier):
    assert said_of(classifier) == {"model": "model@None", "text": "Answering: model.", "tone": "", "share": None, "newer": None}
    refused = Loading("user/x", problem="user/x: there is no such model")
    assert said_of(classifier, wanted=refused)["text"] == "Answering: model. user/x: there is no such model"
    assert said_of(classifier, wanted=refused)["tone"] == "bad"
    coming = Loading("user/x", step="fetching 3.0 of 12 MB", share=0.25)
    told = said_of(classifier, wanted=coming)
    assert told["text"] == "Answering: model. Loading user/x: fetching 3.0 of 12 MB." and told["share"] == 0.25


@pytest.mark.parametrize("accuracy, told", [("0.8412", " (84 % right)"), ('"high"', ""), ("7.0", "")])
def test_how_often_it_is_right_is_told_where_that_was_measured(tmp_path, accuracy, told):
    folder = save_model(tmp_path / "model")
    (folder / "metrics.json").write_text(f'{{"test_accuracy": {accuracy}}}')
    assert said_of(load(folder))["text"] == f"Answering: model{told}."


def test_a_model_from_the_hub_is_named_with_its_revision_its_age_and_a_newer_one(classifier):
    hub = replace(classifier, name="user/x", revision="0123456789" * 4, note="The Hub is away. This is the copy kept from before.")
    held = Loading("user/x", classifier=hub, newest=hub.revision)
    told = said_of(hub, held, visit=Visit(source="user/x"))
    assert told["text"] == f"Answering: user/x, revision 01234567. {hub.note}" and told["newer"] is None
    held.newest = "f" * 40
    assert said_of(hub, held, visit=Visit(source="user/x"))["newer"] == "ffffffff"


def test_a_model_that_had_to_make_room_is_said_to_be_gone(classifier):
    assert "user/gone had to make room" in said_of(classifier, visit=Visit(source="user/gone"))["text"]
