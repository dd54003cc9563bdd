"""Guards of the repository layout: the two source roots are folders, never packages, so that `operator` stays the stdlib's."""

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("folder", ["operator", "estimator", "tests", "tools", "tests/plimsoll_operator", "tests/plimsoll_estimator"])
def test_source_roots_are_not_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_stdlib_operator_wins_from_the_repository_root() -> None:
    code = "import operator; print(operator.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))


def test_no_test_passes_by_not_running() -> None:
    """What a machine lacks is a failure that says so, or is selected out by a marker: a skipped test tells nobody anything."""
    ways = re.compile(r"pytest[.](?:skip|importorskip|xfail)\b|[.]mark[.](?:skip|skipif|xfail)\b|SkipTest")
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*.py") if ways.search(path.read_text("utf-8"))}
    assert found <= {"tests/test_layout.py"}


def test_no_module_is_exempt_from_types() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"] is True
    assert {"estimator", "operator", "tests", "tools"} <= set(settings["files"])
    assert all(set(override) == {"module", "ignore_missing_imports"} for override in settings["overrides"])
    own = re.compile(r"^# mypy:|# type: ignore(?!\[)", re.MULTILINE)
    sources = (path for folder in settings["files"] for path in ROOT.glob(f"{folder}/**/*.py"))
    found = {path.relative_to(ROOT).as_posix() for path in sources if own.search(path.read_text("utf-8"))}
    assert found <= {"tests/test_layout.py"}


@pytest.mark.parametrize("package", ["plimsoll_operator", "plimsoll_estimator"])
def test_the_documented_floors_are_those_of_the_import_contracts(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == [package])
    page = (ROOT / "docs/architecture.md").read_text()
    picture = page[page.index(f"/{package}") :].split("\n\n")[0].split("```")[0].splitlines()[1:]
    assert [re.split(r" {2,}", line.strip())[0] for line in picture] == [layer.replace(" : ", " | ") for layer in layers]


def test_wheel_and_chart_are_of_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = (ROOT / "deploy/helm/plimsoll/Chart.yaml").read_text()
    assert re.findall(r"^(?:version|appVersion): (\S+)", chart, re.MULTILINE) == [version, version]


def test_no_test_module_leans_on_another() -> None:
    """Builders are in modules of their own, fixtures in the conftest.py of their folder: so a test file may be moved, cut or dropped."""
    leaning = re.compile(r"^\s*(?:from|import) tests\.(?:\w+\.)*test_\w+|# noqa: F(?:401|811)", re.MULTILINE)
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*.py") if leaning.search(path.read_text("utf-8"))}
    assert found <= {"tests/test_layout.py"}


@pytest.mark.parametrize("folder", ["operator", "estimator", "tests", "tools"])
def test_no_module_is_longer_than_what_one_reads_at_a_sitting(folder: str) -> None:
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in ROOT.glob(f"{folder}/**/*.py")}
    assert not {path: count for path, count in lines.items() if count > 400}


@pytest.mark.parametrize("folder", ["operator", "estimator"])
def test_no_function_is_longer_than_a_screen(folder: str) -> None:
    long = {
        f"{path.relative_to(ROOT).as_posix()}: {node.name}": node.end_lineno - node.lineno + 1
        for path in ROOT.glob(f"{folder}/**/*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None and node.end_lineno - node.lineno >= 60
    }
    assert not long
