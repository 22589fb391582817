"""The sample pictures are what they are said to be."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo.samples import SAMPLES


def test_every_sample_is_there_and_nothing_else():
    folder = Path(SAMPLES[0][0]).parent
    assert sorted(folder.glob("*.png")) == [path for path, _, _ in SAMPLES]
    assert [row for _, row, _ in SAMPLES] == list(range(20))
    for path, _, _ in SAMPLES:
        with Image.open(path) as image:
            assert image.size == (32, 32) and image.mode == "RGB"


@pytest.mark.skipif("VIT_DEMO_DATA" not in os.environ, reason="VIT_DEMO_DATA names no data folder")
def test_samples_are_the_first_rows_of_the_official_test_split():
    parquet = pytest.importorskip("pyarrow.parquet")
    file, = (Path(os.environ["VIT_DEMO_DATA"]) / "cifar10").rglob("test-*.parquet")
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    rows = next(parquet.ParquetFile(file).iter_batches(batch_size=20)).to_pylist()
    for (path, row, label), official in zip(SAMPLES, rows, strict=True):
        assert np.array_equal(Image.open(path), Image.open(BytesIO(official["img"]["bytes"]))), row
        assert label == names[official["label"]]
