"""Extracts which models vLLM of 0.8.0 to 0.10.2 runs on its V0 engine by itself, and writes the table of them.

    python -m tools.extract_older_core [--work DIR] [OUT]

A class of the registry goes there where it is, or inherits from, SupportsV0Only; from 0.9.2 until before 0.10.2 also where it has an
inner state (engine/arg_utils.py: _is_v1_supported_oracle). Nothing of vLLM is imported: modules are read as syntax trees.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TypeAlias

from tools.extract_arguments import read_files
from tools.releases import asked

TABLE = "older_core.json"
RELEASES = ["0.8.0", "0.8.1", "0.8.2", "0.8.3", "0.8.4", "0.8.5", "0.9.0", "0.9.1", "0.9.2", "0.10.0", "0.10.1", "0.10.2"]
GONE = "0.11.0"
MODELS = re.compile(r"vllm/model_executor/models/\w+\.py")
INNER_STATE = ("0.9.2", "0.10.0", "0.10.1")
LEFT_OUT = re.compile(r"_(PREVIOUSLY|OOT)_SUPPORTED_MODELS")

Place: TypeAlias = tuple[str, str]
"""A module and a class in it."""


def registered(text: str) -> dict[str, Place]:
    """Architecture to its place, from the registry's literal dictionaries."""
    found: dict[str, Place] = {}
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if not isinstance(target, ast.Name) or not target.id.endswith("_MODELS") or LEFT_OUT.fullmatch(target.id):
            continue
        for key, entry in zip(value.keys, value.values, strict=True) if isinstance(value, ast.Dict) else ():
            if isinstance(key, ast.Constant) and isinstance(entry, ast.Tuple):
                module, name = (part.value for part in entry.elts if isinstance(part, ast.Constant))
                found[str(key.value)] = (str(module), str(name))
    return found


def bases(sources: dict[str, str]) -> dict[Place, list[Place]]:
    """Each class's bases by place; those from elsewhere have an empty module."""
    found: dict[Place, list[Place]] = {}
    for module, text in sources.items():
        tree = ast.parse(text)
        imported = {
            alias.asname or alias.name: ((node.module or "").rpartition(".")[2], alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.level == 1 or (node.module or "").startswith("vllm.model_executor.models."))
            for alias in node.names
        }
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        here = {node.name for node in classes}
        for node in classes:
            names = [base.id for base in node.bases if isinstance(base, ast.Name)]
            found[module, node.name] = [(module, name) if name in here else imported.get(name, ("", name)) for name in names]
    return found


def ancestors(place: Place, of: dict[Place, list[Place]]) -> set[str]:
    """The names of all classes above one."""
    names: set[str] = set()
    pending = list(of.get(place, ()))
    while pending:
        above = pending.pop()
        if above[1] not in names:
            names.add(above[1])
            pending += of.get(above, ())
    return names


def on_v0(sources: dict[str, str], inner_state: bool) -> set[str]:
    """The architectures of one release, from its model modules by name, that it runs on V0."""
    of = bases(sources)
    marks = {"SupportsV0Only"} | ({"HasInnerState"} if inner_state else set())
    return {name for name, place in registered(sources["registry"]).items() if marks & ancestors(place, of)}


def spans(releases: dict[str, set[str]]) -> dict[str, list[list[str]]]:
    """Architecture to [since, before) releases, one pair for each time it was there."""
    ends = [*list(releases)[1:], GONE]
    table: dict[str, list[list[str]]] = {}
    for (release, names), end in zip(releases.items(), ends, strict=True):
        for name in sorted(names):
            rows = table.setdefault(name, [])
            if rows and rows[-1][1] == release:
                rows[-1][1] = end
            else:
                rows.append([release, end])
    return table


def main() -> None:
    """Write the table."""
    found: dict[str, set[str]] = {}
    with asked(__doc__, TABLE) as (out, work):
        for release in RELEASES:
            sources = {Path(name).stem: text for name, text in read_files(release, work, MODELS, "models").items()}
            found[release] = on_v0(sources, release in INNER_STATE)
        out.write_text(json.dumps({"models": spans(found), "releases": RELEASES}, indent=0, sort_keys=True) + "\n")
        print(f"{len(spans(found))} architectures in {len(RELEASES)} releases -> {out}")


if __name__ == "__main__":
    main()
