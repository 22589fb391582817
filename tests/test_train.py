"""The whole command, on a few small pictures: what it writes and what it refuses."""

import json
import tempfile
import weakref
from collections import namedtuple

import pytest
import torch
from accelerate import Accelerator
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from tests.runs import QUICK, again, anew, dataset, flags, quick, weights  # noqa: F401 (anew, dataset and quick are fixtures)
from tests.tiny import pil, save_tiny_model
from tests.training_data import NAMES, image_folder, parquet_dataset
from training import checkpoint, outcome, train
from training.config import TrainConfig
from training.data import load_splits
from training.train import main
from vit_demo.classifier import load, read_folder
from vit_demo.errors import UserError


# What it writes


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "finished"
    assert main(flags(dataset, output, "--epochs", "8", "--validation-images", "8", "--ema", "0.9", "--snapshots", "2", "--bank", "9")) == output
    return output


def test_the_folder_is_a_whole_model(finished):
    files = {path.name for path in finished.iterdir()}
    assert files == {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "metrics.json", "train.yaml", "state", "snapshots",
                     "extras.json", "extras.safetensors", "curves.png", "confusion.png", "reliability.png", "mistakes.png"} - missing_sheet(finished)
    everything = [path for path in finished.rglob("*") if path.is_file()]
    assert {path.suffix for path in everything} <= {".json", ".safetensors", ".md", ".yaml", ".png"}  # no pickle anywhere
    assert len({(finished / name).stat().st_mode for name in ("config.json", "model.safetensors")}) == 1  # whoever may read one may read the other
    config = (finished / "config.json").read_text()
    assert "LABEL_0" not in config and json.loads(config)["id2label"] == {"0": "red", "1": "green", "2": "blue"}
    assert json.loads(config)["label2id"] == {"red": 0, "green": 1, "blue": 2}
    assert not any("_orig_mod" in name or "module." in name for name in weights(finished))
    assert str(finished.parent) not in "".join(path.read_text() for path in finished.glob("*.*") if path.suffix in (".json", ".md"))


def missing_sheet(folder) -> set[str]:
    return set() if json.loads((folder / "metrics.json").read_text())["mistakes"] else {"mistakes.png"}


def test_the_measured_accuracy_is_what_plain_transformers_gets(finished, dataset):
    metrics = json.loads((finished / "metrics.json").read_text())
    test = load_splits(TrainConfig(dataset=str(dataset)), 8, progress=False).held_out
    model, processor = ViTForImageClassification.from_pretrained(finished).eval(), ViTImageProcessorPil.from_pretrained(finished)
    with torch.no_grad():
        logits = model(**processor([test.pixels[i] for i in range(12)], return_tensors="pt")).logits
    right = (logits.argmax(1) == test.labels).float().mean().item()
    assert metrics["test_accuracy"] == pytest.approx(right) and right > 0.5  # it has learned something
    assert metrics["test_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, test.labels).item(), abs=1e-5)
    app = load(str(finished))
    torch.testing.assert_close(app.logits([test.pixels[i] for i in range(12)]), logits)
    assert app.labels == NAMES and app.metrics == metrics


def test_the_metrics_tell_the_conditions(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert "best_epoch" not in metrics  # the last weights are shipped
    assert (metrics["epochs"], metrics["seed"], metrics["preset"], metrics["base_model"]) == (8, 0, "tiny-cpu", None)
    assert metrics["images_seen"] == 8 * 40 and metrics["images_per_second"] == pytest.approx(320 / metrics["seconds"])
    assert metrics["dataset"]["train_images"] == 40 and metrics["dataset"]["validation_images"] == 8 and metrics["dataset"]["test_images"] == 12
    assert len(metrics["dataset"]["fingerprint"]) == 64 and {"torch", "transformers", "accelerate"} <= set(metrics["versions"])
    assert [entry["epoch"] for entry in metrics["history"]] == list(range(1, 9)) and 0 < metrics["history"][0]["train_loss"] < 5
    rates = [entry["learning_rate"] for entry in metrics["history"]]  # after 2 steps of warm-up it falls, linearly, to 0
    assert rates == pytest.approx([1e-3 * (1 - (step - 1 - 2) / 38) for step in range(5, 41, 5)])
    assert [entry["muon_learning_rate"] for entry in metrics["history"]] == pytest.approx([4 * rate for rate in rates])  # the matrices' own
    assert metrics["command"].startswith("python -m training.train --dataset ") and metrics["confusion"] and metrics["device"]


def test_without_a_test_split_every_part_is_counted_under_its_own_name(tmp_path, monkeypatch):
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    folder = parquet_dataset(tmp_path / "data", train=60, test=0)
    main(flags(folder, tmp_path / "run", "--epochs", "1", "--validation-images", "10"))
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["dataset"]
    splits = load_splits(TrainConfig(dataset=str(folder), validation_images=10), 8, progress=False)
    assert (found["train_images"], found["validation_images"], found["held_out_images"]) == (44, 10, 6)
    assert found["fingerprint"] == splits.train.fingerprint and found["held_out_fingerprint"] == splits.held_out.fingerprint and found["test_split"] is None
    card = (tmp_path / "run" / "README.md").read_text()
    assert "44 to learn from, 10 held out to choose on, 6 held out to measure on." in card
    main(flags(folder, tmp_path / "chosen", "--epochs", "1", "--validation-images", "10", "--test-split", "none"))
    found = json.loads((tmp_path / "chosen" / "metrics.json").read_text())["dataset"]
    assert (found["train_images"], found["validation_images"]) == (50, 10) and "held_out_images" not in found


def test_pictures_that_were_left_out_are_counted_in_the_card(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    folder = image_folder(tmp_path / "data" / "train", 24)
    image_folder(tmp_path / "data" / "test", 6)
    for broken in (folder / "green" / "013.png", folder.parent / "test" / "red" / "003.png"):
        broken.write_bytes(broken.read_bytes()[:70])
    main(flags(folder.parent, tmp_path / "run", "--epochs", "1", "--skip-bad"))
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["dataset"]
    assert (found["unreadable_train_images"], found["unreadable_test_images"], found["train_images"], found["test_images"]) == (1, 1, 23, 5)
    assert "Left out, since they could not be read: 1 of the pictures to learn from, 1 of the test pictures." in (tmp_path / "run" / "README.md").read_text()


def test_the_weight_average_is_what_is_shipped(finished):
    shipped = ViTForImageClassification.from_pretrained(finished).state_dict()
    state, _ = checkpoint.load(checkpoint.newest_complete(finished / "state"))
    assert all(torch.equal(shipped[name], state[f"average.{name}"]) for name in shipped)
    assert not any(torch.equal(shipped[name], state[f"model.{name}"]) for name in shipped)


def test_snapshots_are_small_models_along_the_run(finished, dataset):
    """Each gets the validation accuracy that was noted after its epoch."""
    folders = sorted((finished / "snapshots").iterdir())
    assert [folder.name for folder in folders] == ["epoch-001", "epoch-003"]
    history = json.loads((finished / "metrics.json").read_text())["history"]
    validation = load_splits(TrainConfig(dataset=str(dataset), validation_images=8), 8, progress=False).validation
    images = [pil(pixels) for pixels in validation.pixels]
    for folder, epoch in zip(folders, (1, 3), strict=True):
        assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float16}
        right = (read_folder(folder, "snapshot", processor_of=finished).logits(images).argmax(1) == validation.labels).float().mean().item()
        assert right == pytest.approx(history[epoch - 1]["validation_accuracy"])


@pytest.mark.parametrize(("epochs", "wanted", "kept"), [(52, 4, [1, 3, 7, 19]), (8, 2, [1, 3]), (3, 3, [1, 2]), (1, 5, []), (1000, 3, [1, 10, 100]), (9, 0, [])])
def test_snapshots_are_spread_by_ratio_and_end_before_the_model_itself(epochs, wanted, kept):
    assert outcome.snapshot_epochs(TrainConfig(dataset="x", epochs=epochs, snapshots=wanted)) == kept


def test_the_processors_constants_survive_fine_tuning(dataset, tmp_path, monkeypatch):
    base = save_tiny_model(tmp_path / "base")
    ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.1, 0.2, 0.3]).save_pretrained(base)
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])  # they take long and have tests of their own
    (tmp_path / "own.yaml").write_text("image_size: null\n")  # the model's own, not the preset's
    main(["--dataset", str(dataset), "--output", str(tmp_path / "run"), "--model", str(base), "--preset", "fine-tune-cpu", "--config", str(tmp_path / "own.yaml"),
          "--epochs", "1", "--batch-size", "8"])
    kept = load(str(tmp_path / "run")).processor
    assert list(kept.image_mean) == [0.1, 0.2, 0.3] and kept.size["height"] == 16
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["base_model"] == "base" and "--preset fine-tune-cpu --image-size 16 --batch-size 8" in metrics["command"]


@pytest.mark.proof
def test_a_compiled_model_is_saved_under_plain_names(dataset, tmp_path, anew):
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    main(flags(dataset, tmp_path / "run", "--compile", "yes", "--epochs", "1"))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > compiled
    assert load(str(tmp_path / "run")).labels == NAMES and not any("_orig_mod" in name for name in weights(tmp_path / "run"))
    state, _ = checkpoint.load(checkpoint.newest_complete(tmp_path / "run" / "state"))
    assert not any("_orig_mod" in name for name in state)


# What goes wrong


def test_a_model_that_the_disk_has_no_room_for_is_said_before_it_is_written(tmp_path, monkeypatch):
    model = ViTForImageClassification(ViTConfig(hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4))
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(2**20))
    with pytest.raises(UserError, match=r"disk full: saving the model needs 14 MB, run/ has 1 MB; what was saved before is intact\. Free space, then --resume"):
        outcome.write_weights(tmp_path / "run", model, model.state_dict())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more, told", [
    (["--batch-size", "50"], "--batch-size 50 is larger than the 48 training pictures: take at most 48"),
    (["--image-size", "10"], "--image-size 10 is not divisible by the patch of 4 px: take 8 or 12"),
    (["--train-split", "learn"], "no split 'learn': the dataset has train, test"),
    (["--image-column", "photo"], "no column 'photo'"),
    (["--validation-images", "48"], "leaves none of the 48 training pictures"),
    (["--dataset", "nowhere/nothing"], "no dataset 'nowhere/nothing'"),
    (["--tracker", "trackio"], "--tracker trackio: its package is not installed: pip install trackio"),
])
def test_bad_input_is_refused_before_the_first_step_and_nothing_is_written(more, told, dataset, tmp_path, hub, monkeypatch):
    monkeypatch.setattr("training.run.get_available_trackers", lambda: [])
    output = tmp_path / "run"
    with pytest.raises(UserError, match=told) as refusal:
        main(flags(dataset, output, *more))
    assert "\n" not in str(refusal.value) and not output.exists()


def test_a_model_that_is_nowhere_is_refused_before_anything_is_written(dataset, tmp_path, hub):
    with pytest.raises(UserError, match="no model 'nowhere/nothing'"):
        main(["--dataset", str(dataset), "--output", str(tmp_path / "run"), "--model", "nowhere/nothing"])
    assert not (tmp_path / "run").exists()


def test_bad_pictures_and_labels_are_refused_before_the_first_step(tmp_path):
    folder = image_folder(tmp_path / "data", 24)
    broken = folder / "green" / "013.png"
    broken.write_bytes(broken.read_bytes()[:70])
    with pytest.raises(UserError, match="013.png.*--skip-bad"):
        main(flags(folder, tmp_path / "run"))
    with pytest.raises(UserError, match="only one class"):
        main(flags(image_folder(tmp_path / "one", names=("red",)), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_file_that_another_process_tries_the_output_with_is_no_run(tmp_path, monkeypatch):
    config, tried = TrainConfig(output=str(tmp_path)), []

    def shown(**where):
        file = tempfile.NamedTemporaryFile(**where)  # as where O_TMPFILE is missing, for a moment longer
        tried.append(list(tmp_path.iterdir()))
        if len(tried) == 1:
            train.check_output(config)
        return file

    monkeypatch.setattr(tempfile, "TemporaryFile", shown)
    train.check_output(config)
    assert [len(files) for files in tried] == [1, 2] and not list(tmp_path.iterdir())


def test_an_output_that_holds_something_is_refused(finished, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file: give a folder"):
        main(flags(dataset, tmp_path / "file"))
    with pytest.raises(UserError, match="already holds a run: add --resume to go on with it, or give another folder"):
        main(flags(dataset, finished))
    with pytest.raises(UserError, match="nothing to resume"):
        main(again(tmp_path / "run"))
    with pytest.raises(UserError, match="already holds a run"):  # it checks every input
        main(flags(dataset, finished, "--dry-run"))
    (tmp_path / "empty").mkdir()
    main(flags(dataset, tmp_path / "empty", "--dry-run"))
    with pytest.raises(UserError, match="cannot write to --output .*file/run: Not a directory; give another folder"):
        main(flags(dataset, tmp_path / "file" / "run", "--dry-run"))


def test_a_dry_run_of_a_resumption_checks_it_and_changes_nothing(tmp_path, quick, capsys):
    dataset, output = parquet_dataset(tmp_path / "data", train=16, test=3), tmp_path / "run"
    with pytest.raises(SystemExit):
        main(flags(dataset, output, "--stop-after", "0.00001"))
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    main(again(output, "--dry-run"))
    assert "going on after step 1 of 6" in capsys.readouterr().out
    with pytest.raises(UserError, match="are not those that the run was started with"):
        main(again(output, "--dry-run", "--dataset", str(parquet_dataset(tmp_path / "more", train=24, test=3))))
    assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_the_model_is_gone_before_the_processes_part(dataset, tmp_path, monkeypatch, quick):
    """A distributed one that dies after its process group can hang for good: seen with gloo, within a few tries of a loop."""
    start, end_training, held = train.start, Accelerator.end_training, []

    def started(*given):
        run = start(*given)
        held.append(weakref.ref(run.prepared))
        return run

    def ending(accelerator):
        held.append(held[0]())
        end_training(accelerator)

    monkeypatch.setattr(train, "start", started)
    monkeypatch.setattr(Accelerator, "end_training", ending)
    main(flags(dataset, tmp_path / "run"))
    assert held[1] is None
