"""The whole command, on a few small pictures: what it writes, what it refuses, and that stopping it changes nothing."""

import json
import os
import random
import signal
import time

import psutil
import pytest
import torch
import yaml
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.runs import QUICK, RANDOM, again, child, flags, same_weights, weights, weights_only
from tests.tiny import save_tiny_model
from tests.training_data import NAMES, image_folder, parquet_dataset
from training import checkpoint, outcome, train
from training.batches import EpochBatches
from training.data import load_splits
from training.config import TrainConfig
from training.train import main
from vit_demo.classifier import load
from vit_demo.errors import UserError

STEPS = 18  # three epochs of six


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return parquet_dataset(tmp_path_factory.mktemp("data"), train=48, test=12)


@pytest.fixture
def quick(monkeypatch):
    """Runs end with their weights; measuring them has tests of its own."""
    monkeypatch.setattr(train, "CLASSIFY", QUICK)


@pytest.fixture
def seen(monkeypatch):
    """The picture numbers of every batch that is made, in order."""
    made, kept = EpochBatches.made, []

    def recorded(self, step, part, levels):
        kept.append(self.ids(step)[part].tolist())
        return made(self, step, part, levels)

    monkeypatch.setattr(EpochBatches, "made", recorded)
    return kept


def stop_after(monkeypatch, step: int, number=signal.SIGTERM) -> None:
    """The process gets the signal while it does step `step`."""
    add = train.Meter.add

    def adding(self, done):
        add(self, done)
        if done.number + 1 == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(train.Meter, "add", adding)


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    """A whole run with everything random on -> (its folder, its batches)."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CLASSIFY", QUICK)
        batches, made = [], EpochBatches.made
        patch.setattr(EpochBatches, "made", lambda self, step, part, levels: batches.append(self.ids(step)[part].tolist()) or made(self, step, part, levels))
        main(flags(dataset, output, *RANDOM, "--validation-images", "0"))
    return output, batches


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
    assert (metrics["epochs"], metrics["seed"], metrics["preset"], metrics["base_model"]) == (8, 0, "tiny-cpu", None)
    assert metrics["images_seen"] == 8 * 40 and metrics["images_per_second"] == pytest.approx(320 / metrics["seconds"])
    assert metrics["dataset"]["train_images"] == 40 and metrics["dataset"]["validation_images"] == 8 and metrics["dataset"]["test_images"] == 12
    assert len(metrics["dataset"]["fingerprint"]) == 64 and {"torch", "transformers", "accelerate"} <= set(metrics["versions"])
    assert [entry["epoch"] for entry in metrics["history"]] == list(range(1, 9)) and 0 < metrics["history"][0]["train_loss"] < 5
    assert metrics["command"].startswith("python -m training.train --dataset ") and metrics["confusion"] and metrics["device"]


def test_the_weight_average_is_what_is_shipped(finished):
    shipped = ViTForImageClassification.from_pretrained(finished).state_dict()
    state, _ = checkpoint.load(checkpoint.newest_complete(finished / "state"))
    assert all(torch.equal(shipped[name], state[f"average.{name}"]) for name in shipped)
    assert not any(torch.equal(shipped[name], state[f"model.{name}"]) for name in shipped)


def test_snapshots_are_small_models_along_the_run(finished):
    folders = sorted((finished / "snapshots").iterdir())
    assert [folder.name for folder in folders] == ["epoch-004", "epoch-008"]
    last, shipped = weights(folders[1]), weights(finished)
    assert all(torch.equal(last[name], shipped[name].half()) for name in shipped)


def test_the_processors_constants_survive_fine_tuning(dataset, tmp_path, monkeypatch):
    base = save_tiny_model(tmp_path / "base")
    ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.1, 0.2, 0.3]).save_pretrained(base)
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])  # they take long and have tests of their own
    main(["--dataset", str(dataset), "--output", str(tmp_path / "run"), "--model", str(base), "--epochs", "1", "--batch-size", "8"])
    kept = load(str(tmp_path / "run")).processor
    assert list(kept.image_mean) == [0.1, 0.2, 0.3] and kept.size["height"] == 16
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["base_model"] == "base"


# Stopping and going on


@pytest.mark.parametrize("step", [1, 4, 6, 17, STEPS])
def test_stopped_at_any_step_and_resumed_gives_the_very_same_weights(step, dataset, uninterrupted, tmp_path, monkeypatch, quick, seen, capsys):
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(SystemExit) as stopped:
            main(flags(dataset, tmp_path / "run", *RANDOM))
    assert stopped.value.code == 130
    told = capsys.readouterr().out
    assert f"stopped after step {step} of {STEPS}; go on with:\n  python -m training.train --output {tmp_path / 'run'} --resume" in told
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # the handlers of before are back
    torch.manual_seed(99)
    main(again(tmp_path / "run"))
    folder, batches = uninterrupted
    assert same_weights(tmp_path / "run", folder) and seen == batches
    state, whole = (checkpoint.load(checkpoint.newest_complete(f / "state")) for f in (tmp_path / "run", folder))
    assert all(torch.equal(state[0][name], whole[0][name]) for name in whole[0])
    assert {**state[1], "seconds": 0} == {**whole[1], "seconds": 0}  # history and sums as well


@pytest.mark.proof
@pytest.mark.parametrize("step", [step for step in range(1, STEPS) if step not in (1, 4, 6, 17)])
def test_stopped_at_every_other_step_too(step, dataset, uninterrupted, tmp_path, monkeypatch, quick, seen):
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(SystemExit):
            main(flags(dataset, tmp_path / "run", *RANDOM))
    main(again(tmp_path / "run"))
    assert same_weights(tmp_path / "run", uninterrupted[0]) and seen == uninterrupted[1]


def test_two_runs_with_one_seed_are_equal_and_another_seed_is_not(dataset, uninterrupted, tmp_path, quick):
    main(flags(dataset, tmp_path / "same", *RANDOM, "--save-every", "4"))  # saving does not change anything
    main(flags(dataset, tmp_path / "other", *RANDOM, "--seed", "1"))
    assert same_weights(tmp_path / "same", uninterrupted[0]) and not same_weights(tmp_path / "other", uninterrupted[0])


def test_streamed_pictures_give_the_very_same_weights(dataset, uninterrupted, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    main(flags(dataset, tmp_path / "run", *RANDOM, "--resident-gb", "0", "--bank", "6"))
    assert "are more than --resident-gb 0: 1 workers stream them" in capsys.readouterr().out
    assert same_weights(tmp_path / "run", uninterrupted[0])


def test_a_time_limit_stops_and_the_run_goes_on(dataset, uninterrupted, tmp_path, quick):
    with pytest.raises(SystemExit) as stopped:
        main(flags(dataset, tmp_path / "run", *RANDOM, "--stop-after", "0.00001"))
    assert stopped.value.code == 130 and len(checkpoint.saved(tmp_path / "run" / "state")) == 1
    with pytest.raises(SystemExit):
        main(again(tmp_path / "run", "--stop-after", "0.00001"))
    assert checkpoint.newest_complete(tmp_path / "run" / "state").name == "step-00000002"
    main(again(tmp_path / "run", "--stop-after", "0"))
    assert same_weights(tmp_path / "run", uninterrupted[0])


def kill_while_saving(dataset, output, kills: int, choose: random.Random) -> int:
    """Start the run, kill it as it writes a state, start it again ...; -> how many kills left a state half written."""
    half_written, state = 0, output / "state"
    for number in range(kills):
        process = child(flags(dataset, output, *RANDOM, "--save-every", "1") if number == 0 else again(output), output.with_suffix(".log"))
        spared, saving = choose.randrange(3), set()
        while process.is_alive():
            saving |= {path.name for path in state.glob(".writing-*")} - saving
            if len(saving) > spared:
                time.sleep(choose.random() * 0.003)
                break
            time.sleep(0.0002)
        process.kill()
        process.join()
        half_written += any(state.glob(".writing-*"))
        assert process.exitcode == -signal.SIGKILL, output.with_suffix(".log").read_text()
    return half_written


def test_killed_while_it_saves_three_times_it_ends_with_the_very_same_weights(dataset, uninterrupted, tmp_path, quick):
    kill_while_saving(dataset, tmp_path / "run", 3, random.Random(0))
    main(again(tmp_path / "run"))  # wherever the third kill met it
    assert same_weights(tmp_path / "run", uninterrupted[0])


@pytest.mark.proof
def test_killed_while_it_saves_fifty_times(dataset, uninterrupted, tmp_path, quick):
    choose, half_written, resumed = random.Random(1), 0, 0
    for number in range(10):  # five kills a run
        half_written += kill_while_saving(dataset, tmp_path / str(number), 5, choose)
        main(again(tmp_path / str(number)))
        resumed += 5 * same_weights(tmp_path / str(number), uninterrupted[0])
    print(json.dumps({"proof": "kill -9 during saves", "kills": 50, "left a state half written": half_written, "resumed to equal weights": resumed}))
    assert resumed == 50 and half_written >= 10


def test_the_first_signal_saves_and_leaves_with_130_the_second_leaves_at_once(dataset, tmp_path):
    process = child(flags(dataset, tmp_path / "run", "--epochs", "2000", "--batch-size", "1", "--save-every", "4", "--resident-gb", "0"), tmp_path / "log")
    wait_for(process, lambda: checkpoint.saved(tmp_path / "run" / "state"))
    workers = psutil.Process(process.pid).children()
    assert workers
    for reached in [*workers, process]:  # as a terminal's Ctrl-C does
        os.kill(reached.pid, signal.SIGINT)
    process.join(60)
    told = (tmp_path / "log").read_text()
    assert process.exitcode == 130 and told.count("finishing the step and saving; once more leaves at once") == 1 and "Traceback" not in told
    assert f"--output {tmp_path / 'run'} --resume" in told
    step = int(told.split("stopped after step ")[1].split()[0])
    assert checkpoint.newest_complete(tmp_path / "run" / "state").name == f"step-{step:08d}"


def wait_for(process, sign, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not sign():
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.01)


def test_a_second_signal_leaves_at_once_but_a_launchers_echo_does_not(monkeypatch):
    from accelerate import Accelerator

    from training.interrupt import Interrupt

    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    interrupt = Interrupt(Accelerator(cpu=True), minutes=0, started=time.monotonic())
    try:
        assert not interrupt.asked()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # what a launcher passes on
        assert interrupt.asked() and left == []
        interrupt.first -= 1
        os.kill(os.getpid(), signal.SIGTERM)
        assert left == [130]
    finally:
        interrupt.restore()


def test_early_stopping_ships_the_best_weights_and_resuming_does_not_go_further(dataset, tmp_path, monkeypatch, capsys):
    accuracies, shipped = iter([0.5, 0.7, 0.6, 0.7, 0.9]), []
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    monkeypatch.setattr(train.Run, "validate", lambda run: shipped.append(outcome.shipped_weights(run)) or {"validation_accuracy": next(accuracies)})
    main(flags(dataset, tmp_path / "run", "--epochs", "5", "--validation-images", "8", "--early-stopping", "2", "--keep", "best"))
    assert "no better validation accuracy for 2 epochs: stopping" in capsys.readouterr().out
    _, facts = checkpoint.load(checkpoint.newest_complete(tmp_path / "run" / "state"))
    assert [entry["validation_accuracy"] for entry in facts["history"]] == [0.5, 0.7, 0.6, 0.7] and facts["best_epoch"] == 2
    best = ViTForImageClassification.from_pretrained(tmp_path / "run").state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in shipped[1].items())
    main(again(tmp_path / "run"))
    assert next(accuracies) == 0.9  # nobody asked for a fifth
    assert "is finished: nothing is left to do" in capsys.readouterr().out  # and the test pictures are not read again


# What goes wrong


def test_a_diverging_run_stops_in_one_line_and_the_last_good_state_loads(dataset, tmp_path, monkeypatch, quick):
    add = train.Meter.add

    def poisoned(self, step):
        add(self, step)
        if step.number == 9:
            with torch.no_grad():
                run_of[0].model.classifier.weight.fill_(float("inf"))

    run_of = []
    start = train.start
    monkeypatch.setattr(train, "start", lambda *given: run_of.append(start(*given)) or run_of[0])
    monkeypatch.setattr(train.Meter, "add", poisoned)
    with pytest.raises(UserError, match=r"in step 10 at learning rate [\d.e-]+: the last saved state is intact; start again with a lower --learning-rate") as stopped:
        main(flags(dataset, tmp_path / "run"))
    assert "\n" not in str(stopped.value)
    state = checkpoint.newest_complete(tmp_path / "run" / "state")
    assert state.name == "step-00000006" and all(tensor.isfinite().all() for tensor in checkpoint.load(state)[0].values())


def test_weights_that_overflowed_are_never_saved(dataset, tmp_path, monkeypatch, quick):
    save = train.Run.save

    def poisoned(run):
        if run.progress.step == 12:
            with torch.no_grad():
                run.model.classifier.bias.fill_(float("nan"))
        save(run)

    monkeypatch.setattr(train.Run, "save", poisoned)
    with pytest.raises(UserError, match="the weights are no longer finite in step 11 at learning rate"):
        main(flags(dataset, tmp_path / "run"))
    assert checkpoint.newest_complete(tmp_path / "run" / "state").name == "step-00000006"


def test_nor_are_they_kept_as_the_best_or_as_a_snapshot(dataset, tmp_path, monkeypatch, quick):
    end_epoch = train.end_epoch

    def poisoned(run, epoch, totals):
        if epoch == 1:
            with torch.no_grad():
                run.model.classifier.bias.fill_(float("nan"))
        end_epoch(run, epoch, totals)

    monkeypatch.setattr(train, "end_epoch", poisoned)
    with pytest.raises(UserError, match="the weights are no longer finite in step"):
        main(flags(dataset, tmp_path / "run", "--validation-images", "8", "--keep", "best", "--snapshots", "3"))
    assert [path.name for path in (tmp_path / "run" / "snapshots").iterdir()] == ["epoch-001"]
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run" / "state" / "best").values())


@pytest.mark.parametrize("more, told", [
    (["--batch-size", "50"], "--batch-size 50 is larger than the 48 training pictures: take at most 48"),
    (["--image-size", "10"], "--image-size 10 is not divisible by the patch of 4 px: take 8 or 12"),
    (["--train-split", "learn"], "no split 'learn': the dataset has train, test"),
    (["--image-column", "photo"], "no column 'photo'"),
    (["--validation-images", "48"], "leaves none of the 48 training pictures"),
    (["--dataset", "nowhere/nothing"], "no dataset 'nowhere/nothing'"),
    (["--model", "nowhere/nothing", "--preset", "fine-tune"], "no model 'nowhere/nothing'"),
    (["--tracker", "trackio"], "--tracker trackio: its package is not installed: pip install trackio"),
])
def test_bad_input_is_refused_before_the_first_step_and_nothing_is_written(more, told, dataset, tmp_path, hub, monkeypatch):
    monkeypatch.setattr("training.run.get_available_trackers", lambda: [])
    output = tmp_path / "run"
    with pytest.raises(UserError, match=told) as refusal:
        main(flags(dataset, output, *more))
    assert "\n" not in str(refusal.value) and not output.exists()


def test_bad_pictures_and_labels_are_refused_before_the_first_step(tmp_path):
    folder = image_folder(tmp_path / "data", 24)
    broken = folder / "green" / "013.png"
    broken.write_bytes(broken.read_bytes()[:70])
    with pytest.raises(UserError, match="013.png.*--skip-bad"):
        main(flags(folder, tmp_path / "run"))
    with pytest.raises(UserError, match="only one class"):
        main(flags(image_folder(tmp_path / "one", names=("red",)), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_would_happen_and_writes_nothing(dataset, tmp_path, capsys):
    main(flags(dataset, tmp_path / "run", "--validation-images", "8", "--dry-run"))
    told = capsys.readouterr().out
    for line in ("40 training pictures, 8 to choose on, 12 test; 3 classes", "3 epochs x 5 steps of 8 pictures; 0.00 M parameters trained by muon", "device cpu, float32, 1 process(es)"):
        assert line in told
    assert "about 0 minutes (" in told and "GB of memory, from 4 trial steps" in told and not (tmp_path / "run").exists()


def test_an_output_that_holds_something_is_refused(uninterrupted, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file: give a folder"):
        main(flags(dataset, tmp_path / "file"))
    with pytest.raises(UserError, match="already holds a run: add --resume to go on with it, or give another folder"):
        main(flags(dataset, uninterrupted[0]))
    with pytest.raises(UserError, match="nothing to resume"):
        main(again(tmp_path / "run"))
    (tmp_path / "empty").mkdir()
    main(flags(dataset, tmp_path / "empty", "--dry-run"))
    with pytest.raises(UserError, match="cannot write to --output .*file/run: Not a directory; give another folder"):
        main(flags(dataset, tmp_path / "file" / "run"))


def test_resuming_with_other_pictures_is_refused(tmp_path, quick):
    dataset, output = parquet_dataset(tmp_path / "data", train=16, test=3), tmp_path / "run"
    main(flags(dataset, output))
    settings = yaml.safe_load((output / "train.yaml").read_text())
    settings["dataset"] = str(parquet_dataset(tmp_path / "more", train=24, test=3))
    (output / "train.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match="the training pictures of .* are not those that the run was started with"):
        main(again(output))


# Out of memory


@pytest.fixture
def small_memory(monkeypatch):
    """A device on which four pictures fit, and no more."""
    forward = ViTForImageClassification.forward

    def limited(self, pixel_values=None, **more):
        if self.training and len(pixel_values) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return forward(self, pixel_values=pixel_values, **more)

    monkeypatch.setattr(ViTForImageClassification, "forward", limited)


def test_out_of_memory_says_what_fits(dataset, tmp_path, small_memory):
    for more in ([], ["--dry-run"]):
        with pytest.raises(UserError, match=r"out of memory with 8 pictures at a time: 4 fit, --accumulation 2, with the same batch a step\. Start again with it, or let --auto-accumulate do so") as refusal:
            main(flags(dataset, tmp_path / f"run{len(more)}", *more))
        assert "\n" not in str(refusal.value)


def test_out_of_memory_goes_on_with_more_passes_when_allowed(dataset, tmp_path, monkeypatch, quick, capsys, request):
    main(flags(dataset, tmp_path / "two", *RANDOM, "--accumulation", "2"))
    request.getfixturevalue("small_memory")
    main(flags(dataset, tmp_path / "run", *RANDOM, "--auto-accumulate"))
    assert "4 fit, --accumulation 2; going on with that, the batch of a step stays 8" in capsys.readouterr().out
    assert same_weights(tmp_path / "run", tmp_path / "two")
    assert yaml.safe_load((tmp_path / "run" / "train.yaml").read_text())["accumulation"] == 2


def test_out_of_memory_late_in_a_run_goes_on_from_the_last_state(dataset, tmp_path, monkeypatch, quick, capsys):
    forward, calls = ViTForImageClassification.forward, []

    def limited(self, pixel_values=None, **more):
        calls.append(len(pixel_values))
        if len(calls) > 8 and len(pixel_values) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return forward(self, pixel_values=pixel_values, **more)

    monkeypatch.setattr(ViTForImageClassification, "forward", limited)
    main(flags(dataset, tmp_path / "run", "--auto-accumulate"))
    assert "going on after step 6 of 18" in capsys.readouterr().out
    assert calls == [8] * 9 + [4] + [4] * 2 * 12


def test_when_not_even_one_picture_fits(dataset, tmp_path, monkeypatch):
    def none(self, **more):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ViTForImageClassification, "forward", none)
    with pytest.raises(UserError, match="out of memory with 8 pictures at a time, and even one does not fit: take a smaller model"):
        main(flags(dataset, tmp_path / "run", "--auto-accumulate"))


def test_other_errors_are_not_hidden(dataset, tmp_path, monkeypatch):
    def broken(self, **more):
        raise RuntimeError("something else")

    monkeypatch.setattr(ViTForImageClassification, "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        main(flags(dataset, tmp_path / "run"))


@pytest.mark.proof
def test_a_compiled_model_is_saved_under_plain_names(dataset, tmp_path):
    main(flags(dataset, tmp_path / "run", "--compile", "yes", "--epochs", "1"))
    assert load(str(tmp_path / "run")).labels == NAMES and not any("_orig_mod" in name for name in weights(tmp_path / "run"))
    state, _ = checkpoint.load(checkpoint.newest_complete(tmp_path / "run" / "state"))
    assert not any("_orig_mod" in name for name in state)
