"""What a dry run tells: what will happen, how long it will take, in how much memory."""

import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from tests.runs import again, dataset, flags, quick  # noqa: F401 (dataset and quick are fixtures)
from tests.training_data import parquet_dataset
from training import forecast
from training.command_line import parse_config
from training.pretrain import PretrainConfig
from training.train import main


def test_a_dry_run_says_what_would_happen_and_writes_nothing(dataset, tmp_path, capsys):
    main(flags(dataset, tmp_path / "run", "--validation-images", "8", "--dry-run"))
    told = capsys.readouterr().out
    for line in ("40 training pictures, 8 to choose on, 12 test; 3 classes", "3 epochs x 5 steps of 8 pictures; 0.00 M parameters trained by muon", "device cpu, float32, 1 process(es)"):
        assert line in told
    assert told.count("recipe from preset tiny-cpu: muon at 0.004") == 1 and told.count("\naugmentation: crop padding 4, flip\n") == 1
    assert "about 1 s (" in told and "GB of memory, from 4 trial steps" in told and not (tmp_path / "run").exists()


@pytest.mark.parametrize("more, kind, told", [
    (["--model", "some/vit"], forecast.TrainConfig, "recipe from preset fine-tune: adamw at 0.0005, cosine after 10% warm-up, weight decay 0.05, layer decay 0.75, label smoothing 0.1, drop path 0.1, mixup 0.8 and cutmix 1 on 50% of the batches until 80%, weight average 0.999"),
    (["--model", "some/vit", "--preset", "fine-tune-cpu", "--learning-rate", "1e-4"], forecast.TrainConfig, "recipe from preset fine-tune-cpu: adamw at 0.0001, linear after 10% warm-up, weight decay 0.05, label smoothing 0.1"),
    (["--model", "some/vit", "--preset", "fine-tune-cpu", "--clip", "0", "--train-last-blocks", "2"], forecast.TrainConfig, "recipe from preset fine-tune-cpu: adamw at 0.0005, linear after 10% warm-up, weight decay 0.05, label smoothing 0.1, gradients not clipped, frozen but for the last 2 layers, the final LayerNorm and the head"),
    (["--model", "some/vit", "--preset", "fine-tune-cpu", "--clip", "0.5", "--train-last-blocks", "0"], forecast.TrainConfig, "recipe from preset fine-tune-cpu: adamw at 0.0005, linear after 10% warm-up, weight decay 0.05, label smoothing 0.1, gradients clipped at 0.5, frozen but for the head"),
    (["--preset", "tiny-cpu", "--ema", "0", "--patch-dropout", "0.5"], forecast.TrainConfig, "recipe from preset tiny-cpu: muon at 0.004 (AdamW 0.001), linear after 5% warm-up, weight decay 0.1 (AdamW 0.05), label smoothing 0.1, patch dropout 0.5 until 100%, cutmix 1 on 30% of the batches until 60%"),
    (["--preset", "tiny-cpu"], PretrainConfig, "recipe: muon at 0.004 (AdamW 0.001), cosine after 5% warm-up, weight decay 0.1 (AdamW 0.05)"),
])
def test_the_plan_tells_the_recipe_that_applies(more, kind, told):
    assert forecast.recipe(parse_config(["--dataset", "some/data", "--output", "out", *more], kind)) == told


@pytest.mark.parametrize("more, told", [
    (["--preset", "tiny-cpu"], "crop padding 4, flip"), (["--preset", "cifar-patch4"], "crop padding 4, flip, randaugment 2 at magnitude 0.5, erasing 0.25"),
    (["--preset", "tiny-cpu", "--crop-area", "0.25", "--no-flip"], "crops of 0.25 of the area or more"), (["--preset", "tiny-cpu", "--crop-padding", "0", "--no-flip"], "none")])
def test_the_plan_tells_the_augmentation_that_applies(more, told):
    assert forecast.augmentation(parse_config(["--dataset", "some/data", "--output", "out", *more])) == f"augmentation: {told}"


@pytest.mark.parametrize("device, mixed, asked, told", [("cuda", "no", "auto", True), ("cuda", "no", "float32", False), ("cuda", "bf16", "auto", False), ("cpu", "no", "auto", False)])
def test_a_gpu_without_bf16_is_told_what_that_costs(device, mixed, asked, told):
    said = forecast.precision(forecast.TrainConfig(precision=asked), SimpleNamespace(device=torch.device(device), mixed_precision=mixed))
    assert said == ("float32" if mixed == "no" else "bf16") + told * " (this GPU has no bf16 of its own, and fp16 is not offered here: steps in 16 bits would be faster and take less memory)"


@pytest.mark.parametrize("epochs, asked, kept", [(1, 2, "none"), (3, 8, "2"), (3, 2, None), (1, 0, None)])
def test_a_run_says_when_it_keeps_fewer_snapshots_than_were_asked_for(dataset, tmp_path, capsys, epochs, asked, kept):
    main(flags(dataset, tmp_path / "run", "--epochs", str(epochs), "--snapshots", str(asked), "--dry-run"))
    told = [line for line in capsys.readouterr().out.splitlines() if "--snapshots" in line]
    assert told == ([f"--snapshots {asked} keeps {kept}: with --epochs {epochs} no more epochs come before the last, whose weights are the model itself"] if kept else [])


def test_a_dry_run_tries_both_kinds_of_step_where_patches_are_dropped_for_a_while(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(forecast, "seconds_a_step", lambda run, epoch: 60.0 if run.config.patches_dropped(epoch) else 120.0)
    main(flags(dataset, tmp_path / "run", "--patch-dropout", "0.5", "--patch-dropout-until", "0.3", "--dry-run"))
    steps = 48 // 8
    assert f"about {steps * (60 + 120 + 120) / 60:.0f} min (" in capsys.readouterr().out  # three epochs


def test_a_dry_run_of_a_resumption_forecasts_what_is_left(tmp_path, quick, capsys, monkeypatch):
    dataset, output = parquet_dataset(tmp_path / "data", train=16, test=3), tmp_path / "run"
    monkeypatch.setattr(forecast, "seconds_a_step", lambda run, epoch: 60.0 if run.config.patches_dropped(epoch) else 120.0)
    with pytest.raises(SystemExit):
        main(flags(dataset, output, "--patch-dropout", "0.5", "--patch-dropout-until", "0.3", "--stop-after", "0.00001"))
    main(again(output, "--dry-run"))
    assert "about 9 min more (" in capsys.readouterr().out  # 1 step of the first epoch, 2 x 2 of the others
    with pytest.raises(SystemExit):
        main(again(output, "--stop-after", "0.00001"))
    monkeypatch.setattr(forecast, "seconds_a_step", lambda run, epoch: 120.0 if not run.config.patches_dropped(epoch) else pytest.fail("of that kind none is left"))
    main(again(output, "--dry-run"))
    assert "about 8 min more (" in capsys.readouterr().out
    main(again(output))
    main(again(output, "--dry-run"))  # its card is not written
    assert capsys.readouterr().out.endswith("no step is left: the model is to be measured and written\n")


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux counts, so many KiB")
def test_memory_is_told_in_bytes_on_every_system(monkeypatch):
    linux = forecast.peak_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert forecast.peak_memory() * 1024 == pytest.approx(linux, rel=0.1)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(forecast.psutil.Process, "memory_info", lambda process: namedtuple("Memory", "peak_wset")(7))
    assert forecast.peak_memory() == 7
