"""`plimsoll nodes`: which node is doubted and why, with both figures; and the shell's completion of the command."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.plimsoll_operator.nodes import H100, L4

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli import main

CONTRADICTED: Manifest = {
    "kind": "Node",
    "metadata": {
        "name": "liar-0",
        "labels": {"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068", "nvidia.com/gpu.count": "4"},
    },
    "status": {"allocatable": {"nvidia.com/gpu": "3", "memory": "64Gi", "cpu": "16"}, "capacity": {"nvidia.com/gpu": "4"}},
}
ANOTHER_CARD: Manifest = {
    "kind": "Node",
    "metadata": {
        "name": "swapped-0",
        "labels": {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.count": "1"},
    },
    "status": {"allocatable": {"nvidia.com/gpu": "1"}, "capacity": {"nvidia.com/gpu": "1"}},
}


@pytest.fixture
def nodes(tmp_path: Path) -> str:
    path = tmp_path / "nodes.yaml"
    path.write_text(yaml.safe_dump_all([{"kind": "Node", **H100}, {"kind": "Node", **L4}, CONTRADICTED, ANOTHER_CARD]))
    return str(path)


def test_every_node_is_a_line_and_every_doubt_a_sentence_below(nodes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes", "--nodes", nodes]) == 0
    table, _, doubts = capsys.readouterr().out.partition("\n\n")
    planned = {line.split()[0]: line.split("GpuFeatureDiscovery")[-1].split()[0] for line in table.splitlines()[1:]}
    assert planned == {"h100": "yes", "l4": "yes", "liar-0": "yes", "swapped-0": "no"}
    assert "liar-0: UnhealthyGpus: 3 of the node's 4 nvidia.com/gpu are allocatable: devices are unhealthy" in doubts
    assert "swapped-0: MemoryContradictsProduct: the memory label says 81559 MiB, which is another card's: NVIDIA-L4 has 22558" in doubts


def test_a_doubt_about_memory_tells_both_figures(nodes: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["nodes", "--nodes", nodes, "--doubted", "-o", "json"])
    rows = {row["node"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {"liar-0", "swapped-0"}
    (doubt,) = [doubt for doubt in rows["swapped-0"]["doubts"] if doubt["problem"] == "MemoryContradictsProduct"]
    assert doubt["excludes"]
    assert "81559" in doubt["text"]
    assert "NVIDIA-L4" in doubt["text"]


def test_the_names_alone_can_be_piped(nodes: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["nodes", "--nodes", nodes, "--doubted", "-o", "name"])
    assert capsys.readouterr().out.split() == ["node/liar-0", "node/swapped-0"]


def test_where_nothing_is_doubted_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(yaml.safe_dump({"kind": "Node", **H100}))
    main(["nodes", "--nodes", str(path), "--doubted"])
    assert capsys.readouterr().out == "nothing is doubted of any node's GPUs\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["no"], ["nodes"]),
        (["capacity", "-o", ""], ["table", "json", "yaml"]),
        (["doctor", "--name"], ["--namespace"]),
        (["completion", "z"], ["zsh"]),
    ],
    ids=" ".join,
)
def test_bash_completes_commands_options_and_choices(words: list[str], offered: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    typed = " ".join(f"'{word}'" for word in ["plimsoll", *words])
    asked = f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_plimsoll; echo "${{COMPREPLY[@]}}"'
    bash = shutil.which("bash")
    assert bash is not None
    answer = subprocess.run([bash, "--norc", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True).stdout
    assert answer.split() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_get_a_script_that_names_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [name for name in ("plan", "fit", "nodes", "doctor", "import") if name not in script] == []
