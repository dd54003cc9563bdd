"""What is said of the sizes of files is counted, and the bounds that are set for them hold."""

import statistics
from pathlib import Path

import pytest
from tools.sizes import FOLDERS, lengths, report

MIDDLE = 120


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "tools"])
def test_most_files_are_read_without_scrolling_far(folder: str) -> None:
    assert statistics.median(lengths(folder)) <= MIDDLE


def test_lines_are_counted_and_tests_held_against_code(tmp_path: Path) -> None:
    for name, count in {
        "operator/a.py": 3,
        "operator/b/c.py": 5,
        "operator/b/__init__.py": 0,
        "estimator/d.py": 2,
        "tests/test_a.py": 25,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n" * count)
    assert list(report(tmp_path)) == [
        "operator: 2 files, 8 lines, median 4, longest 5",
        "estimator: 1 files, 2 lines, median 2, longest 2",
        "tests: 1 files, 25 lines, median 25, longest 25",
        "2.50 lines of tests for each line of code",
    ]


def test_without_code_there_is_no_ratio(tmp_path: Path) -> None:
    assert list(report(tmp_path)) == ["no line of code"]
