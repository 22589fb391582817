"""What stays on disk of one model of which a visitor names commit after commit."""

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from transformers import ViTForImageClassification

from tests.models import save_model
from vit_demo import hub_fetch
from vit_demo.classifier import load
from vit_demo.hub_address import parse
from vit_demo.hub_cache import kept_folder, visitors_cache


@pytest.fixture
def commits(hub, tmp_path, request) -> tuple[str, list[str]]:
    """A repository, and its commits: the second differs from the first in a note alone, each of the others has weights of its own."""
    name, folder = f"{hub.user}/often-{len(request.node.name)}", save_model(tmp_path / "model")
    HfApi().create_repo(name)
    made = [HfApi().upload_folder(repo_id=name, folder_path=folder).oid,
            HfApi().upload_file(path_or_fileobj=b"a note", path_in_repo="NOTE.md", repo_id=name).oid]
    for bias in (1.0, 2.0):
        model = ViTForImageClassification.from_pretrained(folder)
        torch.nn.init.constant_(model.classifier.bias, bias)
        model.save_pretrained(newer := shutil.copytree(folder, tmp_path / f"{bias}"))
        made.append(HfApi().upload_folder(repo_id=name, folder_path=newer).oid)
    shutil.rmtree(visitors_cache(), ignore_errors=True)
    return name, made


def on_disk() -> int:
    return sum(blob.stat().st_size for blob in visitors_cache().rglob("blobs/*"))


def opened(name: str, *revisions: str) -> set[str]:
    for revision in revisions:
        assert load(f"{name}@{revision}", token=False).revision == revision
    return {revision for revision in revisions if kept_folder(parse(f"{name}@{revision}"), visitors_cache())}


def test_the_oldest_commits_of_the_newest_model_make_room(hub, commits, monkeypatch, tmp_path):
    name, (first, noted, second, third) = commits
    size = sum(file.stat().st_size for file in (tmp_path / "model").iterdir())
    monkeypatch.setattr(hub_fetch, "VISITORS_BYTES", 2.5 * size)
    assert opened(name, first, noted, second) == {first, noted, second} and on_disk() < 2.5 * size  # the first two share their weights
    assert opened(name, third) == {third} and opened(name, second) == {second}
    assert on_disk() < 2.5 * size  # what the first two shared is gone with them
    assert not kept_folder(parse(f"{name}@{first}"), visitors_cache()) and not kept_folder(parse(f"{name}@{noted}"), visitors_cache())
    monkeypatch.setattr(hub_fetch, "VISITORS_BYTES", 0.5 * size)
    assert opened(name, first) == {first} and 0.5 * size < on_disk() < 1.5 * size  # what was just fetched stays, however large


def test_a_commit_that_was_asked_for_again_is_not_the_oldest(hub, commits, monkeypatch):
    name, (*_, second, third) = commits
    opened(name, third, second)
    assert load(name, token=False).revision == third  # by its branch: it is there already
    monkeypatch.setattr(hub_fetch, "VISITORS_BYTES", 1.5 * on_disk() / 2)
    assert load(name, token=False).revision == third and kept_folder(parse(name), visitors_cache())
    assert Path(kept_folder(parse(name), visitors_cache())).name == third and not kept_folder(parse(f"{name}@{second}"), visitors_cache())
