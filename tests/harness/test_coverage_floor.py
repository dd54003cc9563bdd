"""The floor under coverage: a folder below it fails by name, and nothing measured is nothing covered."""

import json
from pathlib import Path
from typing import Any

import pytest
from tools.coverage_floor import FLOORS, by_folder, main, percent


def report(path: Path, **lines: Any) -> Path:
    files = {
        f"{folder}/package/module.py": {"executed_lines": [*range(run)], "missing_lines": [*range(missed)]}
        for folder, (run, missed) in lines.items()
    }
    path.write_text(json.dumps({"files": files}))
    return path


CASES = [
    ("all is run", {"estimator": (100, 0), "operator": (100, 0)}, 0),
    ("one folder below its floor is enough", {"estimator": (100, 0), "operator": (10, 90)}, 1),
    ("a folder that was not measured is not covered", {"estimator": (100, 0)}, 1),
]


@pytest.mark.parametrize(("why", "lines", "status"), CASES, ids=[row[0] for row in CASES])
def test_a_folder_below_its_floor_fails_and_names_its_files(
    why: str, lines: dict[str, Any], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(report(tmp_path / "coverage.json", **lines)) == status
    out = capsys.readouterr().out
    assert out.startswith("lines run by unit tests: estimator 100.0 %")
    assert ("operator is below its floor" in out) == bool(status)


def test_lines_are_added_up_by_folder() -> None:
    one = {"executed_lines": [1, 2], "missing_lines": [3]}
    found = by_folder({"estimator/a.py": one, "estimator/b/c.py": one, "tests/d.py": one})
    assert found == {"estimator": (4, 2), "operator": (0, 0)}
    assert percent(*found["estimator"]) == pytest.approx(66.67, abs=0.01)
    assert percent(*found["operator"]) == 0


def test_the_floors_are_worth_having() -> None:
    assert min(FLOORS.values()) >= 80
