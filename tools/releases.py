"""Every published release of vLLM from 0.8.0 on, oldest first, and the command line of the tools that read their wheels."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DATA = Path(__file__).parents[1] / "estimator" / "plimsoll_estimator" / "data"

_PATCHES = {
    "0.8": ("0", "1", "2", "3", "4", "5"), "0.9": ("0", "0.1", "1", "2"), "0.10": ("0", "1", "1.1", "2"), "0.11": ("0", "1", "2"),
    "0.12": ("0",), "0.13": ("0",), "0.14": ("0", "1"), "0.15": ("0", "1"), "0.16": ("0",), "0.17": ("0", "1"), "0.18": ("0", "1"),
    "0.19": ("0", "1"), "0.20": ("0", "1", "2"), "0.21": ("0",), "0.22": ("0", "1"), "0.23": ("0",), "0.24": ("0",), "0.25": ("0", "1"),
    "0.26": ("0",), "0.27": ("0", "1"), "0.28": ("0",), "0.29": ("0",), "0.30": ("0",), "0.31": ("0",), "0.32": ("0",), "0.33": ("0",),
}  # fmt: skip
EVERY_RELEASE = [f"{minor}.{patch}" for minor, patches in _PATCHES.items() for patch in patches]


@contextmanager
def asked(about: str | None, table: str) -> Iterator[tuple[Path, Path]]:
    """(where to write, working folder) as the command line says; by default `table` of the estimator's data and a folder that goes."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0] if about else None)
    parser.add_argument("out", nargs="?", type=Path, default=_DATA / table)
    parser.add_argument("--work", type=Path, help="keeps what was read of each wheel, so that a second run downloads nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        yield options.out, work
