"""The local Hub, seen through the real client libraries."""
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from huggingface_hub import (CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, RepoCard, hf_hub_download,
                             metadata_update, snapshot_download)
from huggingface_hub.errors import (EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError,
                                    RepositoryNotFoundError, RevisionNotFoundError)

from tests.hub_server import HubServer

NUMBERS = itertools.count(1)


@pytest.fixture
def api(hub):
    return HfApi()


@pytest.fixture
def stranger(hub):
    return HfApi(token="hf_stranger")


@pytest.fixture
def repo(api) -> str:
    """A fresh, empty model repository."""
    return api.create_repo(f"repo-{next(NUMBERS)}").repo_id


def put(api, repo, path="a.txt", content=b"one", **more):
    return api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, **more)


def status(error) -> int:
    return error.value.response.status_code


# --- accounts, repositories ------------------------------------------------------------------------------------------

def test_whoami_names_the_user_role_and_organisations(hub, api):
    me = api.whoami()
    assert (me["name"], me["auth"]["accessToken"]["role"]) == (hub.user, "write")
    assert [org["name"] for org in me["orgs"]] == ["local-org"]
    assert api.whoami(token="hf_local_read")["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError) as error:
        api.whoami(token="hf_wrong")
    assert status(error) == 401


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_create_and_delete_repositories_of_each_type(api, kind):
    name = f"born-{kind}"
    more = {"repo_type": kind} | ({"space_sdk": "gradio"} if kind == "space" else {})
    url = api.create_repo(name, **more)
    assert (url.repo_id, url.repo_type) == (f"tester/{name}", kind)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(name, **more)
    assert api.create_repo(name, exist_ok=True, **more) == url
    assert ".gitattributes" in api.list_repo_files(url.repo_id, repo_type=kind)
    api.delete_repo(url.repo_id, repo_type=kind)
    assert not api.repo_exists(url.repo_id, repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(url.repo_id, repo_type=kind)


def test_private_repositories_exist_only_for_their_owner(api, stranger):
    repo = api.create_repo("secret", private=True).repo_id
    assert api.model_info(repo).private
    with pytest.raises(RepositoryNotFoundError) as anonymous:
        api.model_info(repo, token=False)
    with pytest.raises(RepositoryNotFoundError) as other:
        stranger.model_info(repo)
    assert (status(anonymous), status(other)) == (401, 404)
    assert repo not in [m.id for m in stranger.list_models(author="tester")]
    assert repo in [m.id for m in api.list_models(author="tester")]
    api.update_repo_settings(repo, visibility="public")
    assert not stranger.model_info(repo).private


def test_who_may_not_write_is_told_403(api, stranger, repo):
    for other in (stranger, HfApi(token="hf_local_read")):
        with pytest.raises(HfHubHTTPError) as error:
            put(other, repo)
        assert status(error) == 403
    with pytest.raises(HfHubHTTPError, match="403"):
        stranger.create_repo("tester/not-mine")
    assert api.create_repo("local-org/ours").repo_id == "local-org/ours"


def test_a_moved_repository_answers_to_its_old_name(api, repo):
    put(api, repo)
    api.move_repo(repo, "tester/new-name")
    assert api.model_info(repo).id == "tester/new-name"
    assert Path(hf_hub_download(repo, "a.txt")).read_bytes() == b"one"


# --- commits ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Card")
    (tmp_path / "model.safetensors").write_bytes(os.urandom(1000))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/notes.txt").write_text("héllo")
    return tmp_path


def contents(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*")
            if p.is_file() and p.name != ".gitattributes" and ".cache" not in p.parts}


def test_upload_folder_is_one_commit_and_comes_back_byte_for_byte(hub, api, repo, folder, tmp_path_factory):
    before = len(hub.commits(repo))
    commit = api.upload_folder(repo_id=repo, folder_path=folder)
    assert len(hub.commits(repo)) == before + 1 and hub.commits(repo)[0]["id"] == commit.oid
    back = snapshot_download(repo, local_dir=tmp_path_factory.mktemp("back"))
    assert contents(back) == contents(folder)
    files = {f.path: f for f in api.list_repo_tree(repo, recursive=True)}
    assert files["model.safetensors"].lfs.size == 1000 and files["README.md"].lfs is None


def test_an_unchanged_folder_makes_no_commit_and_no_upload(hub, api, repo, folder):
    first = api.upload_folder(repo_id=repo, folder_path=folder)
    count = len(hub.commits(repo))
    mark = len(hub.calls)
    assert api.upload_folder(repo_id=repo, folder_path=folder).oid == first.oid
    assert len(hub.commits(repo)) == count
    assert not [c for c in hub.calls[mark:] if c["method"] == "PUT" or "/commit/" in c["path"]]


def test_delete_and_add_in_one_commit(api, repo):
    put(api, repo, "old.txt")
    put(api, repo, "dir/in.txt")
    api.create_commit(repo, [CommitOperationDelete("old.txt"), CommitOperationDelete("dir/"), CommitOperationAdd("new.txt", b"new")],
                      commit_message="swap")
    assert api.list_repo_files(repo) == [".gitattributes", "new.txt"]
    with pytest.raises(EntryNotFoundError):
        api.delete_file("old.txt", repo)


def test_a_refused_commit_changes_nothing(hub, api, repo):
    head = api.model_info(repo).sha
    with pytest.raises(EntryNotFoundError):
        api.create_commit(repo, [CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("never-there.txt")], commit_message="x")
    assert api.model_info(repo).sha == head and "new.txt" not in api.list_repo_files(repo)


def test_a_stale_parent_commit_is_412(api, repo):
    old = api.model_info(repo).sha
    put(api, repo)
    with pytest.raises(HfHubHTTPError) as error:
        put(api, repo, "b.txt", parent_commit=old)
    assert status(error) == 412


def test_large_files_go_up_in_parts_and_once(tmp_path):
    content = os.urandom(2500)
    with HubServer(tmp_path, part_size=1000) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.create_repo("big")
        put(api, "tester/big", "w.safetensors", content)
        assert [c["path"][-2:] for c in hub.calls if c["method"] == "PUT"] == ["/1", "/2", "/3"]
        put(api, "tester/big", "again.safetensors", content)
        assert len([c for c in hub.calls if c["method"] == "PUT"]) == 3
        assert httpx.get(f"{hub.url}/tester/big/resolve/main/w.safetensors").content == content


def test_uploads_regular_puts_every_file_into_the_commit(tmp_path):
    with HubServer(tmp_path, uploads="regular") as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.create_repo("plain")
        put(api, "tester/plain", "w.safetensors", b"\0" * 100)
        assert not [c for c in hub.calls if c["method"] == "PUT"]
        assert api.get_paths_info("tester/plain", "w.safetensors")[0].lfs is None


def test_gitignored_files_are_left_out(api, repo, tmp_path):
    for name in (".gitignore", "keep.txt", "drop.log", "build/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("*.log\n/build/\n")
    api.upload_folder(repo_id=repo, folder_path=tmp_path)
    assert api.list_repo_files(repo) == [".gitattributes", ".gitignore", "keep.txt"]


def test_blob_and_tree_ids_are_those_of_git(api, repo, tmp_path):
    put(api, repo, "dir/a.txt", b"hello\n")
    found = {f.path: f for f in api.list_repo_tree(repo, recursive=True)}
    assert found["dir/a.txt"].blob_id == "ce013625030ba8dba906f756967f9e9ca394464a"       # echo hello | git hash-object --stdin
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a.txt").write_text("hello\n")
    subprocess.run([*git, "add", "a.txt"], check=True)
    assert found["dir"].tree_id == subprocess.check_output([*git, "write-tree"], text=True).strip()


# --- revisions -------------------------------------------------------------------------------------------------------

def test_branches_tags_and_commit_ids_all_resolve(api, repo):
    first = put(api, repo, content=b"one").oid
    api.create_tag(repo, tag="v1.0")
    api.create_branch(repo, branch="side")
    put(api, repo, content=b"two")
    put(api, repo, content=b"three", revision="side")
    read = {rev: Path(hf_hub_download(repo, "a.txt", revision=rev)).read_text() for rev in ("main", "v1.0", "side", first)}
    assert read == {"main": "two", "v1.0": "one", "side": "three", first: "one"}
    assert api.model_info(repo, revision=first[:7]).sha == first
    refs = api.list_repo_refs(repo)
    assert ({b.name for b in refs.branches}, [t.target_commit for t in refs.tags]) == ({"main", "side"}, [first])
    assert [c.title for c in api.list_repo_commits(repo)][-1] == "initial commit"
    for make in (lambda: api.create_tag(repo, tag="v1.0"), lambda: api.create_branch(repo, branch="side")):
        with pytest.raises(HfHubHTTPError, match="409"):
            make()
    api.delete_tag(repo, tag="v1.0")
    api.delete_branch(repo, branch="side")
    for gone in ("v1.0", "side"):
        with pytest.raises(RevisionNotFoundError):
            api.list_repo_files(repo, revision=gone)


def test_super_squash_keeps_the_files_and_drops_the_history(api, repo):
    put(api, repo)
    put(api, repo, "b.txt")
    files = api.list_repo_files(repo)
    api.super_squash_history(repo)
    assert (api.list_repo_files(repo), len(api.list_repo_commits(repo))) == (files, 1)


def test_paths_info_knows_files_folders_and_last_commits(api, repo):
    put(api, repo, "dir/a.txt", commit_message="put a")
    put(api, repo, "b.txt", commit_message="put b")
    found = {i.path: i.last_commit.title for i in api.get_paths_info(repo, ["dir", "dir/a.txt", "b.txt", "nowhere"], expand=True)}
    assert found == {"dir": "put a", "dir/a.txt": "put a", "b.txt": "put b"}


# --- reading over HTTP -----------------------------------------------------------------------------------------------

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


# --- what the Hub tells about a repository ---------------------------------------------------------------------------

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


# --- pull requests ---------------------------------------------------------------------------------------------------

def test_a_pull_request_by_a_stranger_is_merged_by_the_owner(api, stranger, repo):
    put(api, repo, content=b"one")
    pull = put(stranger, repo, "w.safetensors", b"weights", create_pr=True)
    assert (pull.pr_num, pull.pr_revision) == (1, "refs/pr/1")
    assert "w.safetensors" not in api.list_repo_files(repo)
    put(api, repo, "b.txt")                                          # main goes on meanwhile
    with pytest.raises(HfHubHTTPError, match="403"):
        stranger.merge_pull_request(repo, 1)
    api.merge_pull_request(repo, 1, comment="thanks")
    assert {"a.txt", "b.txt", "w.safetensors"} <= set(api.list_repo_files(repo))
    details = api.get_discussion_details(repo, 1)
    assert (details.status, details.merge_commit_oid) == ("merged", api.model_info(repo).sha)
    assert [d.num for d in api.get_repo_discussions(repo, discussion_type="pull_request")] == [1]
    assert api.list_repo_refs(repo, include_pull_requests=True).pull_requests[0].ref == "refs/pr/1"


def test_conflicting_pull_requests_are_409_and_leave_main_alone(api, repo):
    put(api, repo, content=b"one")
    put(api, repo, content=b"theirs", create_pr=True)
    head = put(api, repo, content=b"ours").oid
    assert api.get_discussion_details(repo, 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.merge_pull_request(repo, 1)
    assert api.model_info(repo).sha == head


def test_cards_are_pushed_and_updated_also_as_pull_requests(api, repo):
    ModelCard("---\nlicense: mit\n---\n# One").push_to_hub(repo)
    assert metadata_update(repo, {"tags": ["vit"]}).endswith(api.model_info(repo).sha)
    url = metadata_update(repo, {"language": "en"}, create_pr=True)
    assert url and ModelCard.load(repo).data.to_dict() == {"license": "mit", "tags": ["vit"]}
    assert RepoCard.load(hf_hub_download(repo, "README.md", revision="refs/pr/1")).data.language == "en"


# --- datasets, Spaces, transformers ----------------------------------------------------------------------------------

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


def test_a_space_keeps_variables_and_hides_secrets(api):
    space = api.create_repo("demo-space", repo_type="space", space_sdk="gradio").repo_id
    assert api.get_space_runtime(space).stage == "NO_APP_FILE"
    put(api, space, "app.py", b"print(1)", repo_type="space")
    assert api.get_space_runtime(space).stage == "RUNNING" and api.space_info(space).sdk == "gradio"
    assert api.add_space_variable(space, "MODEL", "a/b")["MODEL"].value == "a/b"
    api.add_space_secret(space, "KEY", "hush")
    assert "hush" not in str(api.get_space_secrets(space)["KEY"].__dict__)
    assert api.delete_space_variable(space, "MODEL") == {}
    too_long = b"---\nsdk: gradio\nshort_description: " + b"x" * 61 + b"\n---\n"
    with pytest.raises(ValueError, match="less than or equal to 60"):
        put(api, space, "README.md", too_long, repo_type="space")


# --- faults ----------------------------------------------------------------------------------------------------------

def test_a_cut_download_is_resumed_by_the_client(hub, api, repo):
    content = os.urandom(12_000_000)                 # the client keeps what it got in pieces of 10 MiB
    put(api, repo, "w.safetensors", content)
    hub.fault(r"resolve/.*w\.safetensors", method="GET", cut=11_000_000, times=1)
    mark = len(hub.calls)
    assert Path(hf_hub_download(repo, "w.safetensors")).read_bytes() == content
    got = [(c["status"], c["bytes"]) for c in hub.calls[mark:] if c["method"] == "GET"]
    assert got == [(200, 11_000_000), (206, 12_000_000 - 10 * 2**20)]


def test_a_commit_whose_answer_is_lost_has_happened_and_a_dropped_one_has_not(hub, api, repo):
    before = len(hub.commits(repo))
    hub.fault("/commit/", drop=True, times=1)
    with pytest.raises(Exception, match="(?i)disconnect|closed|peer|read"):
        put(api, repo)
    assert len(hub.commits(repo)) == before
    hub.fault("/commit/", cut=0, times=1)
    with pytest.raises(Exception, match="(?i)disconnect|closed|peer|read"):
        put(api, repo)
    assert len(hub.commits(repo)) == before + 1


def test_status_rules_strike_as_often_as_they_say(hub, api, repo):
    hub.fault(f"/api/models/{repo}", method="GET", status=429, headers={"Retry-After": "1"}, times=2)
    for _ in range(2):
        with pytest.raises(HfHubHTTPError) as error:
            api.model_info(repo)
        assert (status(error), error.value.response.headers["retry-after"]) == (429, "1")
    assert api.model_info(repo)


def test_a_slow_answer_is_slow_for_that_path_alone(hub, api, repo):
    hub.fault("whoami", delay=0.3)
    start = time.perf_counter()
    api.model_info(repo)
    middle = time.perf_counter()
    api.whoami()
    assert middle - start < 0.3 <= time.perf_counter() - middle


# --- by hand ---------------------------------------------------------------------------------------------------------

def test_started_by_hand_it_prints_what_to_paste_and_keeps_what_it_got(tmp_path):
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds/x.txt").write_text("x")
    command = [sys.executable, "-m", "tests.hub_server", "--root", str(tmp_path / "hub"), "--port", "0", "--user", "ann:hf_ann",
               "--seed-dataset", f"ann/ds={tmp_path / 'ds'}"]
    for visit in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
        try:
            exports = [next(process.stdout) for _ in range(3)][2]
            env = dict(pair.split("=", 1) for pair in exports.split()[1:])
            assert env["HF_TOKEN"] == "hf_ann" and env["HF_HUB_DISABLE_XET"] == "1"
            api = HfApi(endpoint=env["HF_ENDPOINT"], token=env["HF_TOKEN"])
            assert "x.txt" in api.list_repo_files("ann/ds", repo_type="dataset")
            if visit == 1:
                api.create_repo("kept")
            assert api.repo_exists("ann/kept")
        finally:
            process.terminate()
            process.wait()
