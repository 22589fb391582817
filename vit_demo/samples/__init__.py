"""Twenty CIFAR-10 pictures to click on: rows 0 to 19 of the official test set. README.md tells where they are from."""

from pathlib import Path

_LABELS = ("cat", "ship", "ship", "airplane", "frog", "frog", "automobile", "frog", "cat", "automobile",
           "airplane", "truck", "dog", "horse", "truck", "ship", "dog", "horse", "ship", "frog")

# (file, row of the test set, true label)
SAMPLES: tuple[tuple[Path, int, str], ...] = tuple(
    (Path(__file__).parent / f"{row:02}_{label}.png", row, label) for row, label in enumerate(_LABELS))

# The picture that the page opens with. What the bundled model says of it hangs on its patches and on where they lie, which chapters 4, 7
# and 8 take away: of the cat it says cat with hardly any of them, as it would of an empty picture.
FIRST = 15
