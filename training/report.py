"""Measure a model, and write down the number with its conditions: data, versions, device, command.

Legend: M pictures, K classes. The maths is in scores.py, the pictures in figures.py.
"""

import hashlib
import json
import os
import platform
import shlex
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import torch
from PIL import Image
from tqdm.auto import tqdm

from vit_demo.errors import UserError
from vit_demo.hub_model import NO_LIMITS

METRICS_FILE = "metrics.json"
TEST_READS = Path(__file__).parent.parent / "benchmarks" / "results" / "test_reads.jsonl"
# For vit_demo.classifier.load: one's own model may be of any size; the Hub may take its time, but not for ever.
OWN_MODEL = replace(NO_LIMITS, answer_seconds=120)


def predict(classifier, images, batch_size: int = 64, description: str = "evaluate") -> torch.Tensor:
    """`vit_demo.classifier.Classifier.logits` over uint8 (M,3,H,W) or a list of M PIL pictures -> (M,K) float32."""
    starts = range(0, len(images), batch_size)
    bar = tqdm(starts, desc=description, unit="batch", disable=None)  # None: silent where nobody watches
    return torch.cat([classifier.logits(pictures(images[start : start + batch_size])).cpu() for start in bar])


def pictures(images) -> list[Image.Image]:
    """uint8 (M,3,H,W), or PIL pictures, which pass through -> list of M PIL pictures."""
    if isinstance(images, torch.Tensor):
        return [Image.fromarray(picture) for picture in images.permute(0, 2, 3, 1).contiguous().cpu().numpy()]
    return list(images)


def combined(digests) -> str:
    """Digests of pictures, in any order -> the fingerprint of them all: equal for the same pixels and labels, whatever the files."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def picture_digest(picture: Image.Image, label) -> bytes:
    """SHA-256 of "HxW:label:" followed by the RGB bytes, row by row."""
    head = f"{picture.height}x{picture.width}:{int(label)}:"
    return hashlib.sha256(head.encode() + picture.convert("RGB").tobytes()).digest()


def versions() -> dict[str, str]:
    """What a number depends on, by name: Python, and the libraries that are installed."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}  # which says for which CUDA; its package may not
    for name in ("transformers", "accelerate", "datasets", "huggingface_hub", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def device_name(device: torch.device | str = "cpu") -> str:
    """The device as people name it: NVIDIA H200; CPU: AMD EPYC 7B13, 2 threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"CPU: {name}, {threads} thread{'s' if threads > 1 else ''}"


def command_line(module: str, arguments: list[str]) -> str:
    """The command to quote in a card, quoted for a shell. Of a folder of this machine only the last part is told."""

    def told(word: str) -> str:
        flag, equals, value = word.rpartition("=")
        return flag + equals + (Path(value).name if Path(value).is_absolute() else value)

    return shlex.join(["python", "-m", module, *map(told, arguments)])


def source_name(source: str) -> str:
    """How to name a dataset or a model in a file that others read: a Hub id as it is, a folder by its last part."""
    return Path(source).resolve().name if Path(source).exists() or Path(source).is_absolute() else source


def record_test_read(entry: dict, path: Path = TEST_READS) -> None:
    """Appends one line: a test split was looked at for a number that is reported. Honest numbers need few of these."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), **entry}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def write_metrics(folder: Path, metrics: dict) -> Path:
    """metrics.json, whole or not at all: a reader meets the old file or the new one."""
    path = Path(folder) / METRICS_FILE
    write_bytes(path, (json.dumps(metrics, indent=1, allow_nan=False) + "\n").encode())
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file in one step; after a crash the old content or the new is there, never half of it."""
    draft = path.with_name(f".{path.name}.part")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise UserError(f"cannot write {path.name} into {path.parent}: {error.strerror}") from error


def read_metrics(folder: Path) -> dict:
    """metrics.json of a model folder; an absent file is an empty dict: nothing was measured."""
    path = Path(folder) / METRICS_FILE
    if not path.exists():
        return {}
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} in {path.parent.name} cannot be read: measure the model again") from error
    if not isinstance(metrics, dict):
        raise UserError(f"{path.name} in {path.parent.name} is not a table of numbers: measure the model again")
    return metrics
