"""`make playground`: it stays, every line that it says works in the order in which it is said, and Ctrl-C leaves nothing."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane.cluster import wait_until
from tests.e2e import playground
from tests.e2e.installation import ROOT

pytestmark = pytest.mark.e2e
READY_WITHIN_S = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of its own: somebody may play in this checkout meanwhile."""
    return tmp_path_factory.mktemp("played") / "playground"


@pytest.fixture(scope="module")
def said(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The playground as `make` starts it, and the file of what it says."""
    heard = folder.with_suffix(".said")
    with heard.open("wb") as out:
        runs = subprocess.Popen([sys.executable, "-m", "tests.e2e.playground", folder], cwd=ROOT, stdout=out, stderr=out)
        try:
            what = "the playground to say what to try"
            wait_until(lambda: "Ctrl-C" in heard.read_text() or runs.poll() is not None, what, timeout_s=READY_WITHIN_S)
            yield runs, heard
        finally:
            if runs.poll() is None:
                runs.terminate()
                runs.wait(timeout=60)


def in_another_shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"} | {"HF_HUB_OFFLINE": "1"}
    script = f"set -o pipefail; . {folder}/env; {line}"
    return subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_each_line_that_is_said_does_what_it_says(said: tuple[subprocess.Popen[bytes], Path], folder: Path) -> None:
    runs, heard = said
    text = heard.read_text()
    assert runs.poll() is None, text
    listed = re.findall(r"^  # .*\n  (\S.*)$", text, re.MULTILINE)
    assert listed == [each.line for each in playground.THINGS_TO_TRY]
    printed = {}
    for each in playground.THINGS_TO_TRY:
        done = in_another_shell(folder, each.line)
        printed[each.line] = done.stdout + done.stderr
        assert (done.returncode != 0) == each.refused, f"{each.line}\n{printed[each.line]}"
    outputs = list(printed.values())
    assert "NVIDIA-H100-80GB-HBM3" in outputs[0]
    assert "TP2" in outputs[1]
    assert "smallest" in outputs[3]
    assert "offer:" in outputs[5]
    assert "created" in outputs[6]
    assert runs.poll() is None, "it stays"


def test_a_second_one_says_how_to_get_to_the_first(said: tuple[subprocess.Popen[bytes], Path], folder: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "tests.e2e.playground", folder], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 1
    assert f". {folder}/env" in second.stderr
    assert in_another_shell(folder, "kubectl get namespace models").returncode == 0


def test_ctrl_c_ends_all_of_it_without_a_traceback(said: tuple[subprocess.Popen[bytes], Path], folder: Path) -> None:
    runs, heard = said
    started = children_of(runs.pid)
    assert len(started) >= 7, "five programs of Kubernetes, the webhook and the controller"
    runs.send_signal(signal.SIGINT)
    assert runs.wait(timeout=60) == 0
    text = heard.read_text()
    assert text.endswith("everything that was started has been stopped\n")
    assert "Traceback" not in text
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert not (folder / "env").exists()


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
