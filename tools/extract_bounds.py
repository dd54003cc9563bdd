"""Extracts the bounds that each vLLM release sets to numbers among its arguments, and writes the table of them.

    python -m tools.extract_bounds [--work DIR] [OUT]

The classes of vllm/config check their fields as they are made (pydantic's `Field(ge=1)`), and an argument has the name of its field. Files
are read as syntax trees, nothing is imported. A bound that two classes set differently for one name is not the argument's: it is left out.
"""

from __future__ import annotations

import ast
import json
import re

from tools.extract_arguments import read_files
from tools.releases import EVERY_RELEASE, asked

TABLE = "argument_bounds.json"
CONFIG = re.compile(r"vllm/config/\w+\.py|vllm/config\.py")
KINDS = ("ge", "gt", "le", "lt")
ARGUMENTS = re.compile(r"vllm/engine/arg_utils\.py")

Bounds = dict[str, float]


def bounds_of(node: ast.AST) -> Bounds:
    """What the calls of `Field` in a field's annotation and default say."""
    found: Bounds = {}
    for call in ast.walk(node):
        name = getattr(call.func, "id", getattr(call.func, "attr", "")) if isinstance(call, ast.Call) else ""
        if isinstance(call, ast.Call) and name == "Field":
            found |= {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in KINDS}
    return found


def fields_of(text: str, *, engine: bool = False) -> dict[str, list[Bounds]]:
    """Field to bounds for every class of a module; of EngineArgs alone where `engine` says so."""
    found: dict[str, list[Bounds]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and (node.name == "EngineArgs" or not engine):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    found.setdefault(statement.target.id, []).append(bounds_of(statement))
    return found


def bounds_in(release_files: dict[str, str]) -> dict[str, Bounds]:
    """Flag to bounds in one release."""
    arguments: set[str] = set()
    said: dict[str, list[Bounds]] = {}
    for name, text in release_files.items():
        if ARGUMENTS.fullmatch(name):
            arguments |= set(fields_of(text, engine=True))
            continue
        for field, bounds in fields_of(text).items():
            said.setdefault(field, []).extend(bounds)
    agreed = {field: [one for one in bounds if one] for field, bounds in said.items()}
    return {
        "--" + field.replace("_", "-"): bounds[0]
        for field, bounds in agreed.items()
        if bounds and field in arguments and not field.startswith("_") and all(one == bounds[0] for one in bounds)
    }


def spans(releases: dict[str, dict[str, Bounds]]) -> dict[str, list[list[object]]]:
    """Flag to [since, before, bounds], one for each run of releases that set the same; the last `before` is null while they still do."""
    names = list(releases)
    table: dict[str, list[list[object]]] = {}
    for place, (release, bounds) in enumerate(releases.items()):
        following = names[place + 1] if place + 1 < len(names) else None
        for flag in sorted(bounds):
            rows = table.setdefault(flag, [])
            if rows and rows[-1][1] == release and rows[-1][2] == bounds[flag]:
                rows[-1][1] = following
            else:
                rows.append([release, following, bounds[flag]])
    return table


def main() -> None:
    """Write the table."""
    files = re.compile(f"{CONFIG.pattern}|{ARGUMENTS.pattern}")
    with asked(__doc__, TABLE) as (out, work):
        found = {release: bounds_in(read_files(release, work, files, "bounds")) for release in EVERY_RELEASE}
    table = spans(found)
    lines = ",\n".join(f"{json.dumps(flag)}: {json.dumps(rows)}" for flag, rows in sorted(table.items()))
    out.write_text(f'{{"bounds": {{\n{lines}\n}}}}\n')
    print(f"{len(table)} arguments with bounds in {len(found)} releases -> {out}")


if __name__ == "__main__":
    main()
