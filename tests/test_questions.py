"""What a chapter may be asked: every word within its bounds, and a line for whatever is not."""

import math

import pytest
from PIL import Image

from tests.models import LABELS, save_model
from vit_demo import questions
from vit_demo.chapters import CHAPTERS, resize
from vit_demo.chapters.scene import Look
from vit_demo.classifier import load
from vit_demo.endpoints import Endpoints
from vit_demo.errors import UserError
from vit_demo.explain.methods import METHODS
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """3 layers of 3 heads, 64 patches, 10 classes."""
    classifier = load(save_model(tmp_path_factory.mktemp("questions") / "model"))
    return Look(classifier, trace(classifier, Image.open(SAMPLES[0][0])))


def test_every_chapter_with_answers_is_known_and_no_other():
    assert set(questions.ASKED) == {chapter for chapter in CHAPTERS if hasattr(chapter, "answer")}


@pytest.mark.parametrize("chapter, question, read", [
    (7, {}, {"what": "map"}), (2, {"what": "time"}, {"what": "time"}),
    (7, {"wanted": "dog", "against": -1}, {"what": "map", "wanted": LABELS.index("dog"), "against": -1}),
    (7, {"wanted": 9, "against": "cat", "method": "chefer"}, {"what": "map", "wanted": 9, "against": LABELS.index("cat"), "method": "chefer"}),
    (4, {"share": 1, "seed": 12345678, "positions": "zero"}, {"what": "jigsaw", "share": 1.0, "seed": 12345678, "positions": "zero"}),
    (4, {"what": "resize", "size": 64, "patch": 63}, {"what": "resize", "size": 64, "patch": 63}), (4, {"what": "resize"}, {"what": "resize"}),
    (5, {"layer": 2, "token": 64}, {"what": "look", "layer": 2, "token": 64}),
    (5, {"what": "rollout", "discard": 0.95}, {"what": "rollout", "discard": 0.95}),
    (6, {"layer": 3}, {"what": "cosines", "layer": 3}), (6, {"what": "block", "layer": 3, "token": 64}, {"what": "block", "layer": 3, "token": 64}), (9, {"open": False}, {"what": "lapse", "open": False}),
    (8, {"kept": [0, 63]}, {"what": "erase", "kept": [0, 63]}), (8, {"what": "heads", "off": [[0, 2], [2, 0]]}, {"what": "heads", "off": [[0, 2], [2, 0]]}),
])
def test_a_good_question_is_read(look, chapter, question, read):
    assert questions.read(look, chapter, question) == read


@pytest.mark.parametrize("number, what", [(CHAPTERS.index(chapter) + 1, what) for chapter, asked in questions.ASKED.items() for what in asked])
def test_a_question_may_leave_out_all_its_words(look, number, what):
    answers = CHAPTERS[number - 1].answer(look, questions.read(look, number, {"what": what}))
    assert isinstance(next(answers), dict)
    answers.close()


@pytest.mark.parametrize("chapter, question", [
    (5, {"layer": 3}), (5, {"layer": -1}), (5, {"token": 65}), (5, {"layer": True}), (5, {"layer": 1.0}), (5, {"layer": "1"}),
    (5, {"what": "rollout", "discard": 1}), (5, {"what": "rollout", "discard": math.nan}), (5, {"what": "rollout", "fusion": ["mean"]}),
    (4, {"share": -0.1}), (4, {"share": 1.01}), (4, {"share": 10 ** 400}), (4, {"seed": None}), (4, {"seed": -1}), (4, {"seed": 10 ** 9 + 1}),
    (4, {"positions": {}}), (4, {"positions": "?"}), (6, {"layer": 4}), (6, {"layer": "2"}), (6, {"layer": None}),
    (4, {"what": "resize", "size": 63}), (4, {"what": "resize", "size": 128}), (4, {"what": "resize", "size": [64]}), (4, {"what": "resize", "size": 64.0}), (4, {"what": "resize", "size": None}), (4, {"what": "resize", "patch": 64}),
    (4, {"what": "resize", "patch": -1}), (4, {"what": "resize", "patch": "x"}),
    (6, {"what": "block", "layer": 0}), (6, {"what": "block", "layer": 4}), (6, {"what": "block", "token": 65}), (6, {"what": "block", "token": -1}),
    (7, {"wanted": 10}), (7, {"wanted": -7}), (7, {"wanted": "unicorn"}), (7, {"against": -2}), (7, {"method": "magic"}),
    (8, {"kept": 5}), (8, {"kept": [64]}), (8, {"kept": [0] * 10_001}), (8, {"what": "heads", "off": [[3, 0]]}), (8, {"what": "heads", "off": [[0]]}), (8, {"what": "heads", "off": [[-1, 0]]}), (8, {"what": "heads", "off": ["x"]}),
    (8, {"what": "nearest", "layer": 0}), (9, {"open": 1}),
])
def test_a_word_out_of_bounds_is_named(look, chapter, question):
    name = next(word for word in question if word != "what")
    with pytest.raises(UserError, match=f"of chapter {chapter}: {name} cannot be .* for this model and picture: it is .+") as error:
        questions.read(look, chapter, question)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("chapter, question, told", [
    (7, {"method": "nope"}, f"method cannot be nope for this model and picture: it is one of {', '.join(METHODS)}"),
    (7, {"wanted": "cow"}, "it is a class by its name or its number, from 0 to 9"), (5, {"layer": 99}, "layer cannot be 99 for this model and picture: it is a whole number from 0 to 2"),
    (8, {"what": "heads", "off": [[9, 9]]}, "off cannot be that for this model and picture: it is a list, in it [layer, head], a layer from 0 to 2 and a head from 0 to 2 each time"),
    (4, {"what": "resize", "size": 63}, "size cannot be 63 for this model and picture: it is one of SIZES")])
def test_a_word_out_of_bounds_is_told_what_would_do(look, chapter, question, told):
    with pytest.raises(UserError) as error:
        questions.read(look, chapter, question)
    assert str(error.value).endswith(told.replace("SIZES", ", ".join(map(str, resize.sizes(look)))))


def test_what_programs_are_told_names_every_method():
    told = " ".join(Endpoints.answer.__doc__.split())
    assert all(name in told for name in METHODS)


@pytest.mark.parametrize("question", ["map", [1], 5, {"what": "duel"}, {"what": ["map"]}, {"what": None}])
def test_what_is_no_question_is_told_what_would_be(look, question):
    with pytest.raises(UserError, match=r"what = map \(wanted, against, method\)$"):
        questions.read(look, 7, question)


def test_an_unknown_word_is_told_the_known_ones(look):
    with pytest.raises(UserError, match="map of chapter 7 knows no colour; it knows wanted, against, method$"):
        questions.read(look, 7, {"colour": "<b>"})
    with pytest.raises(UserError, match="knows no .b.; it knows nothing more$"):
        questions.read(look, 8, {"what": "duel", "<b>": 1})


@pytest.mark.parametrize("chapter", [1, 3])
def test_a_chapter_without_answers_says_so(look, chapter):
    with pytest.raises(UserError, match=f"chapter {chapter} answers no questions"):
        questions.read(look, chapter, {})
