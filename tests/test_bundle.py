"""A trained folder becomes the model that the app carries: the same answers in half the bytes, or nothing changes."""

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import ViTForImageClassification

from tests.models import save_model
from training import bundle as bundling
from training.bundle import bundle
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.samples import SAMPLES


@pytest.fixture
def trained(tmp_path):
    """A folder as training leaves it."""
    folder = save_model(tmp_path / "trained")
    (folder / "metrics.json").write_text(json.dumps({"test_accuracy": 0.5, "test_loss": 1.0}))
    for name in ("README.md", "confusion.png", ".eval_results/cifar10.yaml", "state/step-1/model.safetensors", "train.yaml",
                 "snapshots/epoch-001/config.json", "snapshots/epoch-001/model.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def target(tmp_path):
    """Where an earlier bundled model lies."""
    target = tmp_path / "app" / "bundled"
    target.mkdir(parents=True)
    (target / "old.txt").write_text("old")
    return target


def files(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_the_published_files_in_half_the_bytes(trained, target):
    said = bundle(trained, target)
    assert files(target) == files(trained) - {"state/step-1/model.safetensors", "train.yaml"}
    for name in files(target) - {"config.json", "model.safetensors"}:
        assert (target / name).read_bytes() == (trained / name).read_bytes()
    assert (target / "model.safetensors").stat().st_mode == (target / "config.json").stat().st_mode  # whoever may read one may read the other
    with safe_open(target / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"F16"}
    assert said.startswith("trained is bundled") and [path.name for path in target.parent.iterdir()] == ["bundled"]


def test_it_gives_the_same_answers(trained, target):
    bundle(trained, target)
    images = [Image.open(path).convert("RGB") for path, *_ in SAMPLES]
    here, there = load(trained), load(target)
    assert there.labels == here.labels and there.model.dtype == torch.float32
    torch.testing.assert_close(there.logits(images), here.logits(images), atol=5e-3, rtol=0)


def spoil_answer(folder):
    """Two classes apart by less than float16 tells."""
    model = ViTForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias[:] = torch.tensor([4.0, 4.0001, *[0.0] * 8])
    model.save_pretrained(folder)


@pytest.mark.parametrize(("spoil", "says"), [
    (spoil_answer, "float16 changes an answer"), (lambda folder: (folder / "metrics.json").unlink(), "no measured accuracy in metrics.json: finish the training$"),
    (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors")])
def test_what_will_not_do_leaves_the_old_one(trained, target, spoil, says):
    spoil(trained)
    with pytest.raises(UserError, match=says):
        bundle(trained, target)
    assert files(target.parent) == {"bundled/old.txt"}


def test_too_large_leaves_the_old_one(trained, target, monkeypatch):
    monkeypatch.setattr(bundling, "MOST_BYTES", 100_000)
    with pytest.raises(UserError, match="carries at most 0 MB"):
        bundle(trained, target)
    assert files(target.parent) == {"bundled/old.txt"}


def test_too_many_snapshots_leave_the_old_one(trained, target, monkeypatch):
    monkeypatch.setattr(bundling, "MOST_OF_SNAPSHOTS", 30)
    with pytest.raises(UserError, match=r"0\.0 MB of snapshots; the app carries at most 0 MB: take some out of snapshots/"):
        bundle(trained, target)
    assert files(target.parent) == {"bundled/old.txt"}


def test_a_film_has_a_place_of_its_own_and_snapshots(trained, target, monkeypatch, capsys):
    monkeypatch.setattr(bundling, "BUNDLED", target)
    monkeypatch.setattr(bundling, "CARRIED", target.parent / "film")
    bundling.main([str(trained), "--film"])
    assert files(target) == {"old.txt"} and "snapshots/epoch-001/model.safetensors" in files(target.parent / "film")
    (trained / "snapshots/epoch-001/model.safetensors").unlink()
    with pytest.raises(UserError, match="has no snapshots: train with --snapshots N"):
        bundling.main([str(trained), "--film"])
    bundling.main([str(trained)])
    assert "model.safetensors" in files(target) and capsys.readouterr().out.count("is bundled") == 2


def test_the_command_line_ends_with_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bundle", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as end:
        bundling.cli()
    assert end.value.code == 2 and capsys.readouterr().err.startswith("error: no folder")
