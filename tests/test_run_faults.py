"""A run that diverges, whose disk fills up, or that is started twice: one line, the last good state intact, and nothing bad or half written beside it."""

import os
import signal

import pytest
import torch
from transformers import ViTForImageClassification

from tests.runs import again, child, dataset, flags, full_disk, quick, same_weights, weights  # noqa: F401 (dataset and quick are fixtures)
from tests.test_alone import held_elsewhere  # noqa: F401 (a fixture)
from tests.test_interrupt import wait_for
from training import checkpoint, outcome, train
from training.train import main
from vit_demo.errors import UserError


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
    with pytest.raises(UserError, match=r"in step 10 at learning rate [\d.e-]+ \(Muon's [\d.e-]+\): what was saved before is intact; start again with a lower --muon-learning-rate or --learning-rate, or more --warmup") as stopped:
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


@pytest.mark.parametrize("more, spared", [(["--snapshots", "3"], 1), (["--keep", "best", "--validation-images", "8"], 0), ([], 0)])
def test_a_disk_that_fills_up_under_a_snapshot_the_best_or_the_model_leaves_a_run_that_goes_on(more, spared, dataset, tmp_path, monkeypatch, quick):
    save, spare = ViTForImageClassification.save_pretrained, iter([True] * spared)

    def half(model, folder):
        save(model, folder)
        if not next(spare, False):
            (folder / "model.safetensors").write_bytes(b"half")
            full_disk()

    main(flags(dataset, tmp_path / "whole", *more))
    with monkeypatch.context() as patch:
        patch.setattr(ViTForImageClassification, "save_pretrained", half)
        with pytest.raises(UserError, match=r"cannot save the model: No space left on device; it needs 1 MB, \S+/ has \d+ MB free\. What was saved before is intact: free space, then --resume") as refusal:
            main(flags(dataset, tmp_path / "run", *more))
    assert "\n" not in str(refusal.value) and not list(tmp_path.rglob(".writing*"))
    assert {path.name for path in tmp_path.rglob("*") if path.is_dir() and not any(path.iterdir())} <= {"state"}
    main(again(tmp_path / "run"))
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def test_a_disk_too_full_for_the_best_weights_is_said_before_measuring(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    with monkeypatch.context() as patch:
        patch.setattr(outcome.shutil, "copyfile", full_disk)
        with pytest.raises(UserError, match="cannot save the model: No space left on device"):
            main(flags(dataset, tmp_path / "run", "--keep", "best", "--validation-images", "8"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"state", "train.yaml"}
    main(again(tmp_path / "run"))
    assert (tmp_path / "run" / "README.md").is_file() and same_weights(tmp_path / "run", tmp_path / "run" / "state" / "best")


def test_a_second_start_is_refused_and_the_first_one_goes_on(dataset, tmp_path):
    """A job that was sent twice: it would take away the states that the first one saves."""
    output, log = tmp_path / "run", tmp_path / "log"
    process = child(flags(dataset, output, "--epochs", "3000", "--save-every", "1"), log)
    try:
        wait_for(process, lambda: checkpoint.saved(output / "state"))
        for _ in range(3):
            with pytest.raises(UserError, match=rf"^another run is writing to {output} \(process {process.pid} on \S+\): wait for it, stop it, or give another --output"):
                main(again(output))
        main(again(output, "--dry-run"))  # writes nothing, so it may look
        os.kill(process.pid, signal.SIGTERM)
        process.join(60)
        assert process.exitcode == 130, log.read_text()
    finally:
        process.kill()
    assert {path.name for path in output.iterdir()} == {"state", "train.yaml"}


def test_two_fresh_starts_do_not_share_an_output(dataset, tmp_path, monkeypatch, quick, held_elsewhere):
    """The first one may be looking at its pictures still: nothing tells of it but the lock."""
    output = tmp_path / "run"
    first = held_elsewhere(output)
    with pytest.raises(UserError, match="another run is writing to"):
        main(flags(dataset, output))
    assert [path.name for path in output.iterdir()] == [".running"]
    first.kill()
    first.join()
    main(flags(dataset, output))  # what a killed run left holds nobody up
    assert not (output / ".running").exists()

    make, other = train.make_accelerator, tmp_path / "other"
    monkeypatch.setattr(train, "make_accelerator", lambda config: (other.mkdir(), (other / "train.yaml").touch(), make(config))[-1])  # begun and ended since it looked
    with pytest.raises(UserError, match="already holds a run"):
        main(flags(dataset, other))
