"""Manifests that projects publish, imported, planned and rendered: tests/data/imported has each with its address and commit.

Beside each lies what is printed of it, notes and all, which `public_manifests` writes anew.
"""

from __future__ import annotations

import pytest
from tests.plimsoll_operator.cli.public_manifests import FILES, FOLDER, NODES, SOURCES, golden, printed

from plimsoll_operator.cli import main
from plimsoll_operator.cli.importing import FORMATS
from plimsoll_operator.cli.manifests import manifests

DECIDED = (0, 1, 3)


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
