"""The pages' commands as they stand, page by page, on a real control plane: what a reader types is what is typed here."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane.cluster import wait_until
from tests.e2e.installation import ROOT, Installation
from tools.page_commands import Block, blocks

pytestmark = pytest.mark.e2e
HERE = Path(__file__).resolve().relative_to(ROOT).as_posix()
TEAM = "team-a"
LEFT_BEHIND = (
    ("delete", "fitpolicy", "trial", "team-a"),
    ("delete", "gpupool", "rack-a"),
    ("delete", "clusterrolebinding", "plimsoll-cluster-view"),
    ("label", "node", "l4-0", "rack-"),
)
"""What pages make outside of their namespace."""


def run_here(page: Path) -> list[Block]:
    return [block for block in blocks(page.read_text("utf-8")) if block.run_by == HERE]


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if run_here(page)]


@pytest.fixture
def shell(installation: Installation, workdir: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody who has a kubeconfig of namespace team-a, kubectl, helm and our command."""
    cluster = installation.cluster
    cluster.kubectl("create", "namespace", TEAM)
    kubeconfig = workdir / "page.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(cluster.kubectl("config", "view", "--raw", "--flatten").stdout)
    cluster.kubectl("config", "set-context", "--current", f"--namespace={TEAM}", kubeconfig=kubeconfig)
    programs = workdir / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(cluster.assets[name])
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    yield {**cluster.environment(kubeconfig), "PATH": path, "HF_HUB_OFFLINE": "1"}
    for command in LEFT_BEHIND:
        cluster.kubectl(*command, check=False)
    cluster.kubectl("delete", "inferencedeployments", "--all", "-n", TEAM, "--wait=false", check=False)
    wait_until(lambda: not cluster.pods(TEAM), f"the pods of {TEAM} to go")
    cluster.kubectl("delete", "namespace", TEAM, timeout_s=120)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_says_works(page: Path, shell: dict[str, str]) -> None:
    for block in run_here(page):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.body], cwd=ROOT, env=shell, capture_output=True, text=True, timeout=240, check=False
        )
        print(block.body, done.stdout, done.stderr, sep="\n")
        assert (done.returncode != 0) == block.refused, f"{block.body}\n{done.stdout}\n{done.stderr}"
