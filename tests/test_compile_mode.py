"""When a GPU replays a step as one, and what is measured beside it."""

from types import SimpleNamespace

import pytest
import torch

from tests.runs import RANDOM, anew, dataset, flags  # noqa: F401 (anew and dataset are fixtures)
from training import run, train
from training.config import TrainConfig
from vit_demo.errors import UserError


@pytest.mark.parametrize("device, hip, processes, accumulation, named, mode", [
    ("cuda", None, 1, 1, None, "reduce-overhead"),
    ("cuda", None, 1, 1, "default", "reduce-overhead"),  # accelerate launch says it where nobody chose
    ("cuda", None, 1, 1, "max-autotune", "max-autotune"),
    ("cuda", None, 1, 2, None, "default"),
    ("cuda", None, 2, 1, None, "default"),
    ("cuda", "7.0", 1, 1, None, "default"),
    ("cpu", None, 1, 1, None, "default"),
])
def test_only_whole_steps_of_one_gpu_are_replayed(monkeypatch, device, hip, processes, accumulation, named, mode):
    monkeypatch.delenv("ACCELERATE_DYNAMO_MODE", raising=False)
    if named:
        monkeypatch.setenv("ACCELERATE_DYNAMO_MODE", named)
    accelerator = SimpleNamespace(device=torch.device(device), num_processes=processes)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert run.compile_mode(TrainConfig(output="unused", batch_size=8, accumulation=accumulation), accelerator) == mode


def test_a_run_compiles_in_the_mode_that_suits_it(dataset, tmp_path, monkeypatch, anew):
    modes = []
    monkeypatch.setattr(run, "compile_mode", lambda config, accelerator: modes.append(config.accumulation) or "max-autotune-no-cudagraphs")
    monkeypatch.setattr(torch, "compile", lambda model, **how: modes.append(how.get("mode")) or model)
    train.main(flags(dataset, tmp_path / "run", "--compile", "yes", "--epochs", "1"))
    assert modes[:2] == [1, "max-autotune-no-cudagraphs"]


@pytest.mark.parametrize("first, then", [(["--precision", "float32"], ["--precision", "bf16"]), (["--compile", "no"], ["--compile", "yes"])])
def test_a_second_run_of_a_process_that_would_not_get_what_it_asks_for_is_refused(first, then, dataset, tmp_path, anew):
    """As in a notebook; accelerate would leave out the compiling without a word."""
    train.main(flags(dataset, tmp_path / "run", *first, "--epochs", "1"))
    train.main(flags(dataset, tmp_path / "same", *first, "--epochs", "1"))
    with pytest.raises(UserError, match="restart it"):
        train.main(flags(dataset, tmp_path / "other", *then, "--epochs", "1"))
    assert not (tmp_path / "other").exists()


def test_what_is_measured_on_the_way_is_not_the_compiled_model(dataset, tmp_path, monkeypatch, anew):
    """So its number is that of the written model."""
    learned = []

    def refuse(model, **how):
        def compiled(*given, **more):
            assert torch.is_grad_enabled(), "measured by what was compiled to learn"
            learned.append(model)
            return model(*given, **more)

        wrapped = torch.nn.Module()
        wrapped.inner, wrapped.forward = model, compiled
        return wrapped if isinstance(model, torch.nn.Module) else model

    monkeypatch.setattr(torch, "compile", refuse)
    output = train.main(flags(dataset, tmp_path / "run", *RANDOM, "--compile", "yes", "--validation-images", "4", "--test-split", "none"))
    metrics = train.outcome.report.read_metrics(output)
    assert learned and metrics["history"][-1]["validation_accuracy"] == metrics["validation_accuracy"]
