"""Manifests that projects publish, imported, planned and rendered: tests/data/imported has each with its address and commit.

Beside each lies what is printed of it, notes and all; `python -m tests.plimsoll_operator.cli.test_import_public` writes that anew.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from plimsoll_operator.cli import main
from plimsoll_operator.cli.importing import FORMATS
from plimsoll_operator.cli.manifests import manifests

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests/data/imported"
NODES = ROOT / "examples/cluster/nodes.yaml"
SOURCES = json.loads((FOLDER / "sources.json").read_text("utf-8"))
FILES = [row["file"] for row in SOURCES]
DECIDED = (0, 1, 3)


def printed(name: str) -> str:
    """What the command prints of a file."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["import", "-f", str(FOLDER / name)]) == 0
    return out.getvalue()


def golden(name: str) -> Path:
    return FOLDER / name.replace(".yaml", ".imported.yaml")


def test_every_format_has_a_public_manifest() -> None:
    taken = {one.name for one in FORMATS for name in FILES for obj in manifests(FOLDER / name) if one.takes(obj)}
    assert len(FILES) >= 10
    assert {one.name for one in FORMATS} == taken
    assert all(len(row["commit"]) == 40 and row["repository"] and row["path"] for row in SOURCES)


@pytest.mark.parametrize("name", FILES)
def test_a_public_manifest_becomes_what_is_kept(name: str) -> None:
    assert printed(name) == golden(name).read_text("utf-8")


@pytest.mark.parametrize("name", FILES)
def test_what_it_becomes_is_decided_about_and_rendered(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["plan", "-f", str(golden(name)), "--nodes", str(NODES), "--leader-worker-set"])
    out, err = capsys.readouterr()
    assert status in DECIDED, err
    assert main(["render", "-f", str(golden(name)), "--nodes", str(NODES), "--leader-worker-set"]) == status
    rendered = capsys.readouterr().out
    assert ("kind: Service" in rendered) == (": Admit" in out or ": Resize" in out)


@pytest.mark.parametrize("name", FILES)
def test_no_value_of_a_secret_is_copied(name: str) -> None:
    assert not any(value in golden(name).read_text("utf-8") for value in ("abc123XYZ987", "<your-hf-token>", "$HF_TOKEN"))


if __name__ == "__main__":
    for file in FILES:
        golden(file).write_text(printed(file), "utf-8")
