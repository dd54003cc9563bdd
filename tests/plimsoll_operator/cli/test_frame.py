"""What every command has in common: help, version, names nearly right, outputs that nobody reads or that cannot be written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.plimsoll_operator.cli.command import ask
from tests.plimsoll_operator.decision_world import manifest

from plimsoll_operator.cli import main

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
RUN = [sys.executable, "-c", "import sys\nfrom plimsoll_operator.cli import main\nsys.exit(main())"]


def test_alone_it_helps(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "usage: plimsoll" in out
    assert "on which GPUs a model fits" in out


def test_the_version_says_what_is_known_of_vllm(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("plimsoll 0.")


@pytest.mark.parametrize(("word", "near"), [("fti", "fit"), ("plans", "plan"), ("zzzz", None)])
def test_a_command_nearly_right_is_asked_about(word, near, capsys):
    with pytest.raises(SystemExit) as ended:
        main([word])
    err = capsys.readouterr().err
    assert (ended.value.code, err.count("\n")) == (2, 1)
    assert (f"did you mean {near}?" in err) == (near is not None)


def test_a_full_disk_is_one_line_and_status_2():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*RUN, "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "plimsoll: the output cannot be written: No space left on device\n")


def test_who_stops_reading_hears_nothing_more():
    child = subprocess.Popen([*RUN, "explain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child.stdout.readline()
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == ("", 0)
    child.stderr.close()


def test_ctrl_c_is_one_line():
    child = subprocess.Popen([*RUN, "estimate", "--cases", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdin.write(b"{}\n")
    child.stdin.flush()
    assert child.stdout.readline(), "it has begun: the first case is answered, and it waits for the next"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, b"plimsoll: stopped\n")


def test_a_folder_of_manifests_is_all_of_its_files_but_those_of_folders_in_it(files, tmp_path, capsys):
    folder = tmp_path / "wishes"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.yaml", "b.yml", "deeper/c.yaml"):
        path = files("x", {**manifest(), "metadata": {"name": Path(name).stem}})
        os.replace(path, folder / name)
    (folder / "README.md").write_text("{")
    status, out, _ = ask(capsys, tmp_path, "plan", "-f", str(folder))
    assert (status, [line for line in out.splitlines() if ": Admit" in line]) == (0, ["a: Admit", "b: Admit"])


def test_a_folder_without_manifests_is_refused(tmp_path, capsys):
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
def test_an_estimate_s_status_is_its_verdict_and_names_are_people_s(why, argv, status, said, capsys):
    assert main(["estimate", *argv]) == status
    assert said in capsys.readouterr().err
