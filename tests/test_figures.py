"""The card's pictures: drawn from the numbers, small, equal for equal numbers, and gone with the numbers."""

import io
import itertools

import pytest
import torch
from PIL import Image

from training import figures
from training.scores import scores

NAMES = ("cat", "a $ sign", "x" * 80)


@pytest.fixture(scope="module")
def measured():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)
    metrics = scores(torch.randn(200, 3, generator=generator), labels, NAMES)
    metrics["history"] = [{"epoch": 1, "train_loss": 2.0, "validation_accuracy": 0.5}, {"epoch": 2, "train_loss": 1.0, "validation_accuracy": 0.6}]
    return metrics, torch.randint(0, 256, (200, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_all_four_are_small_pngs_and_come_out_alike_each_time(tmp_path, measured):
    metrics, images = measured
    assert figures.write_figures(tmp_path, metrics, NAMES, images) == list(figures.FIGURES)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == set(figures.FIGURES)
    for data in first.values():
        assert len(data) <= figures.LARGEST_BYTES
        assert Image.open(io.BytesIO(data)).format == "PNG"
    figures.write_figures(tmp_path, metrics, NAMES, images)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_picture_whose_numbers_are_gone_goes_too(tmp_path, measured):
    metrics, images = measured
    figures.write_figures(tmp_path, metrics, NAMES, images)
    assert figures.write_figures(tmp_path, {"confusion": metrics["confusion"]}, NAMES) == [figures.CONFUSION]
    assert [path.name for path in tmp_path.iterdir()] == [figures.CONFUSION]


def test_the_matrix_shows_shares_of_the_true_class():
    axes = figures.confusion_matrix([[3, 1, 0], [0, 5, 0], [0, 0, 0]], NAMES).axes[0]
    drawn = axes.images[0].get_array()
    assert drawn.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]
    assert [text.get_text() for text in axes.texts] == ["75", "25", "100"]


def test_the_diagram_draws_each_full_bin_as_high_as_its_share_right():
    bins = [{"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None}, {"low": 0.5, "high": 1.0, "count": 4, "confidence": 0.8, "accuracy": 0.25}]
    top, bottom = figures.reliability_diagram({"ece": 0.55, "bins": bins}).axes
    assert [bar.get_height() for bar in top.patches] == [0.25]
    assert [bar.get_height() for bar in bottom.patches] == [4]
    assert "55.0 %" in top.get_title()


def test_the_sheet_shows_the_mistaken_pictures_themselves():
    images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    images[2, 0] = 200
    mistake = {"index": 2, "label": 0, "predicted": 1, "confidence": 0.91}
    cell = figures.mistake_sheet(images, [mistake], ("cat", "dog")).axes[0]
    assert cell.images[0].get_array()[0, 0].tolist()[:3] == [200, 0, 0]
    assert cell.get_title() == "is cat\ndog 91 %"


def test_titles_of_neighbours_do_not_meet():
    names = ("a class with a long name", "W" * 24, "三毛猫と柴犬と金魚と亀とパンダと鳥", "pay $5 or $6, or nothing")
    mistakes = [{"index": 0, "label": i % 4, "predicted": (i + 1) % 4, "confidence": 0.91} for i in range(6)]
    with figures.any_script():
        figure = figures.mistake_sheet(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), mistakes, names)
        figure.savefig(io.BytesIO(), format="png")
        boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    told = figure.axes[0].get_title().split("\n")
    assert told[0].startswith("is a class with a") and told[1].endswith("W… 91 %")  # how sure it was is not cut off


def test_letters_that_no_font_has_are_not_warned_of(tmp_path, measured, recwarn):
    metrics, images = measured
    assert figures.write_figures(tmp_path, metrics, ("猫", "犬", "\U0010fffd"), images) == list(figures.FIGURES)
    assert not [str(warning.message) for warning in recwarn]


def test_a_font_that_is_installed_steps_in_where_the_own_one_lacks_a_letter(monkeypatch):
    import matplotlib

    own = matplotlib.rcParams["font.family"]
    monkeypatch.setattr(figures, "FALLBACKS", ("Nowhere Sans", "STIXGeneral"))
    with figures.any_script():
        assert matplotlib.rcParams["font.family"] == [*own, "STIXGeneral"]
    assert matplotlib.rcParams["font.family"] == own


def test_curves_draw_only_what_was_measured(measured):
    loss, accuracy = figures.learning_curves(measured[0]["history"]).axes
    assert [line.get_label() for line in loss.lines] == ["train"] and loss.lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert [line.get_label() for line in accuracy.lines] == ["validation"] and accuracy.lines[0].get_ydata().tolist() == [50.0, 60.0]


def test_the_sheet_of_what_is_filled_in_has_a_row_for_each_kind():
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    axes = figures.reconstruction_sheet({"seen": images, "filled in": 255 - images}).axes
    assert [a.get_title(loc="left") for a in axes] == ["seen", "", "", "filled in", "", ""]
    for place, picture in enumerate([*images, *(255 - images)]):
        assert axes[place].images[0].get_array().tolist() == picture.permute(1, 2, 0).tolist()
