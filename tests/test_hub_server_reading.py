"""The local Hub, seen through the real client libraries: files, cards, datasets, models, Spaces."""
import json

import httpx
import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from tests.hub_server.client import put, status


# --- reading over HTTP --------------------------------------------------------------------------------------------------

def test_resolve_sends_what_a_client_caches_by(hub, api, repo):
    sha = put(api, repo, "w.safetensors", b"0123456789").oid
    url = f"{hub.url}/{repo}/resolve/main/w.safetensors"
    head = httpx.head(url)
    assert (head.headers["x-repo-commit"], head.headers["content-length"], head.content) == (sha, "10", b"")
    assert head.headers["etag"] == head.headers["x-linked-etag"] and head.headers["x-linked-size"] == "10"
    part = httpx.get(url, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert httpx.get(url, headers={"Range": "bytes=20-"}).status_code == 416
    missing = httpx.head(f"{hub.url}/{repo}/resolve/main/nope")
    assert (missing.status_code, missing.headers["x-error-code"], missing.headers["x-repo-commit"]) == (404, "EntryNotFound", sha)


def test_each_thing_missing_has_its_own_error(api, repo):
    for error, look in [(RepositoryNotFoundError, lambda: hf_hub_download("tester/nope", "x")),
                        (RepositoryNotFoundError, lambda: hf_hub_download("one-word", "x", token=False)),
                        (RevisionNotFoundError, lambda: hf_hub_download(repo, "x", revision="nope")),
                        (EntryNotFoundError, lambda: hf_hub_download(repo, "x"))]:
        with pytest.raises(error):
            look()


def test_gated_files_need_an_accepted_request(hub, api, stranger, repo):
    put(api, repo)
    api.update_repo_settings(repo, gated="manual")
    assert stranger.model_info(repo).gated == "manual"               # the page is public, the files are not
    for token, code in ((False, 401), ("hf_stranger", 403)):
        with pytest.raises(GatedRepoError) as error:
            hf_hub_download(repo, "a.txt", token=token)
        assert status(error) == code
    httpx.post(f"{hub.url}/{repo}/ask-access", headers={"authorization": "Bearer hf_stranger"}).raise_for_status()
    assert [r.username for r in api.list_pending_access_requests(repo)] == ["stranger"]
    api.accept_access_request(repo, "stranger")
    assert hf_hub_download(repo, "a.txt", token="hf_stranger")


# --- what the Hub tells about a repository ------------------------------------------------------------------------------

def test_model_info_reads_card_config_and_weights(api, repo, tmp_path):
    import torch
    from safetensors.torch import save_file
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.float16)}, tmp_path / "model.safetensors")
    (tmp_path / "README.md").write_text("---\nlicense: mit\ntags: [vit]\ndatasets: [cifar10]\n---\n")
    (tmp_path / "config.json").write_text('{"architectures": ["ViTForImageClassification"], "model_type": "vit"}')
    api.upload_folder(repo_id=repo, folder_path=tmp_path)
    info = api.model_info(repo, files_metadata=True)
    assert info.safetensors.parameters == {"F32": 12, "F16": 5} and info.safetensors.total == 17
    assert (info.pipeline_tag, info.library_name, info.card_data.license) == ("image-classification", "transformers", "mit")
    assert {"vit", "dataset:cifar10", "license:mit"} <= set(info.tags)
    assert {s.rfilename for s in info.siblings} == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert [m.id for m in api.list_models(author="tester", filter="dataset:cifar10")] == [repo]


@pytest.mark.parametrize("card, complaint", [
    ("---\nlicense: my-own\n---\n", '"license" must be one of'),
    ("---\nlicense: [\n---\n", "YAML"),
    ("---\nmodel-index: foo\n---\n", '"model-index" must be an array'),
    ("---\nbase_model: a b\n---\n", '"base_model'),
])
def test_a_bad_card_is_refused_before_anything_is_uploaded(hub, api, repo, card, complaint):
    mark = len(hub.calls)
    with pytest.raises(ValueError, match=complaint):
        put(api, repo, "README.md", card.encode())
    assert [c["path"] for c in hub.calls[mark:]] == ["/api/validate-yaml"]
    # nor does the commit take it from a client that did not ask first
    lines = [{"key": "header", "value": {"summary": "x"}},
             {"key": "file", "value": {"path": "README.md", "encoding": "utf-8", "content": card}}]
    answer = httpx.post(f"{hub.url}/api/models/{repo}/commit/main", content="\n".join(map(json.dumps, lines)),
                        headers={"authorization": f"Bearer {hub.token}"})
    assert answer.status_code == 400 and "README.md" not in api.list_repo_files(repo)


def test_a_card_without_metadata_only_warns(api, repo):
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        put(api, repo, "README.md", b"# just text")


# --- datasets, Spaces, transformers -------------------------------------------------------------------------------------

def test_datasets_load_whole_and_streaming(hub, api, tmp_path):
    import datasets
    table = datasets.Dataset.from_dict({"label": list(range(50))})
    (tmp_path / "data").mkdir()
    table.to_parquet(tmp_path / "data/train-00000-of-00001.parquet")
    hub.seed("datasets", "someone/numbers", tmp_path)
    assert datasets.load_dataset("someone/numbers", split="train")["label"] == list(range(50))
    mark = len(hub.calls)
    assert [row["label"] for row in datasets.load_dataset("someone/numbers", split="train", streaming=True)] == list(range(50))
    assert 206 in [c["status"] for c in hub.calls[mark:]]
    table.push_to_hub("tester/pushed")
    assert datasets.load_dataset("tester/pushed", split="train")["label"] == list(range(50))


def test_a_model_comes_back_through_transformers_alone(hub, api, repo, tmp_path):
    import torch
    from PIL import Image
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, pipeline
    config = ViTConfig(image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
                       id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1})
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(tmp_path)
    sha = api.upload_folder(repo_id=repo, folder_path=tmp_path).oid
    pixels = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(ViTForImageClassification.from_pretrained(repo, revision=sha).eval()(pixels).logits, model(pixels).logits)
    answers = pipeline("image-classification", repo)(Image.new("RGB", (8, 8), "red"))
    assert {a["label"] for a in answers} == {"cat", "dog"} and abs(sum(a["score"] for a in answers) - 1) < 1e-6


def test_a_space_keeps_variables_and_hides_secrets(hub, api):
    space = api.create_repo("demo-space", repo_type="space", space_sdk="gradio").repo_id
    assert api.get_space_runtime(space).stage == "NO_APP_FILE"
    put(api, space, "app.py", b"print(1)", repo_type="space")
    assert api.get_space_runtime(space).stage == "RUNNING" and api.space_info(space).sdk == "gradio"
    assert api.add_space_variable(space, "MODEL", "a/b")["MODEL"].value == "a/b"
    api.add_space_secret(space, "KEY", "hush")
    answer = httpx.get(f"{hub.url}/api/spaces/{space}/secrets", headers={"authorization": f"Bearer {hub.token}"})
    assert list(answer.json()) == ["KEY"] and "hush" not in answer.text
    assert api.delete_space_variable(space, "MODEL") == {}
    too_long = b"---\nsdk: gradio\nshort_description: " + b"x" * 61 + b"\n---\n"
    with pytest.raises(ValueError, match="less than or equal to 60"):
        put(api, space, "README.md", too_long, repo_type="space")
