"""Resumable state on disk: written aside, synced, listed in a manifest, renamed. safetensors and JSON only.

A state is a folder `step-00001234` under `<output>/state`. Whatever interrupts a save, the newest complete one loads.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vit_demo.errors import UserError

TENSORS, MANIFEST = "state.safetensors", "manifest.json"
KEPT = 2
NAME = re.compile(r"step-(\d{8})")
NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)  # how a disk says that it cannot sync a folder
FULL = (errno.ENOSPC, errno.EDQUOT, *((39, 112) if os.name == "nt" else ()))  # the last two are Windows' own numbers, which safetensors tells


def sync(path: Path) -> None:
    """Until it is on the disk. Windows syncs files alone, through a handle that may write, and some shared disks know nothing of folders."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in NO_FOLDERS:
            raise
    finally:
        os.close(handle)


def readable_as(file: Path, like: Path) -> None:
    """safetensors lets its owner alone read what it writes; others may read it where they may read its neighbour."""
    file.chmod(stat.S_IMODE(like.stat().st_mode))


def size(tensors: dict[str, torch.Tensor]) -> int:
    """Bytes that they take on disk, at most."""
    return sum(t.numel() * t.element_size() for t in tensors.values()) + 2**20


def mb(count: int) -> str:
    return f"{count / 2**20:.0f}"


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free(folder: Path) -> int:
    """Bytes left on the disk where the folder is, or will be."""
    return shutil.disk_usage(folder).free if folder.is_dir() else free(folder.parent)


@contextmanager
def room_for(need: int, aside: Path, what: str) -> Iterator[Path]:
    """An empty folder `aside` for `need` bytes of `what`. A disk that is full, fills up or fails is a UserError, and nothing is left of it."""
    folder = aside.parent
    shutil.rmtree(aside, ignore_errors=True)
    have = free(folder)
    if have < need:
        raise UserError(f"disk full: saving {what} needs {mb(need)} MB, {folder.name}/ has {mb(have)} MB; what was saved before is intact. Free space, then --resume")
    try:
        aside.mkdir(parents=True)
        yield aside
    except (OSError, SafetensorError) as error:  # the latter is how safetensors tells of a full disk
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()  # where this would have been the first in it
        number = error_number(error)
        reason = os.strerror(number) if number in vars(errno).values() else str(error)
        if number in FULL:
            raise UserError(f"cannot save {what}: {reason}; it needs {mb(need)} MB, {folder.name}/ has {mb(free(folder))} MB free. What was saved before is intact: free space, then --resume") from None
        raise UserError(f"cannot save {what}: {reason}. What was saved before is intact: see that {folder} can be written to, then --resume") from None


def error_number(error: OSError | SafetensorError) -> int | None:
    """The system's; safetensors tells it in words."""
    told = re.search(r"\(os error (\d+)\)", str(error))
    return getattr(error, "errno", None) or (int(told[1]) if told else None)


def save(folder: Path, step: int, tensors: dict[str, torch.Tensor], facts: dict) -> Path:
    """Write the state of `step`; older ones are pruned only after it is complete. Raises UserError when the disk is full."""
    final = folder / f"step-{step:08d}"
    if is_complete(final):
        return final
    with room_for(size(tensors), folder / f".writing-{step:08d}", "the state") as aside:
        path, manifest = aside / TENSORS, aside / MANIFEST
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
        sync(path)
        manifest.write_text(json.dumps({"step": step, "files": {TENSORS: digest(path)}, "facts": facts}, indent=1))
        readable_as(path, manifest)
        sync(manifest)
        sync(aside)
        shutil.rmtree(final, ignore_errors=True)  # only ever an incomplete one
        os.rename(aside, final)
        sync(folder)
    prune(folder, step)
    return final


def prune(folder: Path, step: int) -> None:
    """Keep the state of `step`, just completed, and those KEPT - 1 before it. Later ones were damaged: they did not load."""
    earlier = [state for state in saved(folder) if state.name < f"step-{step:08d}"]
    later = [state for state in saved(folder) if state.name > f"step-{step:08d}"]
    for old in [*earlier[: len(earlier) - KEPT + 1], *later, *folder.glob(".writing-*")]:
        shutil.rmtree(old, ignore_errors=True)


def is_complete(state: Path) -> bool:
    try:
        manifest = json.loads((state / MANIFEST).read_text())
        return all(digest(state / name) == expected for name, expected in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def saved(folder: Path) -> list[Path]:
    """States by step, oldest first, complete or not."""
    return sorted(path for path in folder.glob("step-*") if NAME.fullmatch(path.name))


def newest_complete(folder: Path) -> Path | None:
    return next((state for state in reversed(saved(folder)) if is_complete(state)), None)


def load(state: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """(tensors, facts) of a complete state."""
    manifest = json.loads((state / MANIFEST).read_text())
    tensors: dict[str, torch.Tensor] = {}
    for name in manifest["files"]:  # one, or several small ones as they were saved before
        tensors.update(load_file(state / name))
    return tensors, manifest["facts"]


def flatten(model, optimizers: list, average) -> dict[str, torch.Tensor]:
    """All that the next step depends on, by name: weights, optimiser moments, weight average."""
    tensors = {f"model.{name}": p for name, p in model.named_parameters()}
    for number, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{number}.{index}.{key}": torch.as_tensor(value) for key, value in values.items()})
    if average is not None:
        tensors.update({f"average.{name}": tensor for name, tensor in average.averages.items()})
    return tensors


def shipped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of what `flatten` made, the weights that would ship: the average where there is one."""
    return {name.removeprefix(part): tensor for part in ("model.", "average.") for name, tensor in tensors.items() if name.startswith(part)}


@torch.no_grad()
def restore(tensors: dict[str, torch.Tensor], model, optimizers: list, average) -> None:
    """The inverse of `flatten`, in place. Raises UserError when the state is one of another kind of model."""
    other = [name for name, parameter in model.named_parameters() if getattr(tensors.get(f"model.{name}"), "shape", None) != parameter.shape]
    if other:
        raise UserError(f"the saved state is of another model, with another {other[0]} or none: go on with the command that started the run, or start another --output")
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors[f"model.{name}"])
    for number, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{number}."):
                _, _, index, key = name.split(".", 3)
                states.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    if average is not None:
        for name, tensor in average.averages.items():
            tensor.copy_(tensors[f"average.{name}"])
