"""The hub's cache on a disk, as its own client makes it: which folder is read, and what of it is not believed."""

import json
from pathlib import Path

import huggingface_hub
import pytest
from tests.plimsoll_operator.checkpoints import TINY
from tests.plimsoll_operator.hub_cache import COMMIT, cache_of

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli import main
from plimsoll_operator.profiles.cache import in_cache
from plimsoll_operator.profiles.source import SourceFailure

MODEL = "acme/in-house"


@pytest.mark.parametrize("revision", [None, "main", "v2", "refs/pr/1", COMMIT])
def test_the_folder_is_the_one_that_the_hubs_client_would_take(revision: str | None, tmp_path: Path) -> None:
    cache_of(tmp_path)
    found = in_cache(tmp_path, MODEL, revision)
    assert (found.revision, found.kind) == (COMMIT, "directory")
    assert json.loads(found.read("config.json", 0, 1 << 20)) == TINY
    client = huggingface_hub.snapshot_download(MODEL, revision=revision, cache_dir=tmp_path, local_files_only=True)
    assert set(found.sizes()) == {entry.name for entry in Path(client).iterdir()}


ODD = [
    ("a model's path", "/models/llama", "main"),
    ("a step upward as a model", "../../etc", "main"),
    ("a revision with a step upward", MODEL, "../../../secrets"),
    ("a revision from the root", MODEL, "/etc/passwd"),
    ("a revision of odd letters", MODEL, "a\nb"),
]


@pytest.mark.parametrize(("why", "model", "revision"), ODD, ids=[row[0] for row in ODD])
def test_names_that_no_hub_has_lead_nowhere(why: str, model: str, revision: str, tmp_path: Path) -> None:
    cache_of(tmp_path)
    with pytest.raises(InvalidInput):
        in_cache(tmp_path, model, revision)


@pytest.mark.parametrize("text", ["", "../../../../etc", "x" * 100_000, "g" * 40, COMMIT + COMMIT])
def test_a_name_of_a_branch_holds_a_commit_or_nothing_is_read(text: str, tmp_path: Path) -> None:
    home = cache_of(tmp_path)
    (home / "refs" / "main").write_text(text)
    with pytest.raises(InvalidInput, match="holds no commit"):
        in_cache(tmp_path, MODEL, None)


def test_a_commit_whose_files_were_taken_away_is_not_there(tmp_path: Path) -> None:
    home = cache_of(tmp_path)
    (home / "snapshots" / COMMIT).rename(home / "gone")
    with pytest.raises(SourceFailure, match=f"not commit {COMMIT}"):
        in_cache(tmp_path, MODEL, None)


def test_the_command_makes_the_profile_of_a_cache_on_a_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache_of(tmp_path)
    words = ["profile", "from-dir", str(tmp_path), "--model", MODEL, "--hub-cache", "--claim", "weights", "--path", "hub", "-o", "json"]
    assert main(words) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert (spec["revision"], spec["requestedRevision"]) == (COMMIT, "main")
    assert spec["origin"] == {"persistentVolumeClaim": {"claimName": "weights", "path": "hub", "layout": "HubCache"}}


def test_the_command_makes_the_profile_of_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cache_of(tmp_path) / "snapshots" / COMMIT
    assert main(["profile", "from-dir", str(folder), "--model", MODEL, "--image", "ghcr.io/acme/llama:1", "--path", "m", "-o", "json"]) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert spec["origin"] == {"image": {"reference": "ghcr.io/acme/llama:1", "path": "m"}}


@pytest.mark.parametrize(("more", "word"), [(["--path", "a"], "--path"), (["--image", "x", "--hub-cache"], "--hub-cache")])
def test_words_that_do_not_go_together_are_said(more: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache_of(tmp_path)
    assert main(["profile", "from-dir", str(tmp_path), "--model", MODEL, *more]) == 2
    assert word in capsys.readouterr().err
