"""The model card: what the Hub parses, what the snippets do, and that no number is called what it is not."""

import contextlib
import io
import json
import re
import shlex
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from PIL import ExifTags, Image
from transformers import ViTConfig

from tests.tiny import NAMES, noise, pil, save_tiny_model
from training import figures, report
from training.card import MARKER, write_card
from training.scores import scores
from vit_demo.classifier import BUNDLED, load
from vit_demo.errors import UserError
from vit_demo.hub_model import patch_grid
from vit_demo.snapshots import CARRIED


def metrics_of(kind="test", dataset="uoft-cs/cifar10", base_model=None) -> dict:
    part = "test" if kind == "test" else "held_out"
    measured = scores(torch.eye(3).repeat(10, 1), torch.tensor([0, 1, 2] * 8 + [0, 0, 0] * 2), NAMES)
    return {
        f"{kind}_accuracy": measured.pop("accuracy"),
        f"{kind}_loss": measured.pop("loss"),
        "epochs": 3, "seed": 7, "parameters": 1234567, "seconds": 300.0, "images_per_second": 1000.0, "images_seen": 90,
        "device": "CPU: x", "base_model": base_model, "command": "python -m training.train --dataset uoft-cs/cifar10",
        "dataset": {"name": dataset, "train_split": "train", "train_images": 30, f"{part}_images": 30, "fingerprint": "aa11", f"{part}_fingerprint": "bb22"},
        "settings": {"epochs": 3, "keep": "last", "output": "/home/me/runs", "learning_rate": 0.001},
        **measured,
    }


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "vit-tiny", metrics=metrics_of())


def rewrite(folder, metrics, **more) -> ModelCard:
    report.write_metrics(folder, metrics)
    return ModelCard.load(write_card(folder, **more))


def test_unequal_classes_are_counted_alike_too(folder):
    """18 of the pictures show cats, 6 each of the others: all of those 6, and 10 of the cats, are right."""
    logits = torch.eye(3)[[0] * 10 + [1] * 8 + [1] * 6 + [2] * 6]
    measured = scores(logits, [0] * 18 + [1] * 6 + [2] * 6, NAMES)
    told = rewrite(folder, {**metrics_of(), **{name: value for name, value in measured.items() if name not in ("accuracy", "loss")}}).content
    f1 = (20 / 28 + 12 / 20 + 1) / 3
    assert f"from 6 to 18 of these pictures; counting each class alike, it is right on {100 * (10 / 18 + 2) / 3:.1f} % (balanced accuracy), and the mean F1 is {100 * f1:.1f} %." in told
    measured = scores(torch.eye(3).repeat(10, 1), [0, 1, 2] * 10, NAMES)
    told = rewrite(folder, {**metrics_of(), **{name: value for name, value in measured.items() if name not in ("accuracy", "loss")}}).content
    assert "balanced accuracy" not in told


def test_front_matter_is_what_the_hub_reads(folder):
    card = ModelCard.load(write_card(folder, repo="me/vit-tiny"))
    found = card.data.to_dict()
    assert found["license"] == "apache-2.0" and found["library_name"] == "transformers"
    assert found["pipeline_tag"] == "image-classification" and found["metrics"] == ["accuracy"]
    assert found["datasets"] == ["uoft-cs/cifar10"] and "base_model" not in found
    accuracy, loss = card.data.eval_results
    assert card.data.model_name == "vit-tiny"
    assert (accuracy.dataset_type, accuracy.dataset_split, accuracy.metric_type) == ("uoft-cs/cifar10", "test", "accuracy")
    assert accuracy.metric_value == pytest.approx(26 / 30, abs=1e-6) and loss.metric_type == "loss"


def test_the_result_lies_in_the_hubs_evaluation_format_too(folder):
    write_card(folder)
    (path,) = (folder / ".eval_results").iterdir()
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert path.name == "cifar10.yaml" and entry.dataset_id == "uoft-cs/cifar10" and entry.task_id == "default"
    assert entry.value == pytest.approx(26 / 30, abs=1e-6) and "seed 7" in entry.notes


def test_held_out_training_pictures_are_never_called_a_test(folder):
    write_card(folder)
    card = rewrite(folder, metrics_of("validation"))
    assert "86.67 % validation accuracy on 30 pictures" in card.text and "**not test accuracy**" in card.text
    assert "test accuracy on" not in card.text
    accuracy, _ = card.data.eval_results
    assert (accuracy.dataset_split, accuracy.metric_name) == ("train", "Validation accuracy on held-out training pictures")  # a split that the dataset has
    assert "30 to learn from, 30 held out to measure on." in card.text and "to choose on" not in card.text and "held-out pictures `bb22`" in card.text
    assert not list((folder / ".eval_results").glob("*"))


def test_nothing_measured_is_said_so(folder):
    card = rewrite(folder, {})
    assert "Accuracy: not measured." in card.text and " %" not in card.text
    assert card.data.eval_results is None and "model-index" not in str(card)


def test_conditions_stand_beside_the_number(folder):
    text = ModelCard.load(write_card(folder)).text
    assert "86.67 % test accuracy on 30 pictures" in text
    for condition in ("one run, seed 7", "70.3 to 94.7 %", "last weights", "`aa11`", "`bb22`", "1,234,567 parameters"):
        assert condition in text
    assert "no weights of others" in text and "| `learning_rate` | `0.001` |" in text


def test_a_fine_tuned_model_names_its_base(folder):
    card = rewrite(folder, metrics_of(base_model="google/vit-base-patch16-224-in21k"))
    assert card.data.base_model == "google/vit-base-patch16-224-in21k" and "no weights of others" not in card.text
    assert "whose licence applies" in card.text
    local = rewrite(folder, metrics_of(base_model="my-folder"))
    assert local.data.base_model is None and "`my-folder`" in local.text


def test_known_test_pictures_do_not_name_what_was_learned_from(folder):
    metrics = metrics_of(dataset="my-pictures")
    metrics["dataset"]["test_name"] = "uoft-cs/cifar10"
    card = rewrite(folder, metrics)
    assert "trained from scratch on `my-pictures`, tested on `uoft-cs/cifar10`: no weights of others" in card.text and card.data.datasets is None
    assert "The test pictures are exactly those of [uoft-cs/cifar10](https://huggingface.co/datasets/uoft-cs/cifar10); the training pictures are not exactly that dataset's." in card.text
    assert "`my-pictures`: 30 to learn from, 30 test pictures." in card.text
    assert [found.dataset_type for found in card.data.eval_results] == ["uoft-cs/cifar10"] * 2  # that number is true
    assert [path.name for path in (folder / ".eval_results").iterdir()] == ["cifar10.yaml"]
    assert "fine-tuned on `my-pictures`, tested on `uoft-cs/cifar10`." in rewrite(folder, {**metrics, "base_model": "my-folder"}).text
    del metrics["base_model"]
    assert "trained on `my-pictures`, tested on `uoft-cs/cifar10`." in rewrite(folder, metrics).text


def test_a_folder_of_pictures_is_no_dataset_of_the_hub(folder):
    card = rewrite(folder, metrics_of(dataset="holiday"))
    assert card.data.datasets is None and "huggingface.co/datasets" not in card.text
    assert not (folder / ".eval_results").exists()


def test_where_a_run_lay_is_not_told(folder):
    assert "/home/me" not in write_card(folder).read_text()


def test_sizes_of_two_sides_are_told_width_first(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_size": [16, 24], "patch_size": [4, 8]}))
    assert "It looks at 24 × 16 px pictures as 12 patches of 8 × 4 px and answers" in rewrite(folder, metrics_of()).text
    assert patch_grid(ViTConfig(image_size=[16, 24], patch_size=4)) == (4, 6)


def test_class_names_of_strangers_stay_text(tmp_path):
    names = ("<script>alert(1)</script>", "a|b", "[x](http://y)")
    metrics = metrics_of()
    for row, name in zip(metrics["per_class"], names, strict=True):
        row["name"] = name
    text = ModelCard.load(write_card(save_tiny_model(tmp_path / "m", names=names, metrics=metrics))).text
    assert "<script" not in text and "[x](http" not in text
    row = next(line for line in text.splitlines() if line.startswith("| a"))
    assert len(re.split(r"(?<!\\)\|", row)) == 7


def test_writing_again_changes_nothing_and_keeps_the_licence(folder):
    first = write_card(folder, licence="mit").read_bytes()
    assert b"license: mit" in first
    assert write_card(folder).read_bytes() == first


def test_a_card_changed_by_hand_stays(folder):
    path = write_card(folder)
    path.write_text(path.read_text().replace(MARKER, "My own words."))
    before = path.read_bytes()
    report.write_metrics(folder, metrics_of("validation"))
    assert write_card(folder).read_bytes() == before


def test_pictures_are_linked_when_they_are_there(folder):
    assert "](confusion.png)" not in write_card(folder).read_text()
    figures.write_figures(folder, report.read_metrics(folder), NAMES)
    text = write_card(folder).read_text()
    assert re.findall(r"!\[.+\]\((.+)\)", text) == ["confusion.png", "reliability.png"]


def test_the_snippets_run_and_agree_with_the_app(folder, monkeypatch):
    pipeline_snippet, step_by_step = re.findall(r"```python\n(.*?)```", write_card(folder).read_text(), re.DOTALL)
    picture = pil(noise(1, size=40)[0])
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6  # as cameras save it: to be turned by a quarter before it is seen
    picture.transpose(Image.Transpose.ROTATE_90).save(folder.parent / "picture.png", exif=turned)
    monkeypatch.chdir(folder.parent)
    (label, probability), *_ = load(folder).top_k(picture, 3)
    for snippet in (pipeline_snippet, step_by_step):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(snippet, {})
        assert label in printed.getvalue() and f"{probability:.4f}"[:5] in printed.getvalue()


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="config.json"):
        write_card(tmp_path)


def test_the_card_names_every_run_that_led_to_the_model(folder):
    runs = [{"command": "python -m training.train --preset tiny-cpu", "epochs": 5, "images_seen": 1200, "seconds": 60.0, "device": "CPU: y"},
            {"command": "python -m training.train --model first", "note": "stopped early"}]
    card = rewrite(folder, {**metrics_of(), "earlier": runs}).text
    assert "In 3 runs, each going on from the one before" in card and "no weights of others" in card
    at = [card.index(text) for text in (runs[0]["command"], "5 epochs, 1,200 pictures seen, 60 s, CPU: y.", runs[1]["command"], "stopped early.", "```\npython -m training.train --dataset uoft-cs/cifar10")]
    assert at == sorted(at)
    assert "seed 7 in the last of its 3 runs" in card and "All settings of the last run" in card and "in the last run, 30 to learn from" in card
    alone = rewrite(folder, metrics_of()).text
    assert "In 1 runs" not in alone and "the last" not in alone.split("## Data")[1]


def test_a_run_of_which_only_the_command_is_known_has_no_empty_sentence(folder):
    card = rewrite(folder, {**metrics_of(), "earlier": [{"command": "python -m training.train --model a"}, {"command": "python -m training.train --model b"}]}).text
    assert "\n.\n" not in card and card.count("```\n\n```\npython -m training.train") == 2


MAE = {"command": "python -m training.pretrain --dataset uoft-cs/cifar10 --output mae", "epochs": 400}


@pytest.mark.parametrize("dataset, where", [("uoft-cs/cifar10", "the training pictures"), ("me/birds", "the training pictures of `me/birds`")])
def test_what_was_learned_without_labels_is_said(folder, dataset, where):
    mae = {**MAE, "command": MAE["command"].replace("uoft-cs/cifar10", dataset)}
    card = rewrite(folder, {**metrics_of(), "earlier": [mae, {"command": "python -m training.train --model mae"}]}).text
    assert f"trained from scratch on `uoft-cs/cifar10`, first self-supervised (masked autoencoding) on {where}, then supervised: no weights of others" in card
    assert "masked autoencoding, without labels, 400 epochs." in card
    assert "self-supervised" not in rewrite(folder, metrics_of()).text


@pytest.mark.parametrize("keep, ema, told", [
    ("last", 0.999, "; weight average (decay 0.999) of the last step."), ("last", 0.0, "; last weights."),
    ("best", 0.99, "; weight average (decay 0.99) chosen by accuracy on held-out training pictures."), ("best", 0.0, "; weights chosen by accuracy")])
def test_which_weights_were_measured(folder, keep, ema, told):
    assert told in rewrite(folder, {**metrics_of(), "settings": {"keep": keep, "ema": ema}}).text


def test_a_shape_that_was_not_heeded_is_no_setting(folder):
    shaped = {**metrics_of(), "settings": {"hidden_size": 192, "epochs": 3}}
    assert "`hidden_size`" in rewrite(folder, shaped).text
    for begun in ({"base_model": "google/vit"}, {"earlier": [MAE]}):
        text = rewrite(folder, {**shaped, **begun}).text
        assert "`hidden_size`" not in text and "| `epochs` | `3` |" in text


def test_pictures_that_lie_beside_the_model_are_told_of(folder):
    asked = {**metrics_of(), "settings": {"bank": 5000}}
    assert "thumbnails" not in rewrite(folder, asked).text  # there are none, or they were deleted since
    (folder / "extras.json").write_text('{"bank": {"images": 185}}')
    assert "thumbnails of 185 training pictures lie beside the model" in rewrite(folder, asked).text


def test_the_command_that_looks_inside_is_quoted_for_a_shell(folder):
    card = write_card(folder.rename(folder.parent / "my vit; ls")).read_text()
    [line] = [line for line in card.splitlines() if line.startswith("python app.py")]
    assert shlex.split(line) == ["python", "app.py", "--model", "my vit; ls"]


@pytest.mark.parametrize("kind", ["test", "validation"])
def test_how_the_measured_pictures_were_read_is_said(folder, kind):
    text = rewrite(folder, metrics_of(kind)).text
    assert "read as this project reads them: upright, see-through ones on white, 16 bits scaled to 8." in text and "as anyone" not in text


@pytest.mark.parametrize("splits, measured", [
    ({"validation_split": "dev"}, "dev"),  # chosen on and measured on
    ({"validation_split": "dev", "test_split": "val", "held_out_images": 9}, "val"),
    ({"validation_split": "dev", "held_out_images": 9}, None)])
def test_a_validation_split_of_the_dataset_is_called_by_its_name(folder, splits, measured):
    metrics = metrics_of("validation")
    metrics["dataset"] = {"name": "me/birds", "train_split": "train", **splits}
    card = rewrite(folder, {**metrics, "settings": {"keep": "best", "ema": 0.0}})
    assert "weights chosen by accuracy on split `dev`" in card.text and "**not test accuracy**" in card.text
    assert (f"This is accuracy on split `{measured}`" in card.text) == bool(measured) != ("on training pictures that were held out" in card.text)
    assert card.data.eval_results[0].dataset_split == (measured or "train") and ("held-out" in card.data.eval_results[0].metric_name) != bool(measured)


def test_of_the_best_weights_their_own_epochs_and_pictures_are_told(folder):
    best = {**metrics_of(), "epochs": 8, "best_epoch": 6, "images_seen": 3840, "settings": {"keep": "best", "ema": 0.0}}
    text = rewrite(folder, best).text
    assert "; weights after epoch 6 of 8, chosen by accuracy on held-out training pictures." in text
    assert "8 epochs, 3,840 pictures seen (by the weights that it ships: 6 epochs, 2,880 pictures), 5 min of training" in text
    assert "ships" not in rewrite(folder, {**best, "best_epoch": 8}).text
    before = {"command": "python -m training.train", "epochs": 8, "best_epoch": 6}
    assert "8 epochs (by the weights that it ships: 6 epochs)." in rewrite(folder, {**metrics_of(), "earlier": [before]}).text


@pytest.mark.parametrize("carried", [BUNDLED, CARRIED])
def test_the_cards_of_the_carried_models_are_current(carried, tmp_path):
    card = (carried / "README.md").read_text()
    again = shutil.copytree(carried, tmp_path / ModelCard(card).data.model_name, ignore=shutil.ignore_patterns("*.safetensors"))
    assert write_card(again).read_text() == card
