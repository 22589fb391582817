"""The numbers a model is judged by, held against cases small enough to work out by hand."""

import math

import pytest
import torch

from training.scores import calibration, confusion_counts, mistakes, per_class, scores, wilson_interval
from vit_demo.errors import UserError

NAMES = ("cat", "dog", "frog")


def logits_for(probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_scores_of_four_pictures():
    logits = logits_for([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    found = scores(logits, [0, 1, 1, 2], NAMES)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3) and found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["loss"] == pytest.approx(-(math.log(0.7) + math.log(0.3) + math.log(0.5) + math.log(0.8)) / 4)
    assert found["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert found["per_class"][0] == {"name": "cat", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert found["per_class"][1] == {"name": "dog", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert found["mistakes"] == [{"index": 1, "label": 1, "predicted": 0, "confidence": pytest.approx(0.6)}]
    assert "top5_accuracy" not in found


def test_confusion_rows_are_the_truth_and_sum_to_the_support():
    labels, predicted = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 2, 2, 1, 0])
    counts = confusion_counts(predicted, labels, 3)
    assert counts.tolist() == [[1, 0, 2], [0, 1, 0], [1, 0, 0]]
    assert counts.sum(1).tolist() == labels.bincount().tolist()


def test_a_class_never_predicted_has_no_precision():
    rows = per_class(torch.tensor([[2, 0], [1, 0]]), ("cat", "dog"))
    assert rows[1]["precision"] is None and rows[1]["recall"] == 0 and rows[1]["f1"] == 0
    alone = scores(torch.tensor([[1.0, 0.0]] * 2), [0, 0], ("cat", "dog"))
    assert (alone["balanced_accuracy"], alone["macro_f1"]) == (1, 1)  # of a class that nothing shows, nothing is known
    absent = per_class(torch.tensor([[2, 0], [0, 0]]), ("cat", "dog"))[1]
    assert (absent["precision"], absent["recall"], absent["f1"], absent["support"]) == (None, None, None, 0)


def test_calibration_by_hand():
    # Last bin: 0.9, 0.9 and 1.0, two of three right, mean probability 2.8/3. Third bin: 0.6 twice, both right.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [1.0, 0.0]], dtype=torch.float64)
    found = calibration(probabilities, torch.tensor([0, 1, 1, 1, 0]), bins=5)
    assert found["ece"] == pytest.approx((3 * (2.8 / 3 - 2 / 3) + 2 * 0.4) / 5)
    assert [row["count"] for row in found["bins"]] == [0, 0, 2, 0, 3]
    assert found["bins"][0]["accuracy"] is None


def test_a_model_as_sure_as_it_is_right_has_no_calibration_error():
    labels = torch.tensor([0] * 7 + [1] * 3)
    assert calibration(torch.tensor([[0.7, 0.3]] * 10, dtype=torch.float64), labels)["ece"] == pytest.approx(0, abs=1e-12)


def test_mistakes_come_surest_first_and_end_at_the_limit():
    probabilities = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    found = mistakes(probabilities, torch.tensor([1, 0, 1, 1]), limit=2)
    assert [row["index"] for row in found] == [1, 2]
    assert mistakes(probabilities, probabilities.argmax(1), limit=2) == []


def test_wilson_interval_matches_published_values():
    # R's prop.test(c(81), 263, correct=FALSE), the example of Newcombe 1998: 0.2553 to 0.3662.
    assert wilson_interval(81, 263) == pytest.approx([0.2553, 0.3662], abs=5e-5)
    low, high = wilson_interval(10, 10)
    assert 0.7 < low < 0.75 and high == pytest.approx(1)


def test_top_five():
    logits = torch.arange(7.0).repeat(2, 1)  # class 6 first, then 5, 4, 3, 2
    assert scores(logits, [2, 1], [f"class {k}" for k in range(7)])["top5_accuracy"] == 0.5


@pytest.mark.parametrize(
    ("logits", "labels", "says"),
    [
        (torch.zeros(0, 3), [], "no pictures"),
        (torch.zeros(2, 3), [0], "do not fit"),
        (torch.zeros(1, 4), [0], "do not fit"),
        (torch.tensor([[0.0, float("nan"), 0.0]]), [0], "not finite"),
        (torch.zeros(1, 3), [3], "classes 0 to 2"),
        (torch.zeros(1, 3), [-1], "classes 0 to 2"),
    ],
)
def test_what_would_give_a_number_without_meaning_is_refused(logits, labels, says):
    with pytest.raises(UserError, match=says):
        scores(logits, labels, NAMES)
