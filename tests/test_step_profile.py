"""benchmarks/step_profile.py keeps its contract on a tiny model: both kinds of step are timed, and told apart by operation."""

import json
import statistics

import pytest

from benchmarks import step_profile
from training.config import TrainConfig

TINY = dict(image_size=8, patch_size=4, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)


@pytest.mark.parametrize("kind, only_there", [("train", "aten::_log_softmax"), ("pretrain", "aten::argsort")])
def test_a_step_is_timed_and_taken_apart(monkeypatch, capsys, kind, only_there):
    monkeypatch.setattr(step_profile, "ROWS", 10**6)
    monkeypatch.setattr(step_profile, "WARM_UP", 1)
    monkeypatch.setattr(step_profile, "settings", lambda args: TrainConfig(**TINY, batch_size=args.batch_size, epochs=10**6, optimizer="muon", output="unused", snapshots=0))
    monkeypatch.setattr(step_profile.PretrainConfig, "from_preset", classmethod(lambda cls, name: TINY))
    found = step_profile.main([kind, "--batch-size", "4", "--steps", "2"])
    told = capsys.readouterr().out
    assert json.loads(told.splitlines()[-1]) == found and found["step"] == kind and found["batch"] == 4
    assert found["images_per_second"] == pytest.approx(4e3 / statistics.median(found["ms_a_step"]), rel=0.02) and found["ms_on_device"] > 0
    assert f"  {only_there}\n" in told and "optim.py" in told  # of the table of operations; of that of functions
