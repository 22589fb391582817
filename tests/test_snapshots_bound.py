"""A stranger's snapshots may be of other numbers than ours: what one look at all of them fetches stays bounded."""

import json
from threading import Event

import pytest
import torch

from tests.models import save_model
from vit_demo import snapshots
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.snapshots import bytes_of, find

KINDS = {"epoch-001": torch.float16, "epoch-002": torch.float32, "epoch-003": torch.float64}


def test_a_snapshot_weighs_no_more_than_its_share(hub, api, tmp_path, monkeypatch):
    name = f"{hub.user}/heavy"
    for branch, kind in {"main": torch.float32, **KINDS}.items():
        folder = save_model(tmp_path / branch, dtype=kind)
        (folder / "metrics.json").write_text(json.dumps({"history": []}))
        hub.seed("models", name, folder) if branch == "main" else api.create_branch(name, branch=branch)
        api.upload_folder(repo_id=name, folder_path=folder, revision=branch)
    classifier = load(name, token=False)
    monkeypatch.setattr(snapshots, "HEADERS", 20_000)
    for times, opens in [(1, 1), (7, 2), (13, 3)]:  # of what one has in float16; of seven, two and a third are the share of each
        monkeypatch.setattr(snapshots, "MOST_BYTES", times * bytes_of(classifier))
        found = find(classifier)
        if times > 1:
            assert [snapshot.name for snapshot in found] == list(KINDS)
        for snapshot in found[:opens]:
            assert snapshot.open(Event()).model.num_parameters() == classifier.model.num_parameters()
        for snapshot in found[opens:]:
            with pytest.raises(UserError, match=r"weights in bytes is [\d,]+, the limit is"):
                snapshot.open(Event())
