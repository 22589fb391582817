"""The record run in one command: pretrain, choose a recipe, declare it, train on everything, read the test pictures once.

    python -m benchmarks.record_run --dataset uoft-cs/cifar10 --output runs/record --minutes 25

What is tried stands in benchmarks/record.yaml and cannot change on the way. Run the same command again to go on where it
stopped. --parts FOLDER leaves there what the rest of the run needs, in files of at most 15 MiB; on another machine,
--from-parts FOLDER begins from them. The last line is JSON.
"""

import argparse
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from training import checkpoint, report
from training.interrupt import STOPPED
from vit_demo.classifier import BUNDLED
from vit_demo.errors import UserError

PLAN = Path(__file__).with_name("record.yaml")
PART_BYTES = 15 * 2**20
FINISHING = 1.0  # minutes kept back for saving, measuring and packing


@dataclass(frozen=True)
class Stage:
    """One command of the run, in its own folder."""

    module: str
    folder: Path
    settings: dict

    @property
    def finished(self) -> bool:
        return (self.folder / "README.md").is_file()  # the last file that is written

    @property
    def metrics(self) -> dict:
        return report.read_metrics(self.folder)

    def arguments(self, minutes: float) -> list[str]:
        begun = (self.folder / "train.yaml").is_file()
        flags = {"resume": True, "dataset": self.settings["dataset"]} if begun else self.settings
        flags |= {"output": self.folder, "stop_after": round(minutes, 3)}
        return [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]


class Record:
    """The run's stages: pretraining, one short run a candidate, one final run a seed."""

    def __init__(self, plan: dict, dataset: str, output: Path, reads: Path = report.TEST_READS):
        self.plan, self.output, self.recipe, self.reads = plan, output, output / "recipe.json", reads
        self.common = {**plan["train"], "dataset": dataset}
        self.pretrain = None
        if "pretrain" in plan:
            self.pretrain = Stage("training.pretrain", output / "mae", {**plan["pretrain"], "dataset": dataset, "half": True})
            self.common["model"] = output / "mae"
        self.candidates = {name: Stage("training.train", output / f"choose-{name}", {**self.common, **changed, **plan["choose"], "test_split": "none"})
                           for name, changed in plan["candidates"].items()}

    @property
    def finals(self) -> list[Stage]:
        """Known once a recipe was declared."""
        settings = {**self.common, **self.plan["candidates"][self.declared], "epochs": self.plan["final"]["epochs"]}
        return [Stage("training.train", self.output / f"final-seed{seed}", {**settings, "seed": seed}) for seed in self.plan["final"]["seeds"]]

    @property
    def declared(self) -> str:
        return json.loads(self.recipe.read_text())["chosen"]

    def check_plan(self) -> None:
        """The plan is kept with the run and stays as it was when it began."""
        kept = self.output / "plan.json"
        if kept.is_file() and json.loads(kept.read_text()) != self.plan:
            raise UserError(f"the plan is not the one that {self.output} was begun with: take that one, or another --output")
        self.output.mkdir(parents=True, exist_ok=True)
        report.write_bytes(kept, (json.dumps(self.plan, indent=1) + "\n").encode())

    def choose(self) -> None:
        """Declare the best candidate, in a file, before anything is trained on all pictures."""
        if not self.recipe.is_file():
            found = {name: stage.metrics["validation_accuracy"] for name, stage in self.candidates.items()}
            best = max(found, key=found.get)
            declared = {"declared": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "chosen": best, "validation_accuracy": found, "plan": self.plan}
            report.write_bytes(self.recipe, (json.dumps(declared, indent=1) + "\n").encode())

    def run(self, deadline: float) -> bool:
        """All stages in order, each finished before the next; False when the time is up."""
        for stage in [self.pretrain, *self.candidates.values()]:
            if stage and not finish(stage, deadline):
                return False
        self.choose()
        for stage in self.finals:
            if not finish(stage, deadline):
                return False
            self.note(stage)
        return True

    def note(self, stage: Stage) -> None:
        """Append the reading of the test pictures to the record of all readings; a machine that has the line does not write it again."""
        metrics = stage.metrics
        entry = {"model": stage.folder.name, "accuracy": metrics["test_accuracy"], "images": metrics["images"], "seed": metrics["seed"],
                 "command": metrics["command"], "device": metrics["device"], "note": f"record run; recipe and seeds declared before: {self.declared}"}
        noted = [json.loads(line) for line in self.reads.read_text().splitlines()] if self.reads.is_file() else []
        if not any(entry.items() <= line.items() for line in noted):
            report.record_test_read(entry, self.reads)

    def result(self) -> dict:
        """What came out. The better validation accuracy ships, whatever the test says."""
        chosen = max(json.loads(self.recipe.read_text())["validation_accuracy"].values())
        history = report.read_metrics(BUNDLED).get("history", [])
        bundled = next((entry["validation_accuracy"] for entry in reversed(history) if "validation_accuracy" in entry), None)
        return {"done": True, "recipe": self.declared, "validation_accuracy": chosen, "bundled_validation_accuracy": bundled,
                "ship": bundled is None or chosen > bundled, "folder": str(self.finals[0].folder),
                "test_accuracy": [stage.metrics["test_accuracy"] for stage in self.finals], "seeds": self.plan["final"]["seeds"]}

    def needed(self) -> list[Path]:
        """The files that the rest of the run reads: newest states of what is unfinished, results of what is finished."""
        files = [path for path in sorted(self.output.glob("*")) if path.is_file()]
        finals = self.finals if self.recipe.is_file() else []
        for stage in filter(None, [self.pretrain, *self.candidates.values(), *finals]):
            state = checkpoint.newest_complete(stage.folder / "state")
            beside = [path for path in sorted(stage.folder.glob("*")) if path.is_file()]
            if stage.finished and stage in self.candidates.values():
                beside = [path for path in beside if path.name in ("metrics.json", "README.md", "train.yaml")]
            files += beside
            if state and not stage.finished:
                files += sorted(state.iterdir())
        return files


def finish(stage: Stage, deadline: float) -> bool:
    """Begin the stage or go on with it; False when it was stopped by the time."""
    if stage.finished:
        return True
    minutes = (deadline - time.monotonic()) / 60 - FINISHING
    if minutes <= 0:
        return False
    code = perform(stage.module, stage.arguments(minutes))
    if code not in (0, STOPPED):
        raise UserError(f"{stage.folder.name} failed with status {code}: see the lines above")
    return code == 0


def perform(module: str, arguments: list[str]) -> int:
    """A process of its own for each stage, so that it begins with an empty device. What asks us to stop asks it: it saves and leaves."""
    print("+ python -m", module, *arguments, flush=True)
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])
    earlier = {number: signal.signal(number, lambda number, frame: process.send_signal(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def pack(files: list[Path], root: Path, folder: Path) -> list[Path]:
    """One archive of `files`, named from `root` on, cut into numbered parts. Lightly compressed: weights shrink by a tenth."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz", compresslevel=1) as archive:
        for path in files:
            archive.add(path, str(path.relative_to(root)))
    folder.mkdir(parents=True, exist_ok=True)
    parts, data = [], held.getvalue()
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        parts.append(folder / f"record.tar.gz.{number:02d}")
        report.write_bytes(parts[-1], data[start : start + PART_BYTES])
    return parts


def unpack(folder: Path, root: Path) -> None:
    parts = sorted(folder.glob("record.tar.gz.*"))
    if not parts:
        raise UserError(f"no record.tar.gz.00 in {folder}: give the folder that --parts named")
    with tarfile.open(fileobj=io.BytesIO(b"".join(part.read_bytes() for part in parts))) as archive:
        archive.extractall(root, filter="data")


def main(argv: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record_run", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="Hub id or folder with the splits train and test")
    parser.add_argument("--output", type=Path, default=Path("runs/record"))
    parser.add_argument("--plan", type=Path, default=PLAN, help="what is tried (default: benchmarks/record.yaml)")
    parser.add_argument("--reads", type=Path, default=report.TEST_READS, help="where each reading of the test pictures is noted")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop before this many minutes are over, with everything saved")
    parser.add_argument("--parts", type=Path, help="write there what another machine needs to go on")
    parser.add_argument("--from-parts", type=Path, help="begin from such files")
    args = parser.parse_args(argv)
    deadline = time.monotonic() + 60 * args.minutes
    if args.from_parts and not args.output.exists():
        unpack(args.from_parts, args.output)
    record = Record(yaml.safe_load(args.plan.read_text()), args.dataset, args.output, args.reads)
    record.check_plan()
    done = record.run(deadline)
    if args.parts:
        parts = pack(record.needed(), args.output, args.parts)
        print(f"{len(parts)} parts, {sum(part.stat().st_size for part in parts) / 2**20:.1f} MiB, in {args.parts}")
    result = record.result() if done else {"done": False}
    if not done:
        print("the time is up, and all is saved; run the same command again to go on")
    elif result["ship"]:
        print(f"ship it: python -m training.bundle {result['folder']}")
    print(json.dumps(result))
    return done


if __name__ == "__main__":
    try:
        raise SystemExit(0 if main() else STOPPED)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
