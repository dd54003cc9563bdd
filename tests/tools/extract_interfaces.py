"""What vLLM's model classes can do, and its speculative methods, by release: from unpacked wheels for data/engine_defaults.json.

    python tests/tools/extract_interfaces.py VERSION=FOLDER...

FOLDER holds the package `vllm` of that release. A class takes adapters, or EAGLE-3 drafts, when it or a class it derives from names
`SupportsLoRA` or `SupportsEagle3` (vllm/model_executor/models/interfaces.py). Methods are the literals of SpeculativeMethod
(vllm/config/speculative.py, before 0.11 vllm/config.py). Nothing is imported: the sources are parsed. Prints the tables
`takes_lora`, `takes_eagle3` and `speculative_methods`, each a name to [first examined minor with it, last one or null while the
newest has it], and `examined`, the minors that were read.
"""

from __future__ import annotations

import ast
import json
import sys
from functools import cache
from pathlib import Path

from plimsoll_estimator.engine_version import EngineVersion


@cache
def parsed(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def registered(models: Path) -> dict[str, tuple[str, str]]:
    """Name in `architectures` to (module, class), from the dictionaries of registry.py."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(parsed(models / "registry.py")):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                pair = [element.value for element in value.elts if isinstance(element, ast.Constant)]
                if len(pair) == 2 and all(isinstance(part, str) for part in (key.value, *pair)):
                    found[key.value] = (pair[0], pair[1])
    return found


def implements(mark: str, models: Path, module: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> bool:
    """Whether the class or one of its bases names the interface."""
    path = models / f"{module}.py"
    if not path.exists():
        path = models / module / "__init__.py"
    if (module, name) in seen or not path.exists():
        return False
    tree = parsed(path)
    imported = {
        alias.asname or alias.name: (node.module or "").rpartition("models.")[2].lstrip(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            seen |= {(module, name)}
            return mark in bases or any(implements(mark, models, imported.get(base, module), base, seen) for base in bases)
    return name in imported and implements(mark, models, imported[name], name, seen | {(module, name)})


def methods(package: Path) -> set[str]:
    """The literals of SpeculativeMethod, those of the aliases it names included."""
    config = package / "config"
    path = next(path for path in (config / "speculative.py", config / "__init__.py", package / "config.py") if path.exists())
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

    return literals("SpeculativeMethod")


def minor(version: str) -> str:
    """0.19.1 is of 0.19."""
    return ".".join(version.split(".")[:2])


def spans(by_version: dict[str, set[str]]) -> dict[str, list[str | None]]:
    """Name to the first and last minor that has it; null while the newest does."""
    versions = list(by_version)
    found: dict[str, list[str | None]] = {}
    for name in sorted(set().union(*by_version.values())):
        having = [version for version in versions if name in by_version[version]]
        found[name] = [minor(having[0]), None if having[-1] == versions[-1] else minor(having[-1])]
    return found


def tables(folders: dict[str, Path]) -> dict[str, object]:
    """All tables, versions in order."""
    versions = sorted(folders, key=EngineVersion.parse)
    packages = {version: folders[version] / "vllm" for version in versions}

    def classes(mark: str) -> dict[str, list[str | None]]:
        by_version = {}
        for version, package in packages.items():
            models = package / "model_executor" / "models"
            by_version[version] = {arch for arch, (module, name) in registered(models).items() if implements(mark, models, module, name)}
        return spans(by_version)

    return {
        "examined": [minor(version) for version in versions],
        "speculative_methods": spans({version: methods(package) for version, package in packages.items()}),
        "takes_lora": classes("SupportsLoRA"),
        "takes_eagle3": classes("SupportsEagle3"),
    }


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    print(json.dumps(tables({version: Path(folder) for version, folder in given.items()}), indent=1))
