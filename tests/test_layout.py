"""Guards of the repository layout: the two source roots are folders, never packages, so that `operator` stays the stdlib's."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("folder", ["operator", "estimator", "tests", "tests/plimsoll_operator", "tests/plimsoll_estimator"])
def test_source_roots_are_not_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_stdlib_operator_wins_from_the_repository_root() -> None:
    code = "import operator; print(operator.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))
