"""What several parts write or read, names on objects and places in the pod, is spelled once: a second one would go its own way."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import plimsoll_operator
from plimsoll_operator import names, pod

ROOT = Path(plimsoll_operator.__file__).parent
ROOMS = (names, pod)
TEXTS = [(name, value) for room in ROOMS for name, value in vars(room).items() if name.isupper() and isinstance(value, str | re.Pattern)]
NAMED = {value.pattern if isinstance(value, re.Pattern) else value: name for name, value in TEXTS}
WORDS = {"plimsoll", names.VERSION}
"""Named there too, but words of their own elsewhere: the program's name, and the version in sentences."""


def _spelled(source: Path) -> Iterator[tuple[str, int]]:
    """Whole strings of a file but those of types: Literal takes no names."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    literals = [node for node in taken if isinstance(node.value, ast.Name) and node.value.id == "Literal"]
    typed = {id(part) for node in literals for part in ast.walk(node.slice)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in typed:
            yield node.value, node.lineno


@cache
def _all_spelled() -> list[tuple[Path, str, int]]:
    return [(source, text, line) for source in sorted(ROOT.rglob("*.py")) for text, line in _spelled(source)]


def test_names_are_told_apart() -> None:
    assert len(TEXTS) == len(NAMED)
    assert f"{names.GROUP}/{names.VERSION}" == names.API_VERSION
    assert f"{names.MANAGED_LABEL}={names.MANAGED_VALUE}" == names.MANAGED_SELECTOR


def test_no_other_file_spells_what_has_a_room() -> None:
    again = [
        f"{source.relative_to(ROOT)}:{line} spells {NAMED[text]}"
        for source, text, line in _all_spelled()
        if source not in {Path(str(room.__file__)) for room in ROOMS} and text in NAMED.keys() - WORDS
    ]
    assert again == []


def test_every_name_of_ours_is_in_the_room_of_names() -> None:
    """Whatever begins with our group and has a name of its own is a label or an annotation."""
    ours = re.compile(re.escape(names.GROUP) + r"/[a-z-]+")
    found = {text for _, text, _ in _all_spelled() if ours.fullmatch(text)}
    assert found <= NAMED.keys()
    assert names.PLAN_ANNOTATION in found
