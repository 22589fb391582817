"""Twenty CIFAR-10 pictures to click on: rows 0 to 19 of the official test set. README.md tells where they are from."""

from pathlib import Path

_LABELS = ("cat", "ship", "ship", "airplane", "frog", "frog", "automobile", "frog", "cat", "automobile",
           "airplane", "truck", "dog", "horse", "truck", "ship", "dog", "horse", "ship", "frog")

# (file, row of the test set, true label)
SAMPLES: tuple[tuple[Path, int, str], ...] = tuple(
    (Path(__file__).parent / f"{row:02}_{label}.png", row, label) for row, label in enumerate(_LABELS))
