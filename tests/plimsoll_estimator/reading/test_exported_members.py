"""What the estimator shows to others is one list: each name is there, has a user, and brings no more than it needs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import plimsoll_estimator
import plimsoll_operator

OPERATOR = Path(str(plimsoll_operator.__file__)).parent


def test_every_exported_name_is_there_and_documented() -> None:
    for name in plimsoll_estimator.__all__:
        found = getattr(plimsoll_estimator, name)
        assert isinstance(found, int | ModuleType | tuple) or inspect.getdoc(found), name


def test_the_checker_sees_the_names_that_the_package_gives() -> None:
    tree = ast.parse(inspect.getsource(plimsoll_estimator))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    seen = [(node.module, alias.name, alias.asname) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert all(name == known_as for _, name, known_as in seen), "only a name imported as itself is shown to others"
    assert sorted(name for _, name, _ in seen) == plimsoll_estimator.__all__
    for module, name, _ in seen:
        assert getattr(plimsoll_estimator, name) is getattr(sys.modules[str(module)], name)


def imported_by_the_operator() -> set[str]:
    sources = (ast.parse(path.read_text()) for path in OPERATOR.rglob("*.py"))
    imports = [node for tree in sources for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports if node.module == "plimsoll_estimator" for alias in node.names}


def test_nothing_is_exported_that_the_operator_does_not_use() -> None:
    assert imported_by_the_operator() == set(plimsoll_estimator.__all__)


def test_another_name_is_none_of_the_package() -> None:
    assert not hasattr(plimsoll_estimator, "Rank")


def test_an_error_brings_no_model_line() -> None:
    code = (
        "import sys\nfrom plimsoll_estimator import EstimatorError, HfConfig, parse_json\n"
        "print(*(name for name in sys.modules if name.startswith('plimsoll_estimator.models')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
