"""The reader pod's program on real folders and a hub, and what a log must be to be believed."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.plimsoll_operator.checkpoints import TINY, bytes_of, tiny_tensors, write_checkpoint
from tests.plimsoll_operator.hub_server import COMMIT, MODEL, TOKEN, HubServer

from plimsoll_operator.api.model_profile import ModelProfileSpec
from plimsoll_operator.ports import Manifest
from plimsoll_operator.profiles.frame import (
    LOG_LIMIT_BYTES,
    MARK,
    MAX_PAYLOAD_BYTES,
    ForeignLog,
    Request,
    decode,
    encode,
)
from plimsoll_operator.profiles.reader import main
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.reasons.no_shape import OF_NO_READER

KEY = "ab" * 16
WANTED = Request(key=KEY, model="acme/in-house", revision=None, on_hub=False)


def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, *argv: str, model: str = "acme/in-house") -> tuple[int, str, str, str]:
    message = tmp_path / "termination-log"
    status = main([f"--request={KEY}", f"--model={model}", f"--termination-log={message}", *argv])
    out, err = capsys.readouterr()
    return status, out, err, message.read_text() if message.exists() else ""


@pytest.mark.thorough
@pytest.mark.parametrize("shards", [1, 3])
def test_the_program_as_the_pod_starts_it_prints_the_shape_of_a_real_folder(shards: int, tmp_path: Path) -> None:
    total = write_checkpoint(tmp_path / "llama", shards=shards)
    command = [sys.executable, "-m", "plimsoll_operator.profiles.reader", f"--request={KEY}", "--model=acme/in-house"]
    done = subprocess.run([*command, f"--directory={tmp_path / 'llama'}"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    # A container's log holds both streams.
    spec = decode(done.stdout + done.stderr, WANTED)
    assert spec.weights is not None
    assert (spec.model, spec.revision, spec.weights.total_bytes) == ("acme/in-house", None, total)
    assert [row.dtype for row in spec.weights.by_dtype] == ["BF16"]
    assert json.loads(spec.config) == {key: value for key, value in TINY.items() if key != "bos_token_id"}


def test_a_branch_on_the_hub_comes_back_as_its_commit_and_the_token_is_nowhere(
    hub: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, err, message = run(capsys, tmp_path, "--hub", "--revision=main", model=MODEL)
    assert (status, message) == (0, "")
    spec = decode((err + out).encode(), Request(key=KEY, model=MODEL, revision="main", on_hub=True))
    assert spec.revision == COMMIT
    assert any(headers.get("authorization") == f"Bearer {TOKEN}" for _, headers in hub.seen), "it was read with the token"
    assert TOKEN not in out + err + message


STATUS_OF = {"NotFound": 3, "Gated": 4, "Unreachable": 5, "Invalid": 6, "Unsupported": 7, "Ambiguous": 8}


def test_a_reader_of_another_release_is_understood() -> None:
    assert {str(reason): reason.exit_status for reason in NoShape if reason.exit_status != OF_NO_READER} == STATUS_OF


HUB_FAILURES = [
    ("gated", [(403, {"X_Error_Code": "GatedRepo"})], NoShape.GATED),
    ("not there", [(404, {"X_Error_Code": "RepoNotFound"})], NoShape.NOT_FOUND),
    ("private", [(401, {})], NoShape.NOT_FOUND),
    ("refuses", [(410, {})], NoShape.UNREACHABLE),
]


@pytest.mark.parametrize(("why", "refusals", "reason"), HUB_FAILURES, ids=[row[0] for row in HUB_FAILURES])
def test_a_hub_failure_is_the_exit_status_and_a_sentence_without_the_token(
    why: str,
    refusals: list[tuple[int, dict[str, str]]],
    reason: NoShape,
    hub: HubServer,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    hub.refusals = refusals
    status, out, err, message = run(capsys, tmp_path, "--hub", model=MODEL)
    assert (status, out) == (reason.exit_status, "")
    assert message
    assert TOKEN not in err + message


def test_the_last_door_takes_the_token_out_of_any_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    status, out, err, message = run(capsys, tmp_path, f"--directory={tmp_path}/s3cret")
    assert (status, out) == (NoShape.NOT_FOUND.exit_status, "")
    assert "(token)" in message
    assert "s3cret" not in message + err


FOLDER_FAILURES = [
    ("no folder", lambda folder: None, NoShape.NOT_FOUND),
    ("an empty folder", lambda folder: folder.mkdir(), NoShape.NOT_FOUND),
    ("a config that is no JSON", lambda folder: (folder.mkdir(), (folder / "config.json").write_text("{nope")), NoShape.INVALID),
    ("no architecture", lambda folder: write_checkpoint(folder, config={"hidden_size": 1}), NoShape.INVALID),
    (
        "a torn weights file",
        lambda folder: (write_checkpoint(folder), (folder / "model.safetensors").write_bytes(b"\x01\x02")),
        NoShape.INVALID,
    ),
]


@pytest.mark.parametrize(("why", "make", "reason"), FOLDER_FAILURES, ids=[row[0] for row in FOLDER_FAILURES])
def test_a_folder_without_a_shape_ends_with_the_reason(
    why: str, make: Callable[[Path], object], reason: NoShape, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make(tmp_path / "checkpoint")
    status, out, _, message = run(capsys, tmp_path, f"--directory={tmp_path / 'checkpoint'}")
    assert (status, out) == (reason.exit_status, "")
    assert message


# In a process of its own: the number of a user cannot be taken back. Whoever is not root is the owner, who may not read it either.
AS_ANOTHER = """
import os, sys
from plimsoll_operator.profiles.reader import main
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65532); os.setuid(65532)
sys.exit(main(sys.argv[1:]))
"""


def test_weights_that_the_reader_may_not_read_are_told_with_whose_they_are_and_what_to_do() -> None:
    """As `save_pretrained` writes them: mode 0600, their owner's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_checkpoint(folder / "llama")
        weights = folder / "llama" / "model.safetensors"
        weights.chmod(0o600 if os.getuid() == 0 else 0o200)
        arguments = [f"--request={KEY}", "--model=acme/in-house", f"--directory={folder / 'llama'}", "--termination-log=/dev/full"]
        done = subprocess.run([sys.executable, "-c", AS_ANOTHER, *arguments], capture_output=True, text=True, check=False)
        owner = weights.stat().st_uid
    assert done.returncode == NoShape.UNREACHABLE.exit_status, done.stderr
    for words in (
        "model.safetensors: Permission denied",
        f"of user {owner}",
        "read as user ",
        "chmod -R a+rX",
        "securityContext.runAsUser",
    ):
        assert words in done.stderr
    assert len(done.stderr.strip()) <= 480, "a condition shows all of it"


def test_many_headers_make_a_few_lines_of_progress(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tensors = {f"model.layers.{number}.weight": ("BF16", [4]) for number in range(100)}
    write_checkpoint(tmp_path / "many", tensors=tensors, shards=100)
    status, out, err, _ = run(capsys, tmp_path, f"--directory={tmp_path / 'many'}")
    assert status == 0
    assert len(err.splitlines()) == 10
    assert weights_of(decode((err + out).encode(), WANTED)) == bytes_of(tensors)


def weights_of(profile: ModelProfileSpec) -> int:
    assert profile.weights is not None
    return profile.weights.total_bytes


def spec(**changes: Any) -> Manifest:
    found = {"model": "acme/in-house", "config": json.dumps(TINY), "weights": {"totalBytes": 2, "byDtype": [{"dtype": "BF16", "bytes": 2}]}}
    return {key: value for key, value in (found | changes).items() if value is not None}


def line(
    payload: str | None = None, *, key: str = KEY, length: int | str | None = None, digest: str | None = None, **changes: Any
) -> bytes:
    text = payload if payload is not None else json.dumps(spec(**changes))
    return f"{MARK} {key} {length or len(text)} {digest or hashlib.sha256(text.encode()).hexdigest()} {text}\n".encode()


def test_a_line_among_others_is_read() -> None:
    log = b"3 of 9 headers\n" + line() + b"bye\n"
    assert weights_of(decode(log, WANTED)) == 2
    assert decode(encode(KEY, spec()).encode(), WANTED) == decode(log, WANTED)


TWICE = {"totalBytes": 2, "byDtype": [{"dtype": "BF16", "bytes": 1}, {"dtype": "BF16", "bytes": 1}]}
FORGED = [
    ("empty", b"", "holds no result"),
    ("of another program", b"INFO 07-01 vLLM starts\n" * 50, "holds no result"),
    ("a mark in the middle of a line", b"x " + line(), "holds no result"),
    ("two results", line() + line(model="acme/other"), "holds 2 results"),
    ("cut off in the head", f"{MARK} {KEY} 12\n".encode(), "is cut off"),
    ("cut off in the body", line()[:-40], "not as long as it says"),
    ("another request", line(key="cd" * 16), "answers another request"),
    ("a wrong digest", line(digest="0" * 64), "does not have the digest"),
    ("a digest that is none", line(digest="zz"), "does not have the digest"),
    ("a length beyond bounds", line(length=MAX_PAYLOAD_BYTES + 1), "beyond all bounds"),
    ("a length of many digits", line(length="9" * 400), "beyond all bounds"),
    ("a negative length", line(length=-5), "beyond all bounds"),
    ("beyond the limit", b"x" * LOG_LIMIT_BYTES, "longer than"),
    ("a result behind the limit", b"x\n" * (LOG_LIMIT_BYTES // 2) + line(), "longer than"),
    ("no JSON", line("{nope"), "not JSON"),
    ("nested beyond the parser", line("[" * 100_000), "not JSON"),
    ("a list", line("[]"), "no object"),
    ("another model", line(model="acme/other"), "another model"),
    ("another revision", line(revision="v2"), "another revision"),
    ("no config", line(config=None), "no ModelProfile: spec.config"),
    ("a config beyond 64 KiB", line(config="x" * 65537), "no ModelProfile: spec.config"),
    ("a config that is no JSON", line(config="{nope"), "config cannot be read"),
    ("a config without architecture", line(config="{}"), "config.architectures cannot be read"),
    ("negative totals", line(weights={"totalBytes": -1}), "no ModelProfile: spec.weights"),
    ("totals that do not add up", line(weights={"totalBytes": 3, "byDtype": [{"dtype": "BF16", "bytes": 2}]}), "do not add up"),
    ("a dtype twice", line(weights=TWICE), "do not add up"),
    ("bytes that are no text", f"{MARK} {KEY} 1 {'0' * 64} ".encode() + b"\xff\n", "does not have the digest"),
    ("no text with its own digest", f"{MARK} {KEY} 1 {hashlib.sha256(bytes([255])).hexdigest()} ".encode() + b"\xff\n", "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "log", "words"), FORGED, ids=[row[0] for row in FORGED])
def test_any_other_log_is_not_believed_and_not_quoted(why: str, log: bytes, words: str) -> None:
    with pytest.raises(ForeignLog, match=words) as raised:
        decode(log, WANTED)
    assert len(str(raised.value)) < 200


COMMITS = [
    ("a branch must come back as a commit", "main", "main", False),
    ("a branch comes back as a commit", "main", COMMIT, True),
    ("no revision must come back as a commit", None, None, False),
    ("a commit comes back as itself", COMMIT, COMMIT, True),
    ("a commit cannot come back as another", COMMIT, "b" * 40, False),
]


@pytest.mark.parametrize(("why", "asked", "came", "good"), COMMITS, ids=[row[0] for row in COMMITS])
def test_a_result_from_the_hub_is_of_a_commit(why: str, asked: str | None, came: str | None, good: bool) -> None:
    request = Request(key=KEY, model="acme/in-house", revision=asked, on_hub=True)
    if good:
        assert decode(line(revision=came), request).revision == came
        return
    with pytest.raises(ForeignLog, match="another revision"):
        decode(line(revision=came), request)


def test_the_longest_config_fits_into_the_frame_and_the_frame_into_the_log() -> None:
    config = json.dumps({"architectures": ["LlamaForCausalLM"], "x": ""})
    config = config[:-2] + '\\"' * ((65536 - len(config)) // 2) + config[-2:]
    longest = encode(KEY, spec(config=config))
    assert len(config) > 65530
    assert len(longest) < LOG_LIMIT_BYTES // 2 + len(config)
    assert decode(longest.encode(), WANTED).config == config


def test_the_tiny_checkpoint_is_what_it_says() -> None:
    assert bytes_of(tiny_tensors()) == 2 * (1024 * 256 + 256 + 2 * (2 * 256 * 256 + 2 * 64 * 256 + 3 * 512 * 256 + 2 * 256))
