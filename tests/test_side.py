"""The words on the left: the truth, the caveat, which model answers."""

from types import SimpleNamespace

import pytest
from PIL import Image

from tests.models import save_model
from vit_demo import side
from vit_demo.chapters.scene import Look
from vit_demo.classifier import load
from vit_demo.looks import Visit
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


def test_the_model_line_names_who_answers_and_what_became_of_the_other(classifier):
    loading = SimpleNamespace(classifier=None, problem="user/x: there is no such model", line=lambda: "user/x: there is no such model")
    models = SimpleNamespace(get=lambda source: classifier, wanted=loading)
    assert "Answering: model" in side.model_line(models, Visit()) and "no such model" in side.model_line(models, Visit())
    models.wanted = None
    assert "no such model" not in side.model_line(models, Visit())


def test_what_a_stranger_wrote_stays_text():
    assert "<img" not in side.line("<img src=x>")
