"""A tiny record run: its plan, its stages in this process or only played, its command."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks import record_parts, record_run, record_stage
from tests.training_data import parquet_dataset
from training import pretrain, train

ARCHITECTURE = dict(image_size=8, patch_size=2, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
PLAN = {"pretrain": {"preset": "tiny-cpu", **ARCHITECTURE, "decoder_hidden_size": 32, "decoder_layers": 1, "batch_size": 16, "epochs": 1},
        "train": {"preset": "tiny-cpu", "image_size": 8, "batch_size": 12, "bank": 0},
        "choose": {"validation_images": 12, "epochs": 1},
        "candidates": {"still": {"learning_rate": 1e-9, "muon_learning_rate": 1e-9, "warmup": 1.0}, "moving": {"learning_rate": 0.01, "muon_learning_rate": 0.03}},
        "final": {"epochs": 2, "seeds": [3]}}


def perform(module: str, arguments: list[str], seconds: float) -> int:
    """A stage in this process."""
    try:
        {"training.train": train, "training.pretrain": pretrain}[module].main(arguments)
    except SystemExit as left:
        return left.code
    return 0


class Played:
    """Stages that take time on a clock of their own, and only write the files that tell of it. `codes`: folder -> exit status at the
    end, `refused`: before it began; `work` and `start`: seconds of steps, and of what comes before them."""

    def __init__(self, codes: dict[str, int] | None = None, refused: dict[str, int] | None = None, work: float = 0.0, start: float = 0.0):
        self.codes, self.refused, self.work, self.start = codes or {}, refused or {}, work, start
        self.now, self.begun, self.done = 0.0, [], {}

    def __call__(self, module: str, arguments: list[str], seconds: float) -> int:
        flags = dict(zip(arguments[::2], arguments[1::2], strict=True))
        folder = Path(flags["--output"])
        asked, begun = 60 * float(flags["--stop-after"]), self.now
        self.begun.append((folder.name, asked, seconds))
        if folder.name in self.refused:
            return self.refused[folder.name]
        folder.mkdir(exist_ok=True)
        (folder / "train.yaml").touch()
        left = self.work - self.done.get(folder.name, 0.0)
        self.now += min(self.start + left, max(asked, self.start), seconds)
        self.done[folder.name] = self.work - left + max(0.0, self.now - begun - self.start)
        if self.done[folder.name] < self.work:
            return 130
        if code := self.codes.get(folder.name, 0):
            return code
        measured = "validation_accuracy" if folder.name.startswith("choose") else "test_accuracy"
        metrics = {"images": 12, "seed": 3, "command": "python", "device": "none", measured: 0.5}
        (folder / "metrics.json").write_text(json.dumps({} if folder.name == "mae" else metrics))
        (folder / "model.safetensors").write_bytes(b"weights of " + folder.name.encode())
        (folder / "README.md").touch()
        return 0


def unpacked(parts: Path, folder: Path) -> list[str]:
    record_parts.unpack(parts, folder)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# Fixtures: import them by name where they are used.


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return parquet_dataset(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def command(dataset, tmp_path, monkeypatch):
    """record_run's main with its files in the test's folder."""
    monkeypatch.setattr(record_stage, "perform", perform)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))

    def run(output: str, *more: str, plan=tmp_path / "plan.yaml") -> bool:
        return record_run.main(["--dataset", str(dataset), "--output", str(tmp_path / output), "--plan", str(plan), "--reads", str(tmp_path / "reads.jsonl"), *more])

    return run


@pytest.fixture
def play(monkeypatch):
    """Stages are played."""

    def played(**how) -> Played:
        stages = Played(**how)
        monkeypatch.setattr(record_stage, "perform", stages)
        clock = SimpleNamespace(monotonic=lambda: stages.now, strftime=time.strftime, gmtime=time.gmtime)
        for module in (record_run, record_stage):  # theirs alone: an event loop of another test's server may be asking for the time just now
            monkeypatch.setattr(module, "time", clock)
        return stages

    return played
