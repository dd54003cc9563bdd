"""The harness' own promises that need no control plane: what fits as an asset, and that nothing outlives us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.controlplane.assets import Family, find, parse_version, search_folders
from tests.folders import ROOT

FAMILY = Family(
    name="pair",
    programs={"one": "example.invalid/one", "two": "example.invalid/two"},
    version_command={"one": ("--version",), "two": ("version", "--client")},
    minimum=(1, 34),
    below=(1, 40),
    ldflags="",
)


def program(folder: Path, name: str, prints: str) -> None:
    """Write an executable that prints its version."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        pytest.param("Kubernetes v1.36.3", (1, 36), id="kube-apiserver --version"),
        pytest.param("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", (1, 32), id="kubectl version --client"),
        pytest.param("etcd Version: 3.6.14\nGo OS/Arch: linux/amd64", (3, 6), id="etcd --version"),
        pytest.param("kwok version v0.8.0 go1.26.8 (linux/amd64)", (0, 8), id="kwok --version"),
        pytest.param("v3.22.0+gabcdef", (3, 22), id="helm version --short"),
        pytest.param("no version here", None, id="a program that tells no version"),
    ],
)
def test_versions_as_programs_print_them(printed: str, version: tuple[int, int] | None) -> None:
    assert parse_version(printed) == version


@pytest.mark.parametrize(
    ("one", "two", "fits"),
    [
        pytest.param("v1.36.3", "v1.36.0", True, id="one minor inside the range fits"),
        pytest.param("v1.36.3", "v1.35.0", False, id="two minors in one folder are refused"),
        pytest.param("v1.33.0", "v1.33.0", False, id="too old is refused"),
        pytest.param("v1.40.0", "v1.40.0", False, id="untried new ones are refused"),
        pytest.param("v1.36.3", None, False, id="half a family is none"),
    ],
)
def test_a_family_is_taken_whole_or_not_at_all(tmp_path: Path, one: str, two: str | None, *, fits: bool) -> None:
    program(tmp_path, "one", one)
    if two is not None:
        program(tmp_path, "two", two)
    assert (find(FAMILY, [tmp_path]) is not None) is fits


def test_named_folders_come_before_path(tmp_path: Path) -> None:
    for name in ("named", "on-path"):
        for each in FAMILY.programs:
            program(tmp_path / name, each, "v1.36.3")
    folders = search_folders({"PLIMSOLL_ASSETS": str(tmp_path / "named"), "PATH": str(tmp_path / "on-path")})
    assert find(FAMILY, folders) == {each: tmp_path / "named" / each for each in FAMILY.programs}


PARENT = """
import signal, sys, time
from pathlib import Path
from tests.controlplane.processes import Processes, exit_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits it ignored; a terminal does not
exit_on_signals()
processes = Processes(Path(sys.argv[1]))
print(processes.start("sleeper", ["sleep", "600"]).pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(signal.SIGINT, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, id="a CI runner's stop"),
        pytest.param(signal.SIGKILL, id="a kill that runs no handler of ours"),
    ],
)
def test_no_child_outlives_us(tmp_path: Path, sign: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.send_signal(sign)
        parent.wait(timeout=10)
    limit = time.monotonic() + 5
    while not gone(child) and time.monotonic() < limit:
        time.sleep(0.02)
    assert gone(child)
