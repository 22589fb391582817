"""States on disk: whole or not there, the newest complete one wins."""

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import stat
from collections import namedtuple

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from training import checkpoint
from training.config import TrainConfig
from training.optim import WeightAverage, make_optimizers
from vit_demo.errors import UserError


def tensors(seed: int, size: int = 10) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"model.t{i}": torch.randn(size, generator=generator) for i in range(3)}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_state_comes_back_as_it_was(tmp_path):
    state = checkpoint.save(tmp_path, 7, tensors(0), {"step": 7, "history": [{"epoch": 1}]})
    found, facts = checkpoint.load(checkpoint.newest_complete(tmp_path))
    assert same(found, tensors(0)) and facts == {"step": 7, "history": [{"epoch": 1}]}
    assert state.name == "step-00000007" and names(state) == ["manifest.json", "state.safetensors"]
    manifest = json.loads((state / "manifest.json").read_text())
    assert manifest["step"] == 7 and manifest["files"] == {"state.safetensors": hashlib.sha256((state / "state.safetensors").read_bytes()).hexdigest()}


def test_a_state_in_several_files_as_they_were_saved_before_loads_too(tmp_path):
    """Only where all its files are whole."""
    checkpoint.save(tmp_path, 1, tensors(1), {})
    state, whole, files = tmp_path / "step-00000007", tensors(0), {}
    state.mkdir()
    for number, part in enumerate((["model.t0", "model.t1"], ["model.t2"])):
        path = state / f"shard-{number:03d}.safetensors"
        save_file({name: whole[name] for name in part}, path)
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (state / "manifest.json").write_text(json.dumps({"step": 7, "files": files, "facts": {"step": 7}}))
    assert checkpoint.newest_complete(tmp_path) == state
    found, facts = checkpoint.load(state)
    assert same(found, whole) and facts == {"step": 7}
    path.unlink()
    assert checkpoint.newest_complete(tmp_path).name == "step-00000001"


def damage(state):
    path = state / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [
    damage,
    lambda state: (state / "state.safetensors").unlink(),
    lambda state: (state / "manifest.json").unlink(),
    lambda state: (state / "manifest.json").write_text('{"step": 3, "fi'),
    lambda state: (state / "manifest.json").write_text("[]"),
])
def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path, harm):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, tensors(step), {"step": step})
    harm(tmp_path / "step-00000002")
    assert checkpoint.newest_complete(tmp_path).name == "step-00000001"
    checkpoint.save(tmp_path, 2, tensors(5), {"step": 2})  # the step is done again
    assert same(checkpoint.load(checkpoint.newest_complete(tmp_path))[0], tensors(5))


def test_two_are_kept_and_older_ones_go_only_when_the_new_one_is_whole(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, tensors(step), {})
    assert names(tmp_path) == ["step-00000002", "step-00000003"]
    monkeypatch.setattr(checkpoint.os, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(UserError, match="cannot save the state: Input/output error"):
        checkpoint.save(tmp_path, 4, tensors(4), {})
    assert names(tmp_path) == ["step-00000002", "step-00000003"] and all(map(checkpoint.is_complete, checkpoint.saved(tmp_path)))


def test_later_states_that_did_not_load_never_push_out_the_new_one(tmp_path):
    for step in (1, 5):
        checkpoint.save(tmp_path, step, tensors(step), {})
    for step in (5, 6):
        (tmp_path / f"step-0000000{step}").mkdir(exist_ok=True)
        (tmp_path / f"step-0000000{step}" / "manifest.json").write_text("{}")
    (tmp_path / ".writing-00000009").mkdir()
    assert checkpoint.newest_complete(tmp_path).name == "step-00000001"
    checkpoint.save(tmp_path, 2, tensors(2), {})
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    assert checkpoint.newest_complete(tmp_path / "nowhere") is None


def test_what_a_killed_save_left_is_no_state_and_goes_away(tmp_path):
    checkpoint.save(tmp_path, 1, tensors(1), {})
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".writing-00000002")
    assert checkpoint.newest_complete(tmp_path).name == "step-00000001"
    checkpoint.save(tmp_path, 2, tensors(2), {})
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, tensors(1), {})
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(2**20))
    with pytest.raises(UserError, match=r"disk full: saving the state needs 13 MB, .* has 1 MB; what was saved before is intact\. Free space, then --resume"):
        checkpoint.save(tmp_path, 2, tensors(2, size=2**20), {})
    assert names(tmp_path) == ["step-00000001"]


def test_a_file_that_may_not_grow_further_leaves_the_old_state(tmp_path):
    checkpoint.save(tmp_path, 1, tensors(1), {})
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:  # the system refuses to write further
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
        with pytest.raises(UserError, match="cannot save the state: File too large. What was saved before is intact: see that .* can be written to, then --resume") as refusal:
            checkpoint.save(tmp_path, 2, tensors(2, size=2**20), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(refusal.value) and names(tmp_path) == ["step-00000001"]
    assert same(checkpoint.load(checkpoint.newest_complete(tmp_path))[0], tensors(1))


@pytest.mark.parametrize("error, told", [
    (OSError(errno.ENOSPC, "x"), "No space left on device; it needs 1 MB, .* MB free. What was saved before is intact: free space"),
    (OSError(errno.EDQUOT, "x"), "Disk quota exceeded; it needs 1 MB, .* free space"),
    (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left on device; it needs 1 MB, .* free space"),
    (SafetensorError('Error while serializing: I/O error: No such file or directory (os error 2) at path "/x/.tmp1"'), "No such file or directory. What was saved"),
    (OSError(errno.ESTALE, "x"), "Stale file handle. What was saved before is intact: see that .*/state can be written to, then --resume"),
    (SafetensorError("a new word"), "a new word. What was saved"),
])
def test_a_disk_that_fails_is_not_called_full(tmp_path, monkeypatch, error, told):
    def failing(*_):
        raise error

    monkeypatch.setattr(checkpoint, "save_file", failing)
    with pytest.raises(UserError, match=f"^cannot save the state: {told}") as refusal:
        checkpoint.save(tmp_path / "state", 1, {"a": torch.ones(2)}, {})
    assert "\n" not in str(refusal.value) and ("free" in str(refusal.value)) == ("free" in told) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("optimizer, layer_decay", [("adamw", 1.0), ("muon", 1.0), ("muon", 0.5)])
def test_everything_the_next_step_depends_on_is_in_the_state(tmp_path, optimizer, layer_decay):
    class Vit(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
            self.head = torch.nn.Linear(4, 2)
            self.config = type("Config", (), {"num_hidden_layers": 2})

        def forward(self, x):
            return self.head(self.layers[1](self.layers[0](x).relu()))

    def fresh(seed):
        torch.manual_seed(seed)
        model = torch.nn.ModuleDict({"vit": Vit()})
        model.config = model["vit"].config
        return model, make_optimizers(model, TrainConfig(optimizer=optimizer, layer_decay=layer_decay), fused=False), WeightAverage(model, 0.9)

    def steps(run, first, last):
        model, optimizers, average = run
        for step in range(first, last):
            torch.manual_seed(step)
            model["vit"](torch.randn(8, 4)).square().mean().backward()
            for one in optimizers:
                one.step()
                one.zero_grad()
            average.update(step)

    whole, first, second = fresh(0), fresh(0), fresh(1)
    steps(whole, 0, 6)
    steps(first, 0, 3)
    checkpoint.save(tmp_path, 3, checkpoint.flatten(*first), {})
    checkpoint.restore(checkpoint.load(checkpoint.newest_complete(tmp_path))[0], *second)
    steps(second, 3, 6)
    assert same(checkpoint.flatten(*whole), checkpoint.flatten(*second))
    assert {name.split(".")[0] for name in checkpoint.flatten(*whole)} == {"model", "optimizer", "average"}


@pytest.mark.parametrize("number, kept", [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_disk_that_cannot_sync_folders_keeps_states_all_the_same(tmp_path, monkeypatch, number, kept):
    """Shared disks of some kinds; an error of the disk itself is told."""
    fsync = os.fsync

    def unable(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", unable)
    if kept:
        assert checkpoint.load(checkpoint.save(tmp_path, 1, {"a": torch.ones(2)}, {}))[0]["a"].tolist() == [1, 1]
    else:
        with pytest.raises(UserError, match="cannot save the state: "):
            checkpoint.save(tmp_path, 1, {"a": torch.ones(2)}, {})


def test_files_are_synced_through_a_handle_that_may_write(tmp_path, monkeypatch):
    """As Windows wants it."""
    opened, open_ = [], os.open
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(os, "open", lambda path, flags: opened.append(flags) or open_(path, flags))
    checkpoint.sync(tmp_path / "file")
    assert opened == [os.O_RDWR]


def test_who_may_read_a_states_manifest_may_read_its_tensors(tmp_path):
    state = checkpoint.save(tmp_path, 1, {"a": torch.ones(2)}, {})
    assert len({path.stat().st_mode for path in state.iterdir()}) == 1
