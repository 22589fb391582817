"""The record run in one command: pretrain, choose a recipe, declare it, train on everything, read the test pictures once.

    python -m benchmarks.record_run --dataset uoft-cs/cifar10 --output runs/record --minutes 25

What is tried stands in benchmarks/record.yaml and cannot change on the way. Run the same command again to go on where it
stopped. --parts FOLDER leaves there what the rest of the run needs, in files of at most 15 MiB; on another machine,
--from-parts FOLDER begins from them. The last line is JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.record_parts import pack, unpack
from benchmarks.record_stage import LEAST, Stage
from training import report
from vit_demo.classifier import BUNDLED
from vit_demo.commands import STOPPED, cli
from vit_demo.errors import UserError

PLAN = Path(__file__).with_name("record.yaml")


class Record:
    """The run's stages: pretraining, one short run a candidate, one final run a seed."""

    def __init__(self, plan: dict, dataset: str, output: Path, reads: Path = report.TEST_READS, parts: Path | None = None):
        self.plan, self.output, self.recipe, self.reads, self.parts = plan, output, output / "recipe.json", reads, parts
        self.common = {**plan["train"], "dataset": dataset}
        self.pretrain = None
        if "pretrain" in plan:
            self.pretrain = Stage("training.pretrain", output / "mae", {**plan["pretrain"], "dataset": dataset, "test_split": "none", "half": True})
            self.common["model"] = output / "mae"
        self.candidates = {name: Stage("training.train", output / f"choose-{name}", {**self.common, **changed, **plan["choose"], "test_split": "none"}, may_fail=True)
                           for name, changed in plan["candidates"].items() if "choose" in plan}

    @property
    def finals(self) -> list[Stage]:
        """Known once a recipe was declared. The last one ships."""
        settings = {**self.common, **self.plan["candidates"][self.declared], "epochs": self.plan["final"]["epochs"], "test_split": "test"}
        return [Stage("training.train", self.output / f"final-seed{seed}", {**settings, "seed": seed}) for seed in self.plan["final"]["seeds"]]

    @property
    def declared(self) -> str:
        return json.loads(self.recipe.read_text())["chosen"]

    def check_plan(self) -> None:
        """The plan is kept with the run and stays as it was when it began."""
        if "choose" not in self.plan and len(self.plan["candidates"]) != 1:
            raise UserError("the plan has several candidates and no `choose`: say there how they are compared, or leave one candidate")
        kept = self.output / "plan.json"
        if kept.is_file() and json.loads(kept.read_text()) != self.plan:
            raise UserError(f"the plan is not the one that {self.output} was begun with: take that one, or another --output")
        self.output.mkdir(parents=True, exist_ok=True)
        report.write_bytes(kept, (json.dumps(self.plan, indent=1) + "\n").encode())

    def choose(self) -> None:
        """Declare the best candidate, in a file, before anything is trained on all pictures; the only one, where there is no choice."""
        if not self.recipe.is_file():
            found = {name: stage.metrics["validation_accuracy"] for name, stage in self.candidates.items() if stage.finished}
            if self.candidates and not found:
                raise UserError("every candidate failed: see the lines above, change the candidates in the plan, and give another --output")
            chosen = max(found, key=found.get) if found else next(iter(self.plan["candidates"]))
            declared = {"declared": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "chosen": chosen, "validation_accuracy": found,
                        "failed": [name for name, stage in self.candidates.items() if stage.failed], "plan": self.plan}
            report.write_bytes(self.recipe, (json.dumps(declared, indent=1) + "\n").encode())

    def stages(self) -> Iterator[Stage]:
        """In order, each to be over before the next is asked for."""
        if self.pretrain:
            yield self.pretrain
        yield from self.candidates.values()
        self.choose()
        yield from self.finals

    def run(self, deadline: float) -> bool:
        """False when the time is up. Packs after every stage, since whoever lends a machine may take it back at any time."""
        for stage in self.stages():
            new = not stage.over
            if not stage.finish(deadline):
                return False
            if "test_accuracy" in stage.metrics:
                self.note(stage)
            if new:
                self.pack()
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
        """What came out. The better validation accuracy ships, whatever the test says; where either was not measured, the new model."""
        chosen = max(json.loads(self.recipe.read_text())["validation_accuracy"].values(), default=None)
        history = report.read_metrics(BUNDLED).get("history", [])
        bundled = next((entry["validation_accuracy"] for entry in reversed(history) if "validation_accuracy" in entry), None)
        return {"done": True, "recipe": self.declared, "validation_accuracy": chosen, "bundled_validation_accuracy": bundled,
                "ship": None in (bundled, chosen) or chosen > bundled, "folder": str(self.finals[-1].folder),
                "test_accuracy": [stage.metrics["test_accuracy"] for stage in self.finals], "seeds": self.plan["final"]["seeds"]}

    def pack(self) -> None:
        """Leave in `parts` what the rest of the run reads: weights only of what it starts from, is at, or ships."""
        if self.parts:
            finals = self.finals if self.recipe.is_file() else []
            files = [path for path in sorted(self.output.glob("*")) if path.is_file()]
            for stage in filter(None, [self.pretrain, *self.candidates.values(), *finals]):
                files += stage.needed(whole=stage in (self.pretrain, *finals[-1:]))
            parts = pack(files, self.output, self.parts)
            print(f"{len(parts)} parts, {sum(part.stat().st_size for part in parts) / 2**20:.1f} MiB, in {self.parts}", flush=True)


def main(argv: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record_run", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="Hub id or folder with the splits train and test")
    parser.add_argument("--output", type=Path, default=Path("runs/record"))
    parser.add_argument("--plan", type=Path, default=PLAN, help="what is tried (default: benchmarks/record.yaml)")
    parser.add_argument("--reads", type=Path, default=report.TEST_READS, help="where each reading of the test pictures is noted")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop before this many minutes are over, with everything saved; 3 at least")
    parser.add_argument("--parts", type=Path, help="write there what another machine needs to go on")
    parser.add_argument("--from-parts", type=Path, help="begin from such files; --output must not be there yet")
    args = parser.parse_args(argv)
    if args.minutes < LEAST:
        raise UserError(f"--minutes {args.minutes:g} is too short for any stage: give {LEAST:g} or more")
    if not args.plan.is_file():
        raise UserError(f"no plan {args.plan}: those of this project are benchmarks/record*.yaml")
    deadline = time.monotonic() + 60 * args.minutes
    if args.from_parts:
        unpack(args.from_parts, args.output)
    record = Record(yaml.safe_load(args.plan.read_text()), args.dataset, args.output, args.reads, args.parts)
    record.check_plan()
    try:
        done = record.run(deadline)
    finally:
        record.pack()
    result = record.result() if done else {"done": False}
    if not done:
        print("the time is up, and all is saved; run the same command again to go on")
    elif result["ship"]:
        print(f"ship it: python -m training.bundle {result['folder']}")
    print(json.dumps(result))
    return done


if __name__ == "__main__":
    cli(lambda: sys.exit(0 if main() else STOPPED))
