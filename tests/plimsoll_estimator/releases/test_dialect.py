"""What differs by release is said in one dialect: tables of named switches, and borders that are releases, never bare tuples."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import plimsoll_estimator
from plimsoll_estimator.engine_version import NEWEST_KNOWN, OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.releases import Releases

PACKAGE = Path(str(plimsoll_estimator.__file__)).parent
PARTS = (
    "layers.planner_rules",
    "resolve.engine_core",
    "resolve.dtypes",
    *(f"{part}.releases" for part in ("layers", "towers", "quantization", "overhead", "resolve")),
)
TABLES = {name: importlib.import_module(f"plimsoll_estimator.{name}") for name in PARTS}
EACH = pytest.mark.parametrize("name", TABLES)


@dataclasses.dataclass(frozen=True)
class Switches:
    on: bool = False
    width: int = 1


MADE = Releases(Switches(), (EngineVersion(0, 10), {"width": 2}), (EngineVersion(0, 20, 2), {"on": True}))
OF = [
    ("the oldest has none of the changes", "0.9.2", Switches()),
    ("a border is the first release with its changes", "0.10.0", Switches(width=2)),
    ("a release between two borders follows the older", "0.19.1", Switches(width=2)),
    ("a patch before the border has nothing of it", "0.20.1", Switches(width=2)),
    ("a patch release may be the border", "0.20.2", Switches(on=True, width=2)),
    ("later releases keep what was", "0.33.0", Switches(on=True, width=2)),
]


@pytest.mark.parametrize(("why", "version", "switches"), OF, ids=[row[0] for row in OF])
def test_the_switches_of_a_release_are_all_changes_up_to_it(why: str, version: str, switches: Switches) -> None:
    assert MADE.of(EngineVersion.parse(version)) == switches


def test_rows_out_of_order_or_of_no_switch_fail_at_once() -> None:
    with pytest.raises(ValueError, match=r"Switches are out of order: 0\.20\.0, 0\.10\.0"):
        Releases(Switches(), (EngineVersion(0, 20), {"on": True}), (EngineVersion(0, 10), {"width": 2}))
    with pytest.raises(TypeError, match="height"):
        Releases(Switches(), (EngineVersion(0, 20), {"height": 2}))


WORDS = [
    ("the release itself is since", "0.20.0", (0, 20), True),
    ("a later patch is since", "0.20.1", (0, 20), True),
    ("an earlier patch is not", "0.20.1", (0, 20, 2), False),
    ("an earlier minor is not", "0.9.2", (0, 10), False),
]


@pytest.mark.parametrize(("why", "version", "border", "since"), WORDS, ids=[row[0] for row in WORDS])
def test_before_is_all_that_is_not_since(why: str, version: str, border: tuple[int, ...], since: bool) -> None:
    parsed = EngineVersion.parse(version)
    assert (parsed.since(*border), parsed.before(*border)) == (since, not since)


def releases_of(name: str) -> Releases[Switches]:
    (found,) = (value for value in vars(TABLES[name]).values() if isinstance(value, Releases))
    return found


@EACH
def test_every_row_changes_what_was_and_lies_among_the_known_releases(name: str) -> None:
    table = releases_of(name)
    assert table.borders, "a table without rows is none"
    assert OLDEST_KNOWN < table.borders[0] <= table.borders[-1] <= NEWEST_KNOWN
    states = [table.of(OLDEST_KNOWN), *map(table.of, table.borders)]
    assert all(earlier != later for earlier, later in pairwise(states))


@EACH
def test_every_switch_moves_in_some_release(name: str) -> None:
    table = releases_of(name)
    states = [table.of(OLDEST_KNOWN), *map(table.of, table.borders)]
    still = [field.name for field in dataclasses.fields(states[0]) if len({getattr(state, field.name) for state in states}) == 1]
    assert still == []


@EACH
def test_every_switch_says_what_it_means(name: str) -> None:
    kind = type(releases_of(name).of(OLDEST_KNOWN))
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef))
    switches = [(node.target.id, after) for node, after in pairwise([*body, ast.Pass()])
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]  # fmt: skip
    assert len(switches) == len(dataclasses.fields(kind))
    assert [switch for switch, after in switches if not isinstance(after, ast.Expr)] == []


def is_numbers(node: ast.expr) -> bool:
    return isinstance(node, ast.Tuple) and len(node.elts) > 1 and all(isinstance(part, ast.Constant) for part in node.elts)


def bare_borders(path: Path) -> Iterator[str]:
    """Comparisons of order with a tuple of numbers or with a minor, and names that leave open whether their border is in or out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops):
            if any(is_numbers(side) for side in (node.left, *node.comparators)):
                yield f"{path.name}:{node.lineno} {ast.unparse(node)}"
        elif isinstance(node, ast.Name | ast.arg | ast.keyword):
            word = node.id if isinstance(node, ast.Name) else node.arg or ""
            if "until" in word.lower():
                yield f"{path.name}:{word}"


@pytest.mark.parametrize("folder", sorted({path.parent for path in PACKAGE.rglob("*.py")}))
def test_no_border_is_a_bare_tuple(folder: Path) -> None:
    assert [found for path in sorted(folder.glob("*.py")) for found in bare_borders(path)] == []
