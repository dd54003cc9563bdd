"""The manifests that projects publish, and what is kept of importing each: `python -m tests.plimsoll_operator.cli.public_manifests`
writes that anew, as `make shown` does.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

from plimsoll_operator.cli import main

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests/data/imported"
NODES = ROOT / "examples/cluster/nodes.yaml"
SOURCES = json.loads((FOLDER / "sources.json").read_text("utf-8"))
FILES = [row["file"] for row in SOURCES]


def printed(name: str) -> str:
    """What the command prints of a file."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["import", "-f", str(FOLDER / name)]) == 0
    return out.getvalue()


def golden(name: str) -> Path:
    return FOLDER / name.replace(".yaml", ".imported.yaml")


if __name__ == "__main__":
    for file in FILES:
        golden(file).write_text(printed(file), "utf-8")
