"""Prints how long our files are, folder by folder, and how many lines of tests stand behind a line of code. `make check-static` shows it.

What may not be longer is held by `tests/test_layout.py`; this says where it stands.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CODE: Final = ("operator", "estimator")
TESTS: Final = "tests"
FOLDERS: Final = (*CODE, TESTS, "tools")


def lengths(folder: str, root: Path = ROOT) -> list[int]:
    """Lines of each Python file of a folder; empty files are none."""
    counts = (len(path.read_text("utf-8").splitlines()) for path in root.glob(f"{folder}/**/*.py"))
    return sorted(count for count in counts if count)


def report(root: Path = ROOT) -> Iterator[str]:
    """One line a folder, and the ratio."""
    found = {folder: lengths(folder, root) for folder in FOLDERS}
    for folder, counts in found.items():
        if counts:
            middle = round(statistics.median(counts))
            yield f"{folder}: {len(counts)} files, {sum(counts)} lines, median {middle}, longest {counts[-1]}"
    code = sum(sum(found[folder]) for folder in CODE)
    yield f"{sum(found[TESTS]) / code:.2f} lines of tests for each line of code" if code else "no line of code"


if __name__ == "__main__":
    print(*report(), sep="\n")
