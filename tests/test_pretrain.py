"""Masked autoencoding learns from pictures alone, resumes exactly, and writes what the fine-tune command takes."""

import json
import re
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from accelerate.utils import TorchDynamoPlugin
from safetensors.torch import load_file
from transformers import ViTImageProcessorPil, ViTMAEForPreTraining

from tests.runs import again, anew, flags, full_disk, quick  # noqa: F401 (anew and quick are fixtures)
from tests.tiny import save_tiny_model
from tests.training_data import parquet_dataset, rows, write_parquet
from training import pretrain, train
from training.command_line import parse_config
from training.config import TrainConfig
from training.data import load_splits
from training.masked import POSITIONS
from training.model import HEAD
from training.model import build as build_classifier
from training.pretrain import PretrainConfig
from training.pretrain_outcome import fine_tune
from training.run import UNMASKED
from vit_demo.classifier import load
from vit_demo.errors import UserError

TINY = ["--preset", "tiny-cpu", "--image-size", "8", "--patch-size", "2", "--hidden-size", "16", "--num-hidden-layers", "2", "--num-attention-heads", "2",
        "--intermediate-size", "32", "--decoder-hidden-size", "32", "--decoder-layers", "1", "--batch-size", "16", "--epochs", "2"]


def run(dataset, output, *more):
    return pretrain.main(["--dataset", str(dataset), "--output", str(output), *TINY, *more])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return parquet_dataset(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    return run(dataset, tmp_path_factory.mktemp("runs") / "mae")


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_writes_a_folder_that_the_library_reads(folder):
    model, info = ViTMAEForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert (model.config.model_type, model.config.mask_ratio, model.config.norm_pix_loss) == ("vit_mae", 0.75, True)
    seen = model.vit(torch.zeros(1, 3, 8, 8)).last_hidden_state.shape[1]
    assert seen == 1 + 4  # the class token and a quarter of 16 patches
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 0 < metrics["reconstruction_loss"] < metrics["history"][0]["train_loss"]
    assert not any("accuracy" in name for name in [*metrics, *metrics["history"][0]])  # there is nothing to be right about
    assert metrics["dataset"]["train_images"] == 48 and "training.pretrain" in metrics["command"]
    assert {"README.md", "preprocessor_config.json", "config.json", "reconstructions.png"} <= {path.name for path in folder.iterdir()}
    told = (folder / "README.md").read_text()
    assert "(reconstructions.png)" in told and "Pictures from the training: what" in told and "to guess the mean would be 0.92" in told  # 1 - 1/12
    assert "12 of a picture's 16 patches are hidden" in told


def test_the_command_as_it_is_typed(dataset, folder, tmp_path):
    words = [sys.executable, "-m", "training.pretrain", "--dataset", str(dataset), "--output", "mae", *TINY]
    told = subprocess.run(words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(pretrain.__file__).parent.parent)}, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert equal(weights(tmp_path / "mae"), weights(folder)) and (tmp_path / "mae" / "README.md").is_file()


def test_positions_stay_as_they_began(dataset, folder):
    model, _ = pretrain.build(parse_config(["--dataset", str(dataset), "--output", "unused", *TINY], PretrainConfig), ())
    assert all(torch.equal(weights(folder)[name], model.state_dict()[name]) for name in POSITIONS)


def test_fine_tuning_starts_from_every_weight_of_the_encoder(folder):
    config = TrainConfig(dataset="unused", output="unused", model=str(folder))
    model, said = build_classifier(config, ("cat", "dog", "frog"))
    pretrained = ViTMAEForPreTraining.from_pretrained(folder).vit.state_dict()
    own = model.vit.state_dict()
    assert equal(own, pretrained) and "embeddings.position_embeddings" in own
    assert set(model.state_dict()) - {f"vit.{name}" for name in pretrained} == set(HEAD)
    assert model.vit.embeddings.position_embeddings.requires_grad  # fixed in pretraining, learned from here on
    assert any("head" in line for line in said)


def test_the_fine_tune_command_takes_it_and_leaves_the_test_pictures_unread(folder, tmp_path):
    pictures, labels = rows(48)
    test = [b"not a picture"] * 3
    columns = {"train": {"img": [{"bytes": p, "path": None} for p in pictures], "label": labels},
               "test": {"img": [{"bytes": p, "path": None} for p in test], "label": [0, 1, 2]}}
    blind = write_parquet(tmp_path / "blind", columns, {"img": datasets.Image(), "label": datasets.ClassLabel(names=["red", "green", "blue"])})
    output = train.main(["--dataset", str(blind), "--model", str(folder), "--test-split", "none", "--validation-images", "12", "--epochs", "1",
                         "--batch-size", "12", "--output", str(tmp_path / "vit")])
    metrics = load(output).metrics
    assert metrics["base_model"] is None and metrics["dataset"]["test_split"] is None  # no weights of others went into it
    assert [run["command"].split()[:3] for run in metrics["earlier"]] == [["python", "-m", "training.pretrain"]]
    assert "test_accuracy" not in metrics and 0 <= metrics["validation_accuracy"] <= 1 and metrics["images"] == 12
    with pytest.raises(UserError, match="--validation-images"):
        train.main(["--dataset", str(blind), "--model", str(folder), "--test-split", "none", "--output", str(tmp_path / "other")])


def test_labels_and_test_pictures_change_nothing(folder, tmp_path):
    pictures, labels = rows(48)
    turned = [(label + 1) % 3 for label in labels]
    columns = {"train": {"img": [{"bytes": p, "path": None} for p in pictures], "label": turned}, "test": {"img": [{"bytes": b"no picture", "path": None}], "label": [0]}}
    other = write_parquet(tmp_path / "other", columns, {"img": datasets.Image(), "label": datasets.ClassLabel(names=["red", "green", "blue"])})
    assert equal(weights(run(other, tmp_path / "mae")), weights(folder))


def test_pictures_held_out_for_the_fine_tune_are_not_learned_from_but_filled_in_at_the_end(dataset, tmp_path, capsys):
    output = run(dataset, tmp_path / "mae", "--validation-images", "12")
    told = capsys.readouterr().out
    assert "36 training pictures, 12 held out to measure on\n" in told and "accuracy" not in told
    assert equal(weights(output), weights(run(dataset, tmp_path / "first", "--max-train-images", "36")))
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["dataset"]["train_images"] == 36 and not any("validation" in name for name in metrics["history"][0])
    model, held_out = ViTMAEForPreTraining.from_pretrained(output), load_splits(TrainConfig(dataset=str(dataset), validation_images=12), 8, progress=False).validation
    pixels = held_out.pixels / 127.5 - 1
    with torch.no_grad():
        several = [model(pixel_values=pixels).loss.item() for _ in range(50)]  # other patches hidden each time
    assert min(several) < metrics["validation_reconstruction_loss"] < max(several)
    assert f"on 12 pictures that it did not learn from {metrics['validation_reconstruction_loss']:.4f}" in (output / "README.md").read_text()


def test_without_a_test_split_the_pictures_that_a_fine_tune_measures_on_are_not_learned_from(tmp_path, capsys):
    dataset = parquet_dataset(tmp_path / "data", train=60, test=0)
    output = run(dataset, tmp_path / "mae", "--seed", "3")  # whichever seed the two runs have
    assert "54 training pictures, 6 held out to measure on\n" in capsys.readouterr().out
    found, fine_tune = json.loads((output / "metrics.json").read_text())["dataset"], load_splits(TrainConfig(dataset=str(dataset)), 8, progress=False)
    assert found["held_out_images"] == len(fine_tune.held_out) == 6
    learned = load_splits(pretrain.PretrainConfig(dataset=str(dataset)), 8, progress=False).train
    assert torch.equal(learned.pixels, fine_tune.train.pixels)
    assert "on 6 pictures that it did not learn from" in (output / "README.md").read_text()
    whole = load_splits(pretrain.PretrainConfig(dataset=str(dataset), test_split="none"), 8, progress=False)
    assert len(whole.train) == 60 and whole.held_out is None


@pytest.mark.parametrize("flag, attention", [("--precision=bf16", "eager"), ("--compile=yes", UNMASKED)])
def test_the_decoder_attends_as_the_encoder_does(dataset, tmp_path, monkeypatch, anew, flag, attention):
    start, models = train.start, []

    def watched(*given):
        run = start(*given)
        models.append(run.model)  # let go of at the end
        return run

    monkeypatch.setattr(train, "start", watched)
    monkeypatch.setattr("training.run.TorchDynamoPlugin", lambda backend, **more: TorchDynamoPlugin(backend=backend.replace("inductor", "eager"), **more))
    run(dataset, tmp_path / "mae", flag, "--epochs", "1")
    assert {part.config._attn_implementation for part in models[0].modules() if hasattr(part, "config")} == {attention}
    assert "attn" not in (tmp_path / "mae" / "config.json").read_text()


def test_a_stopped_run_goes_on_to_the_same_weights(dataset, folder, tmp_path):
    output = tmp_path / "mae"
    stops = 0
    arguments, stop = ["--dataset", str(dataset), "--output", str(output), *TINY], ["--stop-after", "1e-6"]
    for _ in range(20):
        try:
            pretrain.main(arguments + stop)
            break
        except SystemExit as left:
            assert left.code == 130
            stops += 1
        arguments = ["--output", str(output), "--resume"]
    assert stops >= 3
    assert equal(weights(output), weights(folder))


def test_a_disk_that_fills_up_under_the_processor_leaves_a_run_that_goes_on(dataset, folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ViTImageProcessorPil, "save_pretrained", full_disk)
        with pytest.raises(UserError, match="^cannot save the model: No space left on device; .* What was saved before is intact: free space, then --resume$"):
            run(dataset, tmp_path / "mae")
    assert {path.name for path in (tmp_path / "mae").iterdir()} == {"state", "train.yaml"}
    assert equal(weights(pretrain.main(again(tmp_path / "mae"))), weights(folder))


def test_the_other_commands_run_is_not_gone_on_with(dataset, folder, tmp_path, quick):
    output = train.main(flags(dataset, tmp_path / "vit", "--epochs", "1"))
    with pytest.raises(UserError, match=r"the saved state is of another model, with another decoder\.\S+ or none: go on with the command that started the run") as refusal:
        pretrain.main(again(output))
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="no such setting: decoder_hidden_size"):
        train.main(again(folder))


def test_the_command_that_it_names_next_is_one_of_the_same_pictures():
    assert fine_tune("my mae", "owner/data", PretrainConfig(), 50_000) == "python -m training.train --model 'my mae' --dataset owner/data --output runs/vit"
    config = PretrainConfig(dataset_config="small", image_column="a photo", train_split="unlabelled", epochs=7, skip_bad=True)
    assert fine_tune("mae", "data", config, 50_000).endswith(" --dataset data --skip-bad --dataset-config small --image-column 'a photo' --train-split unlabelled --output runs/vit")


@pytest.mark.parametrize("given, pictures, carried", [
    (["--preset", "cifar-patch4"], 50_000, "--preset cifar-patch4 --layer-decay 0.75"),
    (["--preset", "cifar-patch4", "--batch-size", "256"], 50_000, "--preset cifar-patch4 --layer-decay 0.75 --batch-size 256"),
    (["--preset", "tiny-cpu", "--image-size", "64"], 50_000, "--preset tiny-cpu --layer-decay 0.75 --image-size 64"),
    (["--model", "some/mae"], 50_000, ""),
    (["--model", "some/mae", "--preset", "fine-tune-cpu"], 50_000, "--preset fine-tune-cpu"),
    (["--model", "some/mae", "--batch-size", "96"], 100, "--batch-size 96"),
])
def test_the_command_that_it_names_next_is_one_of_the_same_recipe(given, pictures, carried):
    config = parse_config(["--dataset", "some/data", "--output", "unused", *given], PretrainConfig)
    assert fine_tune("mae", "data", config, pictures) == f"python -m training.train {' '.join(filter(None, ['--model mae --dataset data', carried, '--output runs/vit']))}"


def test_the_command_that_it_names_next_runs(dataset, tmp_path, monkeypatch, capsys):
    """Word by word, though the preset alone would ask for more pictures in a batch than there are."""
    monkeypatch.chdir(tmp_path)
    run(dataset, "mae")
    words = shlex.split(capsys.readouterr().out.split("fine-tune it with\n")[1])
    assert words[:3] == ["python", "-m", "training.train"] and train.main([*words[3:], "--dry-run"])
    told = capsys.readouterr().out
    assert "pretrained: mae, " in told and "interpolated" not in told and "3 steps of 16 pictures" in told and "trained by muon" in told


def test_output_and_card_name_it(tmp_path, capsys):
    columns = {"most": {name: [{"bytes": p, "path": None} for p in rows(16)[0]] for name in ("photo", "mask")}}
    data = write_parquet(tmp_path / "data", columns, {"photo": datasets.Image(), "mask": datasets.Image()})
    output = run(data, tmp_path / "mae", "--train-split", "most", "--image-column", "photo", "--epochs", "1", "--test-split", "none")
    told, flags_of_it = capsys.readouterr().out, "--preset tiny-cpu --layer-decay 0.75 --image-size 8 --batch-size 16 --image-column photo --train-split most --output runs/vit"
    assert f"--dataset {data} {flags_of_it}" in told and f"--dataset data {flags_of_it}" in (output / "README.md").read_text()


def test_half_the_size_when_asked(dataset, tmp_path):
    output = run(dataset, tmp_path / "mae", "--half", "--epochs", "1", "--max-train-images", "16")
    assert {tensor.dtype for tensor in weights(output).values()} == {torch.float16}
    model, _ = build_classifier(TrainConfig(dataset="unused", output="unused", model=str(output)), ("a", "b"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_settings_that_mean_nothing_here_are_no_flags(dataset, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        run(dataset, tmp_path / "mae", "--mixup", "0.8")
    assert left.value.code == 2 and "--mixup" in capsys.readouterr().err
    with pytest.raises(UserError, match="--hidden-size 18 is not a multiple of 4"):
        run(dataset, tmp_path / "mae", "--hidden-size", "18")
    with pytest.raises(UserError, match="multiple of 32: take 32"):
        run(dataset, tmp_path / "mae", "--decoder-hidden-size", "48")


@pytest.mark.parametrize(("ratio", "sees"), [("0", 16), ("0.95", 0)])
def test_a_share_that_leaves_nothing_to_see_or_to_fill_in_is_refused_before_the_first_step(ratio, sees, dataset, tmp_path):
    told = f"--mask-ratio {float(ratio)}: the encoder would see {sees} of 16 patches, and must see some but not all: take a ratio above 0 and below 15/16, or more patches"
    with pytest.raises(UserError, match=f"^{told}$"):
        run(dataset, tmp_path / "mae", "--mask-ratio", ratio)
    assert not (tmp_path / "mae").exists()


def test_goes_on_from_an_earlier_one_decoder_and_all(dataset, folder, tmp_path):
    config = PretrainConfig(dataset="unused", output="unused", model=str(folder), mask_ratio=0.5, normalise_pixels=False)
    model, [said] = pretrain.build(config, ())
    assert equal(model.state_dict(), ViTMAEForPreTraining.from_pretrained(folder).state_dict())
    assert (model.config.mask_ratio, model.config.norm_pix_loss) == (0.5, False) and model(torch.zeros(1, 3, 8, 8)).mask.sum() == 8
    assert said.startswith(f"going on from the masked autoencoder {folder}: 8 px, patch 2, 8 of 16 patches seen; encoder ")
    output = pretrain.main(["--dataset", str(dataset), "--model", str(folder), "--epochs", "1", "--batch-size", "16", "--output", str(tmp_path / "more")])
    metrics = json.loads((output / "metrics.json").read_text())
    before = json.loads((folder / "metrics.json").read_text())
    assert metrics["history"][0]["train_loss"] < before["history"][0]["train_loss"]
    assert metrics["base_model"] is None and metrics["earlier"] == [{name: before[name] for name in ("command", "epochs", "images_seen", "seconds", "device", "dataset")}]
    card = (output / "README.md").read_text()
    assert f"- Went on from 2 epochs of `{before['command']}`.\n" in card and re.search(r"Trained for 1 epochs more, \d+ s on ", card)
    assert "Went on" not in (folder / "README.md").read_text()


def test_another_picture_size_has_new_positions_and_the_old_weights(folder, tmp_path):
    config = PretrainConfig(dataset="unused", output="unused", model=str(folder), image_size=16)
    model, _ = pretrain.build(config, ())
    fresh, _ = pretrain.build(PretrainConfig(dataset="unused", output="unused", image_size=16, patch_size=2, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                             intermediate_size=32, decoder_hidden_size=32, decoder_layers=1), ())
    mine, before, new = model.state_dict(), ViTMAEForPreTraining.from_pretrained(folder), fresh.state_dict()
    earlier = before.state_dict()
    assert equal({name: mine[name] for name in mine.keys() - set(POSITIONS)}, {name: earlier[name] for name in earlier.keys() - set(POSITIONS)})
    assert all(torch.allclose(mine[name], new[name], atol=1e-6) and mine[name].shape[1] == 1 + 64 for name in POSITIONS)
    for name in POSITIONS:
        earlier[name][:, 1:] += 0.5  # a mean that its weights expect, such as published ones have
    before.save_pretrained(tmp_path)
    shutil.copy(folder / "preprocessor_config.json", tmp_path)
    shifted = pretrain.build(PretrainConfig(dataset="unused", output="unused", model=str(tmp_path), image_size=16), ())[0].state_dict()
    for name in POSITIONS:
        assert torch.allclose(shifted[name][:, 1:], new[name][:, 1:] + 0.5, atol=1e-6) and not shifted[name][:, 0].any()
    with pytest.raises(UserError, match="--image-size 9 is not divisible by the patch of 2 px"):
        pretrain.build(PretrainConfig(dataset="unused", output="unused", model=str(folder), image_size=9), ())


def test_what_has_no_decoder_is_not_gone_on_with(tmp_path):
    vit = save_tiny_model(tmp_path / "vit")
    with pytest.raises(UserError, match=r"lacks \d+ tensors of a masked autoencoder \(decoder\..* …\): give the folder of an earlier pretraining") as refusal:
        pretrain.build(PretrainConfig(dataset="unused", output="unused", model=str(vit)), ())
    assert "\n" not in str(refusal.value)


def test_pictures_need_no_labels(dataset, folder, tmp_path, capsys):
    """Files in one folder, without a label column, or all of one class: the same weights as with labels."""
    pictures, labels = rows(48)
    bare = write_parquet(tmp_path / "bare", {"train": {"img": [{"bytes": p, "path": None} for p in pictures]}}, {"img": datasets.Image()})
    (tmp_path / "loose").mkdir()
    for number, picture in enumerate(pictures):
        (tmp_path / "loose" / f"{number:03d}.png").write_bytes(picture)
    for source in (bare, tmp_path / "loose"):
        output = run(source, tmp_path / f"mae-of-{source.name}", "--test-split", "none")
        assert equal(weights(output), weights(folder))
    assert "classes" not in capsys.readouterr().out
    with pytest.raises(UserError, match="no label column among img: choose one with --label-column"):
        load_splits(TrainConfig(dataset=str(bare)), 8)
