"""What every command has in common: help, version, names nearly right, outputs that nobody reads or that cannot be written."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.plimsoll_operator.cli.command import ask
from tests.plimsoll_operator.decision_world import manifest

from plimsoll_operator.cli import main

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
RUN = [sys.executable, "-c", "import sys\nfrom plimsoll_operator.cli import main\nsys.exit(main())"]


def test_alone_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "usage: plimsoll" in out
    assert "on which GPUs a model fits" in out


def test_the_version_says_what_is_known_of_vllm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("plimsoll 0.")


@pytest.mark.parametrize(("word", "near"), [("fti", "fit"), ("plans", "plan"), ("zzzz", None)])
def test_a_command_nearly_right_is_asked_about(word: str, near: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word])
    err = capsys.readouterr().err
    assert (ended.value.code, err.count("\n")) == (2, 1)
    assert (f"did you mean {near}?" in err) == (near is not None)


def test_a_full_disk_is_one_line_and_status_2() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*RUN, "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "plimsoll: the output cannot be written: No space left on device\n")


@pytest.mark.thorough
def test_who_stops_reading_hears_nothing_more() -> None:
    child = subprocess.Popen([*RUN, "explain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == ("", 0)
    child.stderr.close()


def test_ctrl_c_is_one_line() -> None:
    # What a shell starts in the background ignores the signal, and its children inherit that: here it is as at a terminal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen([*RUN, "estimate", "--cases", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"{}\n")
    child.stdin.flush()
    assert child.stdout.readline(), "it has begun: the first case is answered, and it waits for the next"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, b"plimsoll: stopped\n")


def test_a_folder_of_manifests_is_all_of_its_files_but_those_of_folders_in_it(
    files: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "wishes"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.yaml", "b.yml", "deeper/c.yaml"):
        path = files("x", {**manifest(), "metadata": {"name": Path(name).stem}})
        os.replace(path, folder / name)
    (folder / "README.md").write_text("{")
    status, out, _ = ask(capsys, tmp_path, "plan", "-f", str(folder))
    assert (status, [line for line in out.splitlines() if ": Admit" in line]) == (0, ["a: Admit", "b: Admit"])


def test_a_folder_without_manifests_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = ask(capsys, tmp_path, "plan", "-f", str(tmp_path / "empty"))
    assert (status, err.count("\n")) == (2, 1)


ESTIMATES = [
    ("what starts is 0", ["--model", LLAMA, "--gpu", "h100"], 0, "is taken for NVIDIA-H100-80GB-HBM3, not NVIDIA-H100-NVL"),
    ("by a model's short name too", ["--model", "llama-3.1-8b", "--gpu", "l40s"], 0, "llama-3.1-8b is taken for meta-llama/Llama-3.1-8B"),
    ("what does not start is 1", ["--model", LLAMA, "--gpu", "Tesla-T4"], 1, ""),
    ("nor as JSON", ["--model", LLAMA, "--gpu", "Tesla-T4", "--json"], 1, ""),
    ("a card that nobody knows is 2", ["--model", LLAMA, "--gpu", "MI300X"], 2, "--gpu-memory-mib"),
    ("a count is 2", ["--model", LLAMA, "--gpu", "2xh100"], 2, "--tensor-parallel-size 2"),
    ("nearly a card is 2", ["--model", LLAMA, "--gpu", "h10"], 2, "did you mean NVIDIA-H100-80GB-HBM3?"),
]


@pytest.mark.parametrize(("why", "argv", "status", "said"), ESTIMATES, ids=[row[0] for row in ESTIMATES])
def test_an_estimate_s_status_is_its_verdict_and_names_are_people_s(
    why: str, argv: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", *argv]) == status
    assert said in capsys.readouterr().err


FORMS = [
    ["gpus"],
    ["models", "--search", "qwen3"],
    ["explain", "InsufficientKvCache"],
    ["estimate", "--model", "llama-3.1-8b", "--gpu", "l40s"],
]


@pytest.mark.parametrize("argv", [*FORMS, ["models", "qwen3-8b"], ["gpus", "--engine-version", "0.19.0"]], ids=" ".join)
def test_every_command_has_the_same_forms(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for form in ("table", "json", "yaml"):
        assert main([*argv, "-o", form]) == 0
        said[form] = capsys.readouterr().out
    assert main([*argv, "--json"]) == 0
    assert capsys.readouterr().out == said["json"]
    assert json.loads(said["json"]) == yaml.safe_load(said["yaml"])
    assert said["table"] not in (said["json"], said["yaml"])


@pytest.mark.parametrize(("argv", "name"), [(["gpus"], "Tesla-T4"), (["models"], "Qwen/Qwen3-8B"), (["explain"], "InsufficientKvCache")])
def test_names_are_listed_one_a_line(argv: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "-o", "name"]) == 0
    assert name in capsys.readouterr().out.splitlines()


def test_the_table_of_gpus_has_titles_and_even_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus"]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    place = title.index("CAPABILITY")
    assert all(row[place : place + 3] == "sm_" for row in rows)


@pytest.mark.parametrize("option", ["--explain", "--compare"])
def test_what_is_for_people_is_not_left_out_of_json_without_a_word(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--model", LLAMA, "--gpu", "l40s", option, "-o", "json"]) == 2
    assert f"{option} is for people" in capsys.readouterr().err
