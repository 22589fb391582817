"""Two real processes, on one node and on two, do what one does: the same pictures, the same losses, the same counts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from tests.runs import QUICK, again, flags, weights
from tests.training_data import parquet_dataset
from training import checkpoint, train
from training.augment import View
from training.config import TrainConfig
from training.data import load_splits
from training.draws import epoch_order
from training.loop import evaluate
from training.train import main
from vit_demo.classifier import load
from vit_demo.errors import UserError

ROOT = Path(__file__).parent.parent
# Five steps, each an epoch of its own, so that the history holds the loss of each; no stochastic depth.
RUN = ["--batch-size", "40", "--epochs", "5", "--accumulation", "2", "--mixup", "0.8", "--cutmix", "1", "--mix-probability", "1", "--mix-until", "1",
       "--randaugment", "1", "--erasing", "0.3", "--ema", "0", "--validation-images", "8", "--clip", "1"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return parquet_dataset(tmp_path_factory.mktemp("data"), train=48, test=12)


@pytest.fixture(scope="module")
def alone(dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CLASSIFY", QUICK)
        main(flags(dataset, output, *RUN))
    return output


def torchrun(launcher: list[str], module: str, arguments: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *launcher, "-m", module, *arguments], cwd=ROOT, text=True,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def ended(process: subprocess.Popen) -> str:
    return all_ended([process])[0]


def all_ended(processes: list[subprocess.Popen]) -> list[str]:
    """What each printed, read while all of them run; none is left when one does not end."""
    try:
        with ThreadPoolExecutor(len(processes)) as readers:
            return [told for told, _ in readers.map(lambda process: process.communicate(timeout=300), processes)]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def printed(command: str) -> str:
    """What a command that a run printed says, typed into a shell where nothing of that run is known."""
    known = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return ended(subprocess.Popen(command, shell=True, cwd=ROOT, text=True, env={**known, "PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True))


def history(output) -> list[dict]:
    return checkpoint.load(checkpoint.newest_complete(output / "state"))[1]["history"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def check_against_one_process(output, alone) -> None:
    for ours, theirs in zip(history(output), history(alone), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)
        assert ours["train_accuracy"] == theirs["train_accuracy"] and ours["validation_accuracy"] == theirs["validation_accuracy"]
    expected = weights(alone)
    for name, tensor in weights(output).items():
        if "key.bias" not in name:  # softmax does not see these: their gradient is rounding, and AdamW makes full steps of it
            # Not the largest difference: Muon's momentum is kept in bf16, where rounding may tip the last digit of a few numbers.
            assert (tensor - expected[name]).square().mean().sqrt() < 1e-4, name


def test_two_processes_on_one_node(dataset, alone, tmp_path):
    output = tmp_path / "run"
    told = ended(torchrun(["--standalone", "--nproc_per_node", "2"], "training.train", flags(dataset, output, *RUN, "--stop-after", "0.00001")))
    command = told.split("stopped after step 2 of 5; go on with:\n  ")[1].splitlines()[0]
    told = printed(command)
    assert (output / "metrics.json").is_file(), told
    assert told.count("float32, 2 process(es)") == 1  # said once, and really two
    check_against_one_process(output, alone)
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["processes"] == 2 and metrics["images_seen"] == 5 * 40 and len(metrics["history"]) == 5

    pictures = load_splits(TrainConfig(dataset=str(dataset), validation_images=8), 8, progress=False).validation
    classifier = load(str(output))
    counted = evaluate(classifier.model, pictures, View.of(classifier.processor, torch.device("cpu")), Accelerator(cpu=True), 3)
    assert counted["accuracy"] == metrics["history"][-1]["validation_accuracy"] and counted["count"] == 8
    assert counted["loss"] == pytest.approx(metrics["history"][-1]["validation_loss"], abs=1e-6)

    with pytest.raises(UserError, match=r"started on 2 process\(es\) and cannot go on exactly on 1: launch it on 2"):
        main(again(output))


def test_two_nodes_see_the_pictures_that_one_process_sees(dataset, alone, tmp_path):
    output, port = tmp_path / "run", str(free_port())
    nodes = [torchrun(["--nnodes", "2", "--nproc_per_node", "1", "--node_rank", rank, "--master_addr", "127.0.0.1", "--master_port", port],
                      "tests.recorded_train", flags(dataset, output, *RUN), WITNESS=str(tmp_path)) for rank in "01"]
    told = all_ended(nodes)
    assert (output / "model.safetensors").is_file(), told
    check_against_one_process(output, alone)
    passes = [[json.loads(line) for line in (tmp_path / f"rank-{rank}.jsonl").read_text().splitlines()] for rank in (0, 1)]
    assert [[start for _, start, _ in mine] for mine in passes] == [[0, 20] * 5, [10, 30] * 5]
    orders = [sum((ids for _, _, ids in sorted(passes[0][2 * epoch : 2 * epoch + 2] + passes[1][2 * epoch : 2 * epoch + 2])), []) for epoch in range(5)]
    assert orders == [epoch_order(40, 0, epoch).tolist() for epoch in range(5)]


def test_processes_that_do_not_know_each_other_are_refused(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")  # as a launcher sets it, without ACCELERATE_USE_CPU
    with pytest.raises(UserError, match="2 processes were launched that do not know of each other: on CPUs set ACCELERATE_USE_CPU=true"):
        main(flags(dataset, tmp_path / "run"))


@pytest.mark.parametrize("device, processes, here, command", [
    ("cuda", 1, 1, "python -m training.train --output 'a run' --resume"),
    ("cuda", 4, 4, "accelerate launch --num_processes 4 -m training.train --output 'a run' --resume"),
    ("cuda", 8, 4, "the launcher of each of the 2 machines, as before with 8 processes in all, and -m training.train --output 'a run' --resume"),
    ("cpu", 2, 1, "the launcher of each of the 2 machines, as before with 2 processes in all, and -m training.train --output 'a run' --resume"),
])
def test_the_command_that_goes_on_starts_as_many_processes(device, processes, here, command, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    accelerator = SimpleNamespace(num_processes=processes, device=torch.device(device))
    assert train.resume_command(SimpleNamespace(config=TrainConfig(output="a run"), accelerator=accelerator)) == command


WAITING = """
import time
from datetime import timedelta
from torch.distributed import distributed_c10d
distributed_c10d.default_pg_timeout = timedelta(seconds=1)  # as NCCL's is 10 minutes
from training.config import TrainConfig
from training.run import make_accelerator
accelerator = make_accelerator(TrainConfig(output="unused"))
time.sleep(3 * accelerator.is_main_process)
accelerator.wait_for_everyone()
accelerator.print("all here:", accelerator.num_processes)
"""


def test_the_others_wait_while_the_main_process_measures_for_longer_than_the_librarys_limit(tmp_path):
    (tmp_path / "waiting.py").write_text(WAITING)
    told = ended(torchrun(["--standalone", "--nproc_per_node", "2"], "waiting", [], PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}"))
    assert "all here: 2" in told, told


@pytest.mark.proof
def test_ctrl_c_reaches_two_processes_and_their_launcher_and_still_saves(dataset, tmp_path):
    output = tmp_path / "run"
    process = torchrun(["--standalone", "--nproc_per_node", "2"], "tests.recorded_train", flags(dataset, output, "--epochs", "3000"), WITNESS=str(tmp_path))
    end = time.monotonic() + 200
    while not checkpoint.saved(output / "state"):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    told = ended(process)
    step = int(told.split("stopped after step ")[1].split()[0])
    assert f"go on with:\n  ACCELERATE_USE_CPU=true torchrun --standalone --nproc_per_node 2 -m training.train --output {output} --resume" in told
    assert checkpoint.newest_complete(output / "state").name == f"step-{step:08d}"
