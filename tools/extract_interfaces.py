"""Extracts what vLLM's model classes can do, and its speculative methods, release by release, from published wheels.

    python -m tools.extract_interfaces [--work DIR] [OUT]

A class takes adapters, or EAGLE-3 drafts, when it or a class it derives from names `SupportsLoRA` or `SupportsEagle3`
(vllm/model_executor/models/interfaces.py). Methods are the literals of SpeculativeMethod (vllm/config/speculative.py, before 0.11
vllm/config.py; 0.8 has no such list). Nothing is imported: the sources are parsed. Writes the tables `takes_lora`, `takes_eagle3`
and `speculative_methods`, each a name to [since, before) pairs of releases, and since when each table was read.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

from tools.extract_architectures import spans
from tools.extract_arguments import unpacked
from tools.releases import EVERY_RELEASE, asked

TABLE = "interfaces.json"
MARKS = {"takes_lora": "SupportsLoRA", "takes_eagle3": "SupportsEagle3"}
BY_METHOD = {"get_eagle3_aux_hidden_state_layers": "SupportsEagle3"}
"""Methods by which a class had an interface before that had a name."""
UNLISTED = ("eagle3",)
"""Methods of speculative decoding that the code of a release may tell apart without listing them (0.8.5 to 0.9.0)."""


def parsed(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def outline(path: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What a module imports, name to module of the models' folder, and the bases of its classes."""
    tree = parsed(path)
    imported = {
        alias.asname or alias.name: (node.module or "").rpartition("models.")[2].lstrip(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    classes = {node.name: _bases(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    return imported, classes


def _bases(node: ast.ClassDef) -> list[str]:
    defined = [BY_METHOD[part.name] for part in node.body if isinstance(part, ast.FunctionDef) and part.name in BY_METHOD]
    return [*(base.id for base in node.bases if isinstance(base, ast.Name)), *defined]


def registered(models: Path) -> dict[str, tuple[str, str]]:
    """Name in `architectures` to (module, class), from the dictionaries of registry.py."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(parsed(models / "registry.py")):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                pair = [element.value for element in value.elts if isinstance(element, ast.Constant) and isinstance(element.value, str)]
                if len(pair) == 2 and isinstance(key.value, str):
                    found[key.value] = (pair[0], pair[1])
    return found


def implements(mark: str, models: Path, module: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> bool:
    """Whether the class or one of its bases names the interface."""
    path = models / f"{module}.py"
    if not path.exists():
        path = models / module / "__init__.py"
    if (module, name) in seen or not path.exists():
        return False
    imported, classes = outline(path)
    if name in classes:
        seen |= {(module, name)}
        return mark in classes[name] or any(implements(mark, models, imported.get(base, module), base, seen) for base in classes[name])
    return name in imported and implements(mark, models, imported[name], name, seen | {(module, name)})


def methods(package: Path) -> set[str]:
    """The literals of SpeculativeMethod, those of the aliases it names included, and what the code asks for without listing it.

    None where the release has no such list.
    """
    config = package / "config"
    path = next(path for path in (config / "speculative.py", config / "__init__.py", package / "config.py") if path.exists())
    if "SpeculativeMethod" not in path.read_text(encoding="utf-8"):
        return set()
    aliases = {
        node.targets[0].id: node.value
        for node in parsed(path).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Subscript)
    }

    def literals(name: str) -> set[str]:
        found: set[str] = set()
        for node in ast.walk(aliases[name].slice):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.Name) and node.id in aliases:
                found |= literals(node.id)
        return found

    asked_for = {node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant) and node.value in UNLISTED}
    return literals("SpeculativeMethod") | asked_for


def able(tree: Path, mark: str) -> set[str]:
    """Architectures whose class has the interface."""
    models = tree / "vllm" / "model_executor" / "models"
    return {arch for arch, (module, name) in registered(models).items() if implements(mark, models, module, name)}


def written(tables: dict[str, dict[str, set[str]]]) -> str:
    """The tables as text: a line a name."""
    parts = [f'"read_since": {json.dumps({table: next(iter(releases)) for table, releases in tables.items()})}']
    for table, releases in tables.items():
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(pairs)}" for name, pairs in spans(releases).items())
        parts.append(f"{json.dumps(table)}: {{\n{lines}\n}}")
    return "{" + ",\n".join(parts) + "}\n"


def tables_of(tree: Path) -> dict[str, set[str]]:
    """All tables of one release."""
    return {**{table: able(tree, mark) for table, mark in MARKS.items()}, "speculative_methods": methods(tree / "vllm")}


def main() -> None:
    """Write the tables."""
    with asked(__doc__, TABLE) as (out, work):
        found = {release: tables_of(unpacked(release, work)) for release in EVERY_RELEASE}
        tables = {table: {release: row[table] for release, row in found.items()} for table in (*MARKS, "speculative_methods")}
        tables["speculative_methods"] = {release: names for release, names in tables["speculative_methods"].items() if names}
        out.write_text(written(tables))
        print(f"{len(EVERY_RELEASE)} releases -> {out}")


if __name__ == "__main__":
    main()
