"""A run in parts that are small enough to be carried from machine to machine: packed, and unpacked."""

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path

from training import report
from vit_demo.errors import UserError

PART_BYTES = 15 * 2**20
MOST_BYTES = 60 * 2**20
NAME = "record.tar.gz."


def pack(files: list[Path], root: Path, folder: Path) -> list[Path]:
    """One archive of `files`, named from `root` on, cut into numbered parts. Lightly compressed: weights shrink by a tenth.
    Raises UserError, and leaves the parts that are there, when it is larger than MOST_BYTES."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz", compresslevel=1) as archive:
        for path in files:
            archive.add(path, str(path.relative_to(root)))
    data = held.getvalue()
    if len(data) > MOST_BYTES:
        raise UserError(f"the parts would have {len(data) / 2**20:.1f} MiB; the limit is {MOST_BYTES / 2**20:.0f} MiB: take a smaller model, or go on here without --parts")
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"{NAME}*"):
        stale.unlink()
    parts = []
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        parts.append(folder / f"{NAME}{number:02d}")
        report.write_bytes(parts[-1], data[start : start + PART_BYTES])
    return parts


def unpack(folder: Path, output: Path) -> None:
    """`output` as it was where the parts in `folder` were packed, whole or not at all. Raises UserError when there is something already."""
    parts = sorted(folder.glob(f"{NAME}*"))
    if not parts:
        raise UserError(f"no {NAME}00 in {folder}: give the folder that --parts named")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} is there already, and --from-parts would begin it anew: leave --from-parts out to go on with it, or give another --output")
    aside = output.with_name(f".{output.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        data = gzip.decompress(b"".join(part.read_bytes() for part in parts))  # all of it at once: its checksum stands at the end
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(aside, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(f"the parts in {folder} cannot be unpacked ({error}): bring all {NAME}* of one run") from None
    aside.rename(output)  # an empty folder gives way
