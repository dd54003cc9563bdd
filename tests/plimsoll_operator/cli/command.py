"""The command, run in this process: its status and what it prints."""

from pathlib import Path

import pytest

from plimsoll_operator.cli import main


def ask(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, *argv: str) -> tuple[int, str, str]:
    nodes = [] if "--nodes" in argv else ["--nodes", str(tmp_path / "nodes.yaml")]
    status = main([command, *argv, *nodes])
    out, err = capsys.readouterr()
    return status, out, err
