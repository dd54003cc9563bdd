"""Holds the floor under what unit tests run of the two packages. `make coverage` measures with slipcover, this reads what it wrote.

The floors are what was measured (98.7 and 96.0) less a little for lines that come and go: raise them when more is covered, never lower them
to let a change in.
What only end-to-end tests run (the two processes' mains, the Kubernetes client) counts as not covered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FLOORS: Final[Mapping[str, float]] = {"estimator": 98.0, "operator": 95.0}
"""Percent of lines, by folder."""
SHOWN: Final = 8


def by_folder(files: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Lines that were run and lines that were not, by folder of FLOORS."""
    found = dict.fromkeys(FLOORS, (0, 0))
    for name, file in files.items():
        folder = Path(name).parts[0]
        if folder in found:
            run, missed = found[folder]
            found[folder] = (run + len(file["executed_lines"]), missed + len(file["missing_lines"]))
    return found


def percent(run: int, missed: int) -> float:
    """Nothing measured is nothing covered."""
    return 100 * run / (run + missed) if run + missed else 0.0


def main(report: Path) -> int:
    """Say how much is covered; 1 and the files with most that is not, where a folder is below its floor."""
    files = json.loads(report.read_text())["files"]
    covered = {folder: percent(*lines) for folder, lines in by_folder(files).items()}
    print(
        "lines run by unit tests: " + ", ".join(f"{folder} {share:.1f} % (floor {FLOORS[folder]:g})" for folder, share in covered.items())
    )
    below = [folder for folder, share in covered.items() if share < FLOORS[folder]]
    for folder in below:
        most = sorted((len(file["missing_lines"]), name) for name, file in files.items() if Path(name).parts[0] == folder)[-SHOWN:]
        print(
            f"{folder} is below its floor; most is not run in", *(f"{name} ({missed} lines)" for missed, name in reversed(most)), sep="\n  "
        )
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
