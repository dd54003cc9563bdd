"""`plimsoll profile fetch` against a server that speaks the hub's HTTP: commits, redirects, ranges, refusals, hostile answers."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.plimsoll_operator.checkpoints import CONFIG, HOSTILE, llama, safetensors, totals
from tests.plimsoll_operator.hub_server import COMMIT, MODEL, TOKEN, HubServer

from plimsoll_operator.cli import main
from plimsoll_operator.ports import Manifest


def ask(capsys: pytest.CaptureFixture[str], *argv: str, model: str = MODEL) -> tuple[int, str, str]:
    status = main(["profile", "fetch", model, *argv])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("revision", [[], ["--revision", "main"], ["--revision", "refs/pr/1"]])
def test_a_branch_becomes_the_commit_and_headers_become_totals(
    revision: list[str], hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = ask(capsys, *revision)
    assert (status, err) == (0, "")
    spec = yaml.safe_load(out)["spec"]
    assert (spec["model"], spec["revision"], spec["source"]) == (MODEL, COMMIT, "hub 127.0.0.1")
    assert {row["dtype"]: row["bytes"] for row in spec["weights"]["byDtype"]} == totals(llama())
    assert json.loads(spec["config"])["hidden_size"] == CONFIG["hidden_size"]


def test_reads_ranges_only_and_no_other_file(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    weights = hub.files["model.safetensors"]
    hub.files["model.safetensors"] = weights + b"\0" * (1 << 20)
    hub.sizes = {"model.safetensors": 200 << 30}
    assert ask(capsys)[0] == 0
    asked = [(path.rpartition("/")[2], headers["range"]) for path, headers in hub.seen if "/resolve/" in path]
    assert [name for name, _ in asked] == ["config.json", "model.safetensors"]
    assert len(hub.seen) == len(asked) + 1
    assert asked[1][1] == f"bytes=0-{(128 << 10) - 1}"


def test_a_header_longer_than_the_first_read_is_read_on(hub: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    many = {f"model.layers.{i}.a_name_that_makes_the_header_long.weight": ("BF16", [4]) for i in range(3000)}
    safetensors(tmp_path / "long", many)
    hub.files["model.safetensors"] = (tmp_path / "long").read_bytes()
    for ranges in (True, False):
        hub.ranges = ranges
        status, out, _ = ask(capsys)
        assert status == 0
        assert yaml.safe_load(out)["spec"]["weights"]["totalBytes"] == 3000 * 8


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: HubServer, servers: Callable[..., HubServer], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = servers()
    storage.files = dict(hub.files)
    hub.storage = storage.url
    status, out, err = ask(capsys)
    assert status == 0
    assert all(headers.get("authorization") == f"Bearer {TOKEN}" for _, headers in hub.seen)
    assert [path.partition("?")[0].rpartition("/")[2] for path, _ in storage.seen] == ["model.safetensors"]
    assert TOKEN not in json.dumps(storage.seen)
    assert TOKEN not in out + err


REFUSALS = [
    ("gated", [(403, {"X_Error_Code": "GatedRepo"})], "Gated: acme/in-house needs access"),
    ("gated, without a token", [(401, {"X_Error_Code": "GatedRepo"})], "Gated: acme/in-house needs access"),
    ("private or absent", [(401, {})], "NotFound: acme/in-house does not exist, or it is private"),
    ("absent", [(404, {"X_Error_Code": "RepoNotFound"})], "NotFound: acme/in-house: no such model"),
    ("busy for good", [(429, {"Retry_After": "0"})] * 3, "answered 429 to 3 requests"),
    ("broken for good", [(503, {"Retry_After": "0"})] * 3, "answered 503 to 3 requests"),
    ("redirect to the metadata service", [(302, {"Location": "http://169.254.169.254/latest"})], "169.254.169.254, which is not a public"),
    ("redirect to a file", [(302, {"Location": "file:///etc/passwd"})], "redirects to file scheme"),
    ("redirects for ever", [(302, {"Location": "/again"})] * 9, "redirects more than 5 times"),
    ("compressed", [(200, {"Content_Encoding": "gzip"})], "came compressed"),
    ("an empty answer", [(200, {})], "with what is not JSON"),
]


@pytest.mark.parametrize(("why", "refusals", "words"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_a_refusal_is_one_line_and_status_2(
    why: str, refusals: list[tuple[int, dict[str, str]]], words: str, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refusals = list(refusals)
    status, out, err = ask(capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert TOKEN not in err


def test_a_busy_hub_is_asked_again(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.refusals = [(429, {"Retry_After": "0"}), (503, {"Retry_After": "0"})]
    assert ask(capsys)[0] == 0


@pytest.mark.parametrize(("why", "data", "words"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_a_bad_header_is_named(why: str, data: bytes, words: str, hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.files["model.safetensors"] = data
    status, out, err = ask(capsys)
    assert (status, out) == (2, "")
    assert words in err


ANSWERS = [
    ("no commit", {"siblings": []}, "without a commit"),
    ("a commit that leads elsewhere", {"sha": "../../x", "siblings": []}, "without a commit"),
    ("a size that is a text", {"sha": COMMIT, "siblings": [{"rfilename": "config.json", "size": "9"}]}, "does not tell the size"),
    ("no files", {"sha": COMMIT, "siblings": []}, "NotFound: there is no config.json"),
    ("paths only", {"sha": COMMIT, "siblings": [{"rfilename": "../config.json", "size": 9}]}, "NotFound: there is no config.json"),
]


@pytest.mark.parametrize(("why", "answer", "words"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_a_wrong_listing_is_one_line(why: str, answer: Manifest, words: str, hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.listing = json.dumps(answer).encode()
    status, _, err = ask(capsys)
    assert status == 2
    assert words in err


def test_revisions_and_names_that_do_not_exist(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such revision" in ask(capsys, "--revision", "v9")[2]
    for name in ("../x", "a/b/c", "a b", "acme/..", ""):
        status, _, err = ask(capsys, model=name)
        assert (status, "must be org/name" in err) == (2, True)
    assert len(hub.seen) == 1


def test_a_body_that_drips_ends_at_the_deadline(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("plimsoll_operator.profiles.transport.BODY_TIMEOUT_SECONDS", 0.2)
    hub.drip = True
    started = time.monotonic()
    status, _, err = ask(capsys)
    assert (status, "took more than" in err) == (2, True)
    assert time.monotonic() - started < 10


def test_a_hub_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    status, _, err = ask(capsys)
    assert (status, err) == (2, "plimsoll profile: Unreachable: 127.0.0.1 cannot be reached: ConnectError\n")


@pytest.mark.parametrize("endpoint", ["hub.example", "http://[", "ftp://hub.example", "https://me:pw@hub.example"])
def test_an_endpoint_that_is_no_url_is_refused_unseen(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    status, _, err = ask(capsys)
    assert (status, "HF_ENDPOINT: '(not shown)' must be" in err, "pw" in err) == (2, True, False)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for module in ("hub", "transport"):
        monkeypatch.delitem(sys.modules, f"plimsoll_operator.profiles.{module}", raising=False)
    status, _, err = ask(capsys)
    assert (status, err) == (2, "plimsoll profile: reading a hub needs an extra: pip install 'plimsoll-operator[hub]'\n")


@pytest.mark.parametrize(("slow_seconds", "shown"), [(0.0, True), (60.0, False)], ids=["slow", "fast"])
def test_a_slow_reading_shows_its_progress_on_a_terminal_and_erases_it(
    slow_seconds: float, shown: bool, hub: HubServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_operator.cli.profile._SLOW_SECONDS", slow_seconds)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, out, err = ask(capsys)
    assert status == 0
    assert yaml.safe_load(out)["spec"]["requestedRevision"] == "main"
    assert ("0/1 headers model.safetensors" in err) is shown
    assert not shown or err.endswith("\r\x1b[K")
