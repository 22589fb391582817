"""The pictures that a model card links: learning curves, confusion matrix, reliability diagram, most confident mistakes; and what
masked autoencoding fills in.

Small PNG files in colours that colour-blind readers tell apart. matplotlib is imported where it draws; its Figure is used
without pyplot, so no window system is touched.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

from training.report import pictures, write_bytes

BLUE, ORANGE, VERMILION, PAPER, INK = "#0072B2", "#E69F00", "#D55E00", "#F7F7F4", "#222222"
CURVES, CONFUSION, RELIABILITY, MISTAKES = "curves.png", "confusion.png", "reliability.png", "mistakes.png"
FIGURES = (CURVES, CONFUSION, RELIABILITY, MISTAKES)
RECONSTRUCTIONS = "reconstructions.png"
CONFUSION_CLASSES = 60  # more than that and the cells are too small to read
LARGEST_BYTES = 150_000
THUMBNAIL = 64
CELL = 1.35  # inches from one mistake to the next
LINE = 0.95 * 72 * CELL  # points that a line of text above one may take
# For scripts that matplotlib's own font lacks: what Linux, macOS and Windows have. No coloured emoji, which it cannot draw.
FALLBACKS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Hiragino Sans", "Apple SD Gothic Neo", "Yu Gothic", "Microsoft YaHei",
             "Malgun Gothic", "Noto Sans Devanagari", "Nirmala UI", "Noto Emoji")


def write_figures(folder: Path, metrics: dict, names, images=None) -> list[str]:
    """Draws what the metrics hold into the folder -> names of the files. images: the measured pictures, for the sheet.

    A picture of an earlier run whose numbers are gone is removed, so that a card never shows it."""
    folder = Path(folder)
    with any_script():
        drawings = {
            CURVES: metrics.get("history") and learning_curves(metrics["history"]),
            CONFUSION: metrics.get("confusion") and len(names) <= CONFUSION_CLASSES and confusion_matrix(metrics["confusion"], names),
            RELIABILITY: metrics.get("calibration") and reliability_diagram(metrics["calibration"]),
            MISTAKES: images is not None and metrics.get("mistakes") and mistake_sheet(images, metrics["mistakes"], names),
        }
        for name, figure in drawings.items():
            if figure:
                save(figure, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    return [name for name, figure in drawings.items() if figure]


@contextmanager
def any_script() -> Iterator[None]:
    """Class names are drawn with whichever installed font has their letters; a letter that none has is a box, and no warning."""
    import matplotlib
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    families = [*matplotlib.rcParams["font.family"], *(name for name in FALLBACKS if name in installed)]
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def label(name: str, fits: Callable[[str], bool] = lambda shown: True) -> str:
    """A class name as matplotlib should print it: cut until it fits, and no dollar sign starts a formula."""
    shown = name if len(name) <= 24 else name[:23] + "…"
    while len(shown) > 1 and not fits(shown):
        shown = shown[:-2] + "…"
    return shown.replace("$", r"\$")


def points_wide(text: str, size: float) -> float:
    """Of a line of text in matplotlib's font, of so many points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0]


def new_figure(width: float, height: float):
    """A figure of width x height inches on paper colour."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, facecolor=PAPER, layout="constrained")


def plain(axes) -> None:
    """Only the two lines that carry a scale."""
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def learning_curves(history: list[dict]):
    """Rows {"epoch", "train_loss", "validation_loss", "train_accuracy", "validation_accuracy", ...} -> loss and accuracy by epoch.

    Told apart by dashes and markers as well as by colour; a series that no row has is not drawn."""
    figure = new_figure(8, 3)
    for axes, quantity, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        plain(axes)
        for part, colour, style in (("train", ORANGE, "--"), ("validation", BLUE, "-"), ("test", VERMILION, ":")):
            points = [(row["epoch"], scale * row[f"{part}_{quantity}"]) for row in history if row.get(f"{part}_{quantity}") is not None]
            if points:
                marker = "o" if len(points) < 30 else None
                axes.plot(*zip(*points, strict=True), style, color=colour, label=part, marker=marker, markersize=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{quantity}, %" if scale == 100 else quantity)
        if axes.has_data():
            axes.legend(frameon=False)
    return figure


def confusion_matrix(confusion, names):
    """(K,K) counts, rows truth -> shares of each row; a cell's number is its share in %, empty below half a per cent."""
    from matplotlib.colors import LinearSegmentedColormap

    counts = torch.as_tensor(confusion).double()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    classes = len(names)
    side = min(9.0, 2.2 + 0.42 * classes)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    picture = axes.imshow(shares.numpy(), cmap=LinearSegmentedColormap.from_list("", [PAPER, BLUE]), vmin=0, vmax=1)
    font = 8 if classes <= 20 else 5
    axes.set_xticks(range(classes), map(label, names), rotation=90, fontsize=font)
    axes.set_yticks(range(classes), map(label, names), fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    if classes <= 20:
        for row in range(classes):
            for column in range(classes):
                if (value := shares[row, column].item()) >= 0.005:
                    axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color="white" if value > 0.75 else INK)
    figure.colorbar(picture, label="share of the true class", shrink=0.8)
    return figure


def reliability_diagram(calibration: dict):
    """Share right against stated probability, bin by bin; a calibrated model's bars end on the diagonal. Below: pictures a bin."""
    bins = [row for row in calibration["bins"] if row["count"]]
    figure = new_figure(4.2, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for axes in (top, bottom):
        plain(axes)
    middles, widths = [(row["low"] + row["high"]) / 2 for row in bins], [0.9 * (row["high"] - row["low"]) for row in bins]
    top.bar(middles, [row["accuracy"] for row in bins], widths, color=BLUE, label="right")
    top.plot([0, 1], [0, 1], "--", color=INK, linewidth=1, label="calibrated")
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="share right", title=f"expected calibration error {100 * calibration['ece']:.1f} %")
    top.legend(frameon=False, loc="upper left")
    bottom.bar(middles, [row["count"] for row in bins], widths, color=ORANGE)
    bottom.set(xlabel="probability of the predicted class", ylabel="pictures")
    return figure


def mistake_sheet(images, mistakes: list[dict], names, columns: int = 6):
    """The wrong answers the model was surest of: the picture, what it is, what the model said.

    images: uint8 (M,3,H,W) or M PIL pictures; mistakes: rows of scores.mistakes, whose index counts in images."""
    rows = -(-len(mistakes) // columns)
    figure, font = new_figure(CELL * columns, 1.65 * rows), 7
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in cells:
        axes.axis("off")
    for axes, mistake in zip(cells, mistakes, strict=False):
        i = mistake["index"]
        picture = pictures(images[i : i + 1])[0].convert("RGB")
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        axes.imshow(picture, interpolation="nearest")
        sure = f" {100 * mistake['confidence']:.0f} %"
        true = label(names[mistake["label"]], lambda shown: points_wide(f"is {shown}", font) <= LINE)
        told = label(names[mistake["predicted"]], lambda shown: points_wide(shown + sure, font) <= LINE)
        axes.set_title(f"is {true}\n{told}{sure}", fontsize=font, color=INK)
    return figure


def reconstruction_sheet(rows: dict[str, torch.Tensor]):
    """Each row's name and its pictures, uint8 (B,3,H,W), one below the other."""
    columns = len(next(iter(rows.values())))
    figure = new_figure(1.05 * columns, 1.2 * len(rows))
    for cells, (name, images) in zip(figure.subplots(len(rows), columns, squeeze=False), rows.items(), strict=True):
        for axes, picture in zip(cells, pictures(images), strict=True):
            axes.axis("off")
            axes.imshow(picture, interpolation="nearest")
        cells[0].set_title(name, fontsize=8, color=INK, loc="left")
    return figure


def save(figure, path: Path) -> None:
    """Figure -> PNG, with a palette of few colours where it would else be large. No dates inside: equal numbers, equal bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    data = drawn.getvalue()
    for colours in (256, 64, 16):
        if len(data) > LARGEST_BYTES:
            smaller = io.BytesIO()
            Image.open(drawn).convert("RGB").quantize(colours).save(smaller, format="PNG", optimize=True)
            data = smaller.getvalue()
    write_bytes(path, data)
