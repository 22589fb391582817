"""Stopped, killed, streamed: a run that goes on ends with the very same weights, and goes on with nothing else."""

import dataclasses
import json
import os
import random
import shutil
import signal
import time

import pyarrow.parquet as parquet
import pytest
import torch
from accelerate import Accelerator
from transformers import ViTForImageClassification

from tests.runs import QUICK, RANDOM, again, child, dataset, flags, quick, same_weights  # noqa: F401 (dataset and quick are fixtures)
from tests.training_data import parquet_dataset
from training import checkpoint, outcome, train
from training.batches import EpochBatches
from training.train import cli, main
from vit_demo.errors import UserError

STEPS = 18  # three epochs of six


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
    main(again(tmp_path / "run"))  # as the line says that told of the stop: the limit was of one start
    assert same_weights(tmp_path / "run", uninterrupted[0])


@pytest.mark.parametrize("more, kept", [([], 10), (["--save-every", "4"], 8)])  # said in steps, it is not asked of the clock
def test_a_run_saves_within_an_epoch_when_the_clock_says_so_and_goes_on_from_there(more, kept, dataset, uninterrupted, tmp_path, monkeypatch, quick):
    def cut_off(self, done):
        add(self, done)
        if done.number + 1 == 11:
            raise KeyError("the machine is gone")

    add = train.Meter.add
    with monkeypatch.context() as patch:
        patch.setattr(train, "SAVE_MINUTES", 1e-9)
        patch.setattr(train.Meter, "add", cut_off)
        with pytest.raises(KeyError):
            main(flags(dataset, tmp_path / "run", *RANDOM, *more))
    assert checkpoint.newest_complete(tmp_path / "run" / "state").name == f"step-{kept:08d}"
    main(again(tmp_path / "run"))
    assert same_weights(tmp_path / "run", uninterrupted[0])
    state, whole = (checkpoint.load(checkpoint.newest_complete(folder / "state"))[1] for folder in (tmp_path / "run", uninterrupted[0]))
    assert {**state, "seconds": 0} == {**whole, "seconds": 0}


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_step_says_how_to_go_on(number, dataset, uninterrupted, tmp_path, monkeypatch, capsys):
    """The trained state is saved; what is left is to measure and write it."""
    def asked_to_stop(run):
        os.kill(os.getpid(), number)
        time.sleep(10)

    with monkeypatch.context() as patch:
        patch.setattr(train, "CLASSIFY", dataclasses.replace(train.CLASSIFY, finish=asked_to_stop))
        with pytest.raises(SystemExit) as stopped:
            cli(lambda: main(flags(dataset, tmp_path / "run", *RANDOM)))
    assert stopped.value.code == 130 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert f"stopped before the trained model was measured and written; go on with:\n  python -m training.train --output {tmp_path / 'run'} --resume" in capsys.readouterr().out
    monkeypatch.setattr(train, "CLASSIFY", QUICK)
    main(again(tmp_path / "run"))
    assert same_weights(tmp_path / "run", uninterrupted[0])


def test_best_weights_that_are_gone_are_missed_before_training_goes_on_and_before_others_are_shipped(dataset, tmp_path, monkeypatch, quick):
    output, more = tmp_path / "run", ("--validation-images", "8", "--keep", "best")
    with monkeypatch.context() as patch:
        stop_after(patch, 7)  # in the second epoch
        with pytest.raises(SystemExit):
            main(flags(dataset, output, *more))
    shutil.rmtree(output / "state" / "best")
    told = r"state/best/config.json is gone: --keep best ships the weights of epoch 1, which lay there; bring the folder back, or start another --output"
    with pytest.raises(UserError, match=told):
        main(again(output))
    monkeypatch.setattr(train, "CLASSIFY", dataclasses.replace(QUICK, finish=lambda run: shutil.rmtree(run.output / "state" / "best") or outcome.finish(run)))
    with pytest.raises(UserError, match="is gone: --keep best ships the weights of epoch"):
        main(flags(dataset, tmp_path / "other", *more))
    assert not (tmp_path / "other" / "model.safetensors").exists()


def test_early_stopping_ships_the_best_weights_and_resuming_does_not_go_further(dataset, tmp_path, monkeypatch, capsys):
    accuracies, shipped = iter([0.5, 0.7, 0.6, 0.7, 0.9]), []
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    monkeypatch.setattr(train.Run, "validate", lambda run: shipped.append(outcome.shipped_weights(run)) or {"validation_accuracy": next(accuracies)})
    main(flags(dataset, tmp_path / "run", "--epochs", "5", "--validation-images", "8", "--early-stopping", "2", "--keep", "best"))
    assert "no better validation accuracy for 2 epochs: stopping" in capsys.readouterr().out
    _, facts = checkpoint.load(checkpoint.newest_complete(tmp_path / "run" / "state"))
    assert [entry["validation_accuracy"] for entry in facts["history"]] == [0.5, 0.7, 0.6, 0.7] and facts["best_epoch"] == 2
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["best_epoch"], metrics["images_seen"]) == (4, 2, 4 * 40)
    assert "after epoch 2 of 4, chosen by" in (card := (tmp_path / "run" / "README.md").read_text()) and "ships: 2 epochs, 80 pictures)" in card
    best = ViTForImageClassification.from_pretrained(tmp_path / "run").state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in shipped[1].items())
    main(again(tmp_path / "run"))
    assert next(accuracies) == 0.9  # nobody asked for a fifth
    assert "is finished: nothing is left to do" in capsys.readouterr().out  # and the test pictures are not read again


def test_a_run_that_did_all_its_epochs_did_not_stop_early(dataset, tmp_path, monkeypatch, quick, capsys):
    accuracies = iter([0.7, 0.6, 0.6])
    monkeypatch.setattr(train.Run, "validate", lambda run: {"validation_accuracy": next(accuracies)})
    main(flags(dataset, tmp_path / "run", "--validation-images", "8", "--early-stopping", "2"))
    assert next(accuracies, None) is None and "stopping" not in capsys.readouterr().out


def test_resuming_with_other_pictures_is_refused(tmp_path, quick):
    dataset, output = parquet_dataset(tmp_path / "data", train=16, test=3), tmp_path / "run"
    main(flags(dataset, output))
    with pytest.raises(UserError, match="the training pictures of .* are not those that the run was started with"):
        main(again(output, "--dataset", str(parquet_dataset(tmp_path / "more", train=24, test=3))))


def test_resuming_with_the_same_pictures_in_another_order_is_refused(tmp_path, quick):
    dataset, output = parquet_dataset(tmp_path / "data", train=20, test=3), tmp_path / "run"
    main(flags(dataset, output, "--validation-images", "4"))
    for number, order in enumerate([[*reversed(range(16)), 16, 17, 18, 19], [*range(16), 17, 16, 18, 19]]):  # to learn from, to choose on
        with pytest.raises(UserError, match="in another order, or other ones to choose on: bring the rows back as they were") as refusal:
            main(again(output, "--dataset", str(reordered(dataset, tmp_path / str(number), order))))
        assert "\n" not in str(refusal.value)
    state = checkpoint.newest_complete(output / "state")
    manifest = json.loads((state / "manifest.json").read_text())
    del manifest["facts"]["order"]  # as in states from before it was noted
    (state / "manifest.json").write_text(json.dumps(manifest))
    main(again(output))


def test_processes_that_find_different_states_are_told_to_share_a_disk(dataset, tmp_path, monkeypatch, quick):
    """One would go on from step 5, the other begin: they would average gradients of different weights, and wait for each other for ever."""
    with pytest.raises(SystemExit):
        main(flags(dataset, tmp_path / "run", "--stop-after", "1e-6"))
    monkeypatch.setattr(Accelerator, "gather", lambda self, mine: torch.cat([mine, torch.tensor([-1])]))
    with pytest.raises(UserError, match=r"the processes find different states in .*, of the steps \d+, -1: put --output on a disk that all of them share$"):
        main(again(tmp_path / "run"))


def test_a_run_does_not_go_on_in_another_precision(dataset, tmp_path, monkeypatch, quick):
    """A GPU's, which --precision auto means, on a CPU: the card would tell of one alone."""
    with pytest.raises(SystemExit):
        main(flags(dataset, tmp_path / "run", "--stop-after", "1e-6"))
    monkeypatch.setattr(Accelerator, "mixed_precision", property(lambda self: "bf16"))
    with pytest.raises(UserError, match="this run was started in float32 and would go on in bf16 here: go on where it was started, or start another --output$"):
        main(again(tmp_path / "run"))


def reordered(dataset, folder, rows: list[int]):
    """The data set's copy with its training rows in that order."""
    shutil.copytree(dataset, folder)
    path = folder / "data" / "train-00000-of-00001.parquet"
    parquet.write_table(parquet.read_table(path).take(rows), path)
    return folder
