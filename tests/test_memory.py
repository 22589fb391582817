"""Out of memory: what fits is found and said, and with --auto-accumulate the run goes on with it."""

import weakref

import pytest
import torch
import yaml
from transformers import ViTForImageClassification

from tests.runs import RANDOM, again, dataset, flags, quick, same_weights  # noqa: F401 (dataset and quick are fixtures)
from training import memory, outcome
from training.command_line import parse_config
from training.memory import explained
from training.run import start
from training.train import main
from vit_demo.errors import UserError


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


def test_every_number_of_passes_that_divides_the_batch_is_tried_in_order(dataset, tmp_path, monkeypatch, quick, small_memory, capsys):
    tried, trial = [], memory.trial
    monkeypatch.setattr(memory, "trial", lambda run, pictures: tried.append(pictures) or trial(run, pictures))
    main(flags(dataset, tmp_path / "run", "--batch-size", "18", "--accumulation", "2", "--auto-accumulate"))
    assert "out of memory with 9 pictures at a time: 3 fit, --accumulation 6; going on" in capsys.readouterr().out and tried == [6, 3]


def test_out_of_memory_goes_on_with_more_passes_when_allowed(dataset, tmp_path, monkeypatch, quick, capsys, request):
    main(flags(dataset, tmp_path / "two", *RANDOM, "--accumulation", "2"))
    request.getfixturevalue("small_memory")
    main(flags(dataset, tmp_path / "run", *RANDOM, "--auto-accumulate"))
    assert "4 fit, --accumulation 2; going on with that, the batch of a step stays 8" in capsys.readouterr().out
    assert same_weights(tmp_path / "run", tmp_path / "two")
    assert yaml.safe_load((tmp_path / "run" / "train.yaml").read_text())["accumulation"] == 2


def test_a_resumption_that_goes_on_with_more_passes_leaves_a_recipe(dataset, tmp_path, quick, capsys, request):
    """What was asked of the resumption alone is not in it."""
    output = tmp_path / "run"
    with pytest.raises(SystemExit):
        main(flags(dataset, output, "--stop-after", "0.00001"))
    before = yaml.safe_load((output / "train.yaml").read_text())
    request.getfixturevalue("small_memory")
    main(again(output, "--auto-accumulate", "--stop-after", "0"))
    assert "4 fit, --accumulation 2; going on with that" in capsys.readouterr().out
    assert yaml.safe_load((output / "train.yaml").read_text()) == {**before, "accumulation": 2} and not before["resume"]
    assert parse_config(["--config", str(output / "train.yaml"), "--output", str(tmp_path / "other")]).accumulation == 2


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


def none_left(*given, **more):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")


def test_out_of_memory_before_the_first_step_or_after_the_last_is_one_line(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    for where, more, told in (("training.run.make_optimizers", [], "out of memory before the first step: take a smaller model, or keep fewer pictures in memory than --resident-gb 3"),
                              ("training.data.Holder.stacked", [], "out of memory before the first step: take a smaller model"),
                              ("training.report.predict", [], "out of memory after the last step: the trained state is saved; --resume with less than --resident-gb 3 goes on")):
        with monkeypatch.context() as patch:
            patch.setattr(where, none_left)
            with pytest.raises(UserError, match=told) as refusal:
                main(flags(dataset, tmp_path / "run", "--epochs", "1", "--resident-gb", "3"))
        assert "\n" not in str(refusal.value)
    with monkeypatch.context() as patch:
        patch.setattr("training.checkpoint.restore", none_left)
        with pytest.raises(UserError, match="out of memory before the first step"):
            main(again(tmp_path / "run"))
    main(again(tmp_path / "run", "--resident-gb", "0"))
    assert (tmp_path / "run" / "README.md").is_file()


def test_the_line_tells_what_a_gpu_has_left(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1_250_000_000, 24e9))
    with pytest.raises(UserError, match="^out of memory at all, with 1.2 of 24.0 GB free on cuda:1: buy more$"), explained("at all", torch.device("cuda", 1), "buy more"):
        none_left()


def test_the_old_run_is_gone_before_the_one_that_fits_is_built(dataset, tmp_path, monkeypatch, quick, small_memory):
    held, started = [], []

    def watched(*given):
        assert all(thing() is None for thing in held)
        run = start(*given)
        held.extend(map(weakref.ref, (run.model, run.prepared, run.average, *run.optimizers, *run.average.averages.values())))
        started.append(run.config.accumulation)
        return run

    monkeypatch.setattr("training.train.start", watched)
    monkeypatch.setattr("training.memory.start", watched)
    main(flags(dataset, tmp_path / "run", "--ema", "0.9", "--auto-accumulate"))
    assert started == [1, 2]


def test_other_errors_are_not_hidden(dataset, tmp_path, monkeypatch):
    def broken(self, **more):
        raise RuntimeError("something else")

    monkeypatch.setattr(ViTForImageClassification, "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        main(flags(dataset, tmp_path / "run"))
