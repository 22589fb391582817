"""From whatever layout people have to pictures and labels; what is wrong with the data is said before anything is trained."""

import json

import datasets
import pyarrow.parquet as parquet
import pytest
import torch
from transformers import ViTImageProcessorPil

from tests.training_data import NAMES, coloured, image_folder, parquet_dataset, rows, write_parquet
from training import report
from training.config import TrainConfig
from training.data import labels_of, load_splits
from training.draws import epoch_order, seed_for
from training.source import need_split
from vit_demo.errors import UserError

CLASSES = datasets.ClassLabel(names=list(NAMES))


def settings(folder, **more) -> TrainConfig:
    return TrainConfig(**{"dataset": str(folder), "output": "unused", "workers": 1, **more})


def load(folder, size=8, **more):
    return load_splits(settings(folder, **more), size, progress=False)


def encoded(pictures) -> list[dict]:
    return [{"bytes": data, "path": None} for data in pictures]


def refusal(folder, size=8, **more) -> str:
    with pytest.raises(UserError) as refused:
        load(folder, size, **more)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_pictures_keep_every_pixel_and_their_labels(tmp_path):
    found = load(parquet_dataset(tmp_path, train=7, test=4, image="photo", label="kind"))
    assert found.train.pixels.shape == (7, 3, 8, 8) and found.train.pixels.dtype == torch.uint8
    assert found.train.class_names == NAMES and found.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert report.pictures(found.train.pixels)[4].tobytes() == coloured(1, 4).tobytes()
    assert (found.held_out_name, found.test_split, len(found.held_out), found.validation) == ("test", "test", 4, None)
    assert found.held_out.pixels[1].tobytes() == coloured(found.held_out.labels[1].item(), 8).tobytes()
    for part in (found.train, found.held_out):
        assert part.fingerprint == report.combined(map(report.picture_digest, report.pictures(part.pixels), part.labels.tolist()))


def test_a_folder_a_class(tmp_path):
    found = load(image_folder(tmp_path / "train"), test_split=None)
    assert set(found.train.class_names) == set(NAMES) and len(found.train) == 11
    split = image_folder(tmp_path / "two" / "train", 12), image_folder(tmp_path / "two" / "test", 6)
    both = load(split[0].parent)
    assert (len(both.train), len(both.held_out), both.held_out_name) == (12, 6, "test")


def test_one_of_two_labels_is_taken_when_named(tmp_path):
    pictures, fine = rows(6)
    table = {"train": {"img": encoded(pictures), "fine": fine, "coarse": [0, 0, 1, 0, 0, 1]}}
    folder = write_parquet(tmp_path, table, {"img": datasets.Image(), "fine": CLASSES, "coarse": datasets.ClassLabel(names=["a", "b"])})
    assert "several label columns (fine, coarse)" in refusal(folder)
    assert load(folder, label_column="coarse").train.class_names == ("a", "b")


def test_words_and_numbers_serve_as_labels(tmp_path):
    pictures, _ = rows(20)
    words = (["sea", "air", "land"] * 7)[:20]
    columns = {"train": {"img": encoded(pictures), "place": words}, "test": {"img": encoded(pictures[:2]), "place": ["land", "sea"]}}
    found = load(write_parquet(tmp_path, columns, {"img": datasets.Image(), "place": datasets.Value("string")}), label_column="place")
    assert found.train.class_names == ("air", "land", "sea") and found.train.labels[:3].tolist() == [2, 0, 1]
    assert found.held_out.labels.tolist() == [1, 2]  # though the test split has two of the three


@pytest.mark.parametrize("labels, told", [
    ([0, 1, -1, 2], "row 2 has label -1: labels must lie between 0 and 2"),
    ([0, 1, None, 2], "row 2 has no label"),
    ([0, 1, 10, 2], "row 2 has label 10: labels must lie between 0 and 2"),
])
def test_labels_out_of_range(tmp_path, labels, told):
    pictures, _ = rows(4)
    columns = {"train": {"img": encoded(pictures), "label": labels}}
    number = datasets.Value("int64")
    folder = write_parquet(tmp_path, columns, {"img": datasets.Image(), "label": number})
    declare(folder / "data" / "train-00000-of-00001.parquet")
    assert told in refusal(folder)


def declare(path):
    """Make a file say that its plain numbers are class labels, as a faulty export does."""
    table = parquet.read_table(path)
    told = json.loads(table.schema.metadata[b"huggingface"])
    told["info"]["features"]["label"] = {"names": list(NAMES), "_type": "ClassLabel"}
    parquet.write_table(table.replace_schema_metadata({b"huggingface": json.dumps(told).encode()}), path)


def test_one_class_and_other_classes_in_the_test_split(tmp_path):
    assert "only one class (red): a classifier needs at least 2" in refusal(image_folder(tmp_path / "one", names=("red",)))
    features = {"img": datasets.Image(), "label": datasets.Value("string")}
    pictures, _ = rows(4)
    columns = {"train": {"img": encoded(pictures), "label": ["a", "b", "a", "b"]}, "test": {"img": encoded(pictures[:1]), "label": ["c"]}}
    assert "other classes (c) than the training split (a, b)" in refusal(write_parquet(tmp_path / "two", columns, features), label_column="label")


def test_splits(tmp_path):
    folder = parquet_dataset(tmp_path / "data", train=12, test=6)
    assert "no split 'learn': the dataset has train, test; choose with --train-split" in refusal(folder, train_split="learn")
    assert "no split 'exam'" in refusal(folder, test_split="exam")
    assert "--test-split train is the training split" in refusal(folder, test_split="train")
    swapped = load(folder, train_split="test", test_split="train")
    assert (len(swapped.train), len(swapped.held_out), swapped.test_split) == (6, 12, "train")
    assert "leaves none of the 12 training pictures" in refusal(folder, validation_images=12)


def test_an_empty_split_and_a_test_split_without_the_column(tmp_path):
    pictures, labels = rows(6)
    full, features = {"img": encoded(pictures), "label": labels}, {"img": datasets.Image(), "label": CLASSES}
    empty = write_parquet(tmp_path / "empty", {"train": full, "test": {"img": [], "label": []}}, features)
    assert "has an empty split" in refusal(empty) and '"test"' in refusal(empty)
    nothing = datasets.DatasetDict({"train": datasets.Dataset.from_dict(full).select([])})
    with pytest.raises(UserError, match="split 'train' is empty: choose another with --train-split"):
        need_split(nothing, "train", "--train-split")
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict(full, features=datasets.Features(features)),
                                 "test": datasets.Dataset.from_dict({"img": encoded(pictures)}, features=datasets.Features({"img": datasets.Image()}))})
    with pytest.raises(UserError, match="split 'test' has no column 'label': its columns are img"):
        labels_of(made, "test", ("img", "label"))


def test_sources_that_are_none(tmp_path, hub):
    (tmp_path / "nothing").mkdir()
    assert "no parquet files and no folders of pictures" in refusal(tmp_path / "nothing")
    assert "no dataset 'nobody/nothing': neither a folder here nor a public repository" in refusal("nobody/nothing")
    assert "nowhere': no such folder" in refusal(tmp_path / "nowhere")
    broken = tmp_path / "broken" / "data"
    broken.mkdir(parents=True)
    (broken / "train-00000-of-00001.parquet").write_bytes(b"no parquet at all")
    assert "cannot read dataset" in refusal(broken.parent)


def test_a_corrupt_picture_is_named_or_left_out_and_counted(tmp_path, capsys):
    pictures, labels = rows(9)
    pictures[4] = pictures[4][:60]
    broken = {"train": {"img": encoded(pictures), "label": labels}, "test": {"img": encoded(pictures[:3]), "label": labels[:3]}}
    folder = write_parquet(tmp_path / "parquet", broken, {"img": datasets.Image(), "label": CLASSES})
    assert refusal(folder).startswith("train row 4: ") and "--skip-bad leaves such pictures out" in refusal(folder)
    assert refusal(folder, resident_gb=0).startswith("train row 4: ")  # a stream is looked through as well
    found = load_splits(settings(folder, skip_bad=True), 8, progress=True)
    assert "train: left out 1 of 9 pictures that could not be read" in capsys.readouterr().out
    assert found.train.labels.tolist() == labels[:4] + labels[5:]
    assert report.pictures(found.train.pixels)[4].tobytes() == coloured(labels[5], 5).tobytes()

    missing = {"train": {"img": [None, *encoded(pictures[:3])], "label": labels[:4]}}
    assert "train row 0: there is no picture" in refusal(write_parquet(tmp_path / "none", missing, {"img": datasets.Image(), "label": CLASSES}))
    files = image_folder(tmp_path / "files")
    (files / "green" / "004.png").write_text("not a picture")
    assert "green/004.png" in refusal(files) and "not a readable picture" in refusal(files)
    every = {"train": {"img": encoded([b"x"] * 6), "label": [0, 1, 2] * 2}}
    nothing = write_parquet(tmp_path / "every", every, {"img": datasets.Image(), "label": CLASSES})
    assert "not one picture could be read" in refusal(nothing, skip_bad=True, validation_images=1)


def test_pictures_of_one_size_stay_and_of_several_are_resized_as_the_processor_does(tmp_path):
    assert load(image_folder(tmp_path / "a", size=lambda n: (6, 4)), size=8).train.pixels.shape[2:] == (4, 6)
    mixed = image_folder(tmp_path / "b", size=lambda n: (6, 4) if n % 2 else (20, 30))
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8}, resample=3, do_rescale=False, do_normalize=False)
    pictures = [coloured(n % 3, n, (6, 4) if n % 2 else (20, 30)) for n in range(12)]
    expected = {tuple(levels.flatten().tolist()) for levels in processor(pictures, return_tensors="pt").pixel_values.to(torch.uint8)}
    found = load_splits(settings(mixed), 8, progress=False, resample=3)
    assert {tuple(levels.flatten().tolist()) for levels in found.train.pixels} <= expected and len(found.train) == 11
    assert found.held_out.pixels[0].size in ((6, 4), (20, 30))  # measured from the picture as it was saved


def test_a_gpu_holds_pictures_up_to_half_of_what_it_has_free(tmp_path, monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2000, 10**6))
    folder = parquet_dataset(tmp_path, train=7)  # of 192 bytes each
    found = load_splits(settings(folder, max_train_images=5), 8, progress=False, device=gpu)
    assert isinstance(found.train.pixels, torch.Tensor) and found.said == ()
    found = load_splits(settings(folder, max_train_images=6), 8, progress=False, device=gpu)
    assert found.said == ("1.2e-06 GB of pictures are more than half of the GPU's free memory, 1e-06 GB: 1 workers stream them",)
    found = load_splits(settings(folder, resident_gb=5e-7), 8, progress=False, device=gpu)
    assert found.said == ("1.3e-06 GB of pictures are more than --resident-gb 5e-07: 1 workers stream them",)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("size", [lambda n: (8, 8), lambda n: (6, 4) if n % 2 else (20, 30)])
def test_a_stream_gives_what_memory_gives(tmp_path, size):
    folder = image_folder(tmp_path, count=24, size=size)
    held = load(folder, size=8, validation_images=4)
    stream = load_splits(settings(folder, validation_images=4, resident_gb=1e-6, workers=2), 8, progress=False)
    assert stream.said == (f"{22 * 3 * 64 / 1e9:.2g} GB of pictures are more than --resident-gb 1e-06: 2 workers stream them",)
    assert held.said == () and isinstance(held.train.pixels, torch.Tensor) and not isinstance(stream.train.pixels, torch.Tensor)
    requests = [torch.tensor([3, 1, 1]), torch.tensor([0]), torch.tensor([9, 2])]
    for kept, streamed in ((held.train, stream.train), (held.validation.take(torch.arange(4)), stream.validation)):
        wanted = requests if kept is held.train else [torch.tensor([3, 0])]
        assert torch.equal(kept.labels, streamed.labels) and kept.fingerprint == streamed.fingerprint
        for one, other in zip(kept.feed(wanted), streamed.feed(wanted), strict=True):
            assert torch.equal(one, other)


def test_a_stream_does_not_touch_the_runs_random_numbers_and_names_a_picture_that_went_away(tmp_path):
    folder = image_folder(tmp_path)
    stream = load(folder, resident_gb=0, workers=1).train
    torch.manual_seed(3)
    list(stream.feed([torch.tensor([0, 1])]))
    after = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"^train row \d+ \(.*\.png\): there is no picture"):
        list(stream.feed([torch.tensor([0])]))


def test_the_order_is_a_permutation_of_seed_and_epoch():
    order = epoch_order(100, seed=1, epoch=2)
    assert sorted(order.tolist()) == list(range(100)) and torch.equal(order, epoch_order(100, 1, 2))
    assert not torch.equal(order, epoch_order(100, 1, 3)) and not torch.equal(order, epoch_order(100, 2, 2))
    assert len({seed_for(*parts) for parts in (("a", 1), ("a", 2), ("b", 1), ("a", 1, 1))}) == 4


def test_taking_a_part_keeps_pixels_labels_and_digests_together(tmp_path):
    whole = load(parquet_dataset(tmp_path, train=9)).train
    for pictures in (whole, load(tmp_path, resident_gb=0).train):
        some = pictures.take(torch.tensor([4, 2]))
        assert some.labels.tolist() == [1, 2] and some.digests == (whole.digests[4], whole.digests[2])
        [pixels] = some.feed([torch.tensor([0, 1])])
        assert torch.equal(pixels, whole.pixels[[4, 2]])
