"""What travels between the machines of a record run: whole or not at all, and small enough."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from transformers import ViTConfig, ViTForImageClassification, ViTMAEConfig, ViTMAEForPreTraining

from benchmarks import record_parts, record_run
from tests.record_stages import ARCHITECTURE, Played, command, dataset, play, unpacked  # noqa: F401 (command, dataset and play are fixtures)
from training import checkpoint
from training.config import TrainConfig, read_preset
from training.optim import WeightAverage, make_optimizers
from vit_demo.errors import UserError

ROOT = Path(__file__).parent.parent
RECORD = yaml.safe_load(record_run.PLAN.read_text())


def test_parts_begin_a_run_or_are_refused(command, play, tmp_path):
    play(codes={"final-seed3": 2})
    with pytest.raises(UserError):
        command("run", "--parts", str(tmp_path / "parts"))
    play()
    with pytest.raises(UserError, match="is there already"):
        command("run", "--from-parts", str(tmp_path / "parts"))
    (tmp_path / "empty").mkdir()
    stages = play()
    assert command("empty", "--from-parts", str(tmp_path / "parts")) and [name for name, *_ in stages.begun] == ["final-seed3"]
    part = tmp_path / "parts" / "record.tar.gz.00"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(UserError, match="cannot be unpacked"):
        command("half", "--from-parts", str(tmp_path / "parts"))
    assert not list(tmp_path.glob("*half*"))


def test_too_much_for_the_door_is_refused_and_old_parts_go(tmp_path, monkeypatch):
    monkeypatch.setattr(record_parts, "PART_BYTES", 1000)
    monkeypatch.setattr(record_parts, "MOST_BYTES", 5000)
    noise, more = tmp_path / "noise", tmp_path / "more"
    for path in (noise, more):
        path.write_bytes(torch.randint(0, 256, (4000,), dtype=torch.uint8).numpy().tobytes())
    assert len(record_parts.pack([noise], tmp_path, tmp_path / "parts")) == 5
    with pytest.raises(UserError, match="the limit is 0 MiB"):
        record_parts.pack([noise, more], tmp_path, tmp_path / "parts")
    assert unpacked(tmp_path / "parts", tmp_path / "whole") == ["noise"]  # those of before are as they were
    noise.write_bytes(b"less")
    [part] = record_parts.pack([noise], tmp_path, tmp_path / "parts")
    assert list((tmp_path / "parts").iterdir()) == [part]


def filled(model, config) -> dict[str, torch.Tensor]:
    """The state of a run in its midst: nothing in it is easy to compress."""
    optimizers, average = make_optimizers(model, config, fused=False), WeightAverage(model, config.ema)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    tensors = checkpoint.flatten(model, optimizers, average)
    return {name: tensor if tensor.ndim == 0 else torch.randn_like(tensor) for name, tensor in tensors.items()}


def test_the_record_run_fits_through_the_door(tmp_path, monkeypatch):
    recipe = read_preset("cifar-patch4")
    shape = {name: recipe[name] for name in ARCHITECTURE}
    record = record_run.Record({**RECORD, "final": {"epochs": 1, "seeds": [0, 1]}}, "", tmp_path / "run", parts=tmp_path / "parts")
    monkeypatch.setattr("training.optim.orthogonalise", lambda matrices: matrices)
    played, name = Played(), next(iter(RECORD["candidates"]))
    record.check_plan()
    record.recipe.write_text(json.dumps({"chosen": name}))
    for stage in (record.pretrain, *record.candidates.values(), record.finals[0]):
        played(stage.module, stage.arguments(1), 60)
    ViTMAEForPreTraining(ViTMAEConfig(**shape, decoder_hidden_size=128, decoder_num_hidden_layers=2, decoder_num_attention_heads=4, decoder_intermediate_size=512)).half().save_pretrained(record.pretrain.folder)
    model = ViTForImageClassification(ViTConfig(num_labels=10, **shape))
    assert model.num_parameters() <= 6e6
    for stage in (*record.candidates.values(), record.finals[0]):
        model.save_pretrained(stage.folder)
    last = record.finals[1].folder
    last.mkdir()
    (last / "train.yaml").touch()
    state = checkpoint.save(last / "state", 1, filled(model, TrainConfig(**recipe)), {})
    assert max(path.stat().st_size for path in state.iterdir()) > 15 * 2**20  # a state's one file is cut too
    record.pack()
    sizes = [path.stat().st_size for path in (tmp_path / "parts").iterdir()]
    assert max(sizes) <= 15 * 2**20 and 45 * 2**20 <= sum(sizes) <= 60 * 2**20
    files = unpacked(tmp_path / "parts", tmp_path / "there")
    assert f"final-seed1/state/{state.name}/manifest.json" in files and "final-seed0/metrics.json" in files
    assert [path for path in files if path.endswith("model.safetensors")] == ["mae/model.safetensors"]
    shutil.rmtree(last)
    played(record.finals[1].module, record.finals[1].arguments(1), 60)
    record.pack()
    assert "final-seed1/model.safetensors" in unpacked(tmp_path / "parts", tmp_path / "then")  # the last one ships


def test_one_call_on_a_lent_machine(tmp_path):
    """It takes in what it is brought, and goes on with what is there before what was brought."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    home = tmp_path / "home"

    def call(*arguments: str, **brought: str) -> list[str]:
        shutil.rmtree(tmp_path / "load", ignore_errors=True)
        (tmp_path / "load").mkdir()
        for name in brought.values():
            (tmp_path / "load" / name).touch()
        (tmp_path / "asked").write_text("")
        subprocess.run(["bash", ROOT / "benchmarks" / "record_call.sh", tmp_path / "load", *arguments], check=True, cwd=ROOT,
                       env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "RECORD_HOME": str(home)})
        return (tmp_path / "asked").read_text().splitlines()

    assert [line.split()[:3] for line in call(one="datasets-5.whl", two="train-00000-of-00004.parquet")] == [["-m", "pip", "install"]]
    assert (home / "cifar10" / "train-00000-of-00004.parquet").is_file()
    begins = f"-m benchmarks.record_run --dataset {home}/cifar10 --output {home}/run --minutes 9 --parts out"
    assert call("9", "out", one="test-00000-of-00001.parquet") == [begins]
    assert call("9", "out", one="record.tar.gz.00") == [f"{begins} --from-parts {home}/parts"]
    (home / "run").mkdir()
    (home / "run" / "plan.json").touch()
    assert call("9", "out") == [begins]
