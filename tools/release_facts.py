"""What the files of one release of vLLM say, and what the estimator's tables say of the same release, in the same words.

Called by release_drill.py. Nothing of vLLM is imported: its files are read as syntax trees, with the extractors that write the tables.
Refuses to know what a difference means.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tools import extract_architectures, extract_interfaces, extract_quantization

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.resolve.facts import interface
from plimsoll_estimator.resolve.methods import methods_of
from plimsoll_estimator.resolve.releases import argument_rules

ESTIMATOR = Path(__file__).parents[1] / "estimator" / "plimsoll_estimator"
ARGUMENTS = (
    "engine/arg_utils.py",
    "entrypoints/openai/cli_args.py",
    "entrypoints/launchers/cli_args.py",
    "entrypoints/common/cli_args.py",
    "entrypoints/cli/serve.py",
)
"""Where releases add arguments and list the fields of the front end's; of those that a release has."""
GRAPHS = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"
FRONT_ENDS = ("FrontendArgs", "BaseFrontendArgs", "RenderArgs")
CITED = re.compile(r"([\w/]+\.py): ((?:[A-Za-z_]\w*)(?:(?:, | and )[A-Za-z_]\w*)*)")
SOURCE = re.compile(r"\b((?:vllm/)?(?:model_executor/)?models/[\w/]+\.py)\b")


@dataclass(frozen=True, slots=True)
class Facts:
    """What one release has, by kind; a kind that was not read is None."""

    architectures: frozenset[str]
    flags: frozenset[str]
    methods: Mapping[str, str]
    """Quantisation method to its limits in words."""
    interfaces: Mapping[str, frozenset[str]]
    """`takes_lora`, `takes_eagle3`, `speculative_methods` to names."""
    utilization: float | None
    """Default of --gpu-memory-utilization."""
    deducts_graphs: bool | None
    """Whether it takes its own estimate of the graphs off the budget unless told otherwise; None where it knows no such estimate."""


def of_tree(tree: Path) -> Facts:
    """Read the folder that holds the package `vllm`. Raises FileNotFoundError where a file that every release has is not there."""
    package = tree / "vllm"
    models = package / "model_executor" / "models"
    names = {str(path.relative_to(tree)): path for path in package.rglob("*.py")}
    wanted = {name: path.read_text(encoding="utf-8") for name, path in names.items() if extract_quantization.SOURCES.fullmatch(name)}
    return Facts(
        architectures=frozenset(extract_architectures.registered((models / "registry.py").read_text(encoding="utf-8"))),
        flags=frozenset(flags(package)),
        methods={name: limits(*row) for name, row in extract_quantization.methods(wanted).items()},
        interfaces={table: frozenset(found) for table, found in extract_interfaces.tables_of(tree).items()},
        utilization=utilization(package),
        deducts_graphs=deducts_graphs(package),
    )


def limits(least: int, dtypes: tuple[str, ...], deprecated: bool) -> str:
    """The limits of a quantisation method: `from 7.5, float16 and bfloat16, deprecated`."""
    spelled = " and ".join(sorted(dtypes))
    return f"from {least // 10}.{least % 10}, {spelled}{', deprecated' if deprecated else ''}"


def flags(package: Path) -> Iterator[str]:
    """Long spellings that the release's files add to its parser, without those that a Boolean's negation derives."""
    for name in ARGUMENTS:
        path = package / name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
                first = [str(part.value) for part in node.args if isinstance(part, ast.Constant) and str(part.value).startswith("--")]
                yield from first[:1]
            elif isinstance(node, ast.For) and any(
                isinstance(part, ast.Attribute) and part.attr == "add_argument" for part in ast.walk(node)
            ):
                listed = [str(part.value) for part in ast.walk(node.iter) if isinstance(part, ast.Constant)]
                yield from (value for value in listed if value.startswith("--"))
            elif isinstance(node, ast.ClassDef) and node.name in FRONT_ENDS:
                fields = [part.target.id for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
                yield from ("--" + field.replace("_", "-") for field in fields)


def utilization(package: Path) -> float | None:
    """The default of the cache's configuration class, in the oldest releases the arguments'; None where none is a number."""
    for path in (package / name for name in ("config/cache.py", "config/__init__.py", "config.py", "engine/arg_utils.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "gpu_memory_utilization":
                numbers = [part.value for part in ast.walk(node.value or node) if isinstance(part, ast.Constant)]
                found = [number for number in numbers if isinstance(number, float) and 0 < number < 1]
                if found:
                    return found[0]
    return None


def deducts_graphs(package: Path) -> bool | None:
    """The default of the variable by which the release's worker decides (envs.py)."""
    for node in ast.walk(ast.parse((package / "envs.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and [part.value for part in node.args if isinstance(part, ast.Constant)][:1] == [GRAPHS]:
            return ast.literal_eval(node.args[-1]) not in ("0", 0, False)
    return None


def of_tables(version: EngineVersion, tree: Facts) -> Facts:
    """What the estimator's tables say of that release; of interfaces that no source settled, what the tree has."""
    spans = _data("architectures.json")["architectures"]
    said = {
        table: frozenset(
            name
            for name in names | frozenset(_data("interfaces.json")[table])
            if (known := interface(table, name, version)) or (known is None and name in names)
        )
        for table, names in tree.interfaces.items()
    }
    return Facts(
        architectures=frozenset(name for name, pairs in spans.items() if any(_within(version, *pair) for pair in pairs)),
        flags=frozenset(argument_rows(version)),
        methods={name: limits(row.min_capability, row.dtypes, row.deprecated) for name, row in methods_of(version).items()},
        interfaces=said,
        utilization=argument_rules(version).gpu_memory_utilization,
        deducts_graphs=overhead_rules(version).deducts_graphs,
    )


def argument_rows(version: EngineVersion) -> dict[str, dict[str, Any]]:
    """Flag to the row that the table has of it in that release."""
    rows = _data("arguments.json")["arguments"]
    return {row["flag"]: row for row in rows if _within(version, row["since"], row.get("before"))}


def argument_values(version: EngineVersion) -> dict[str, frozenset[str]]:
    """Flag to the values that the table lists in that release."""
    return {
        flag: frozenset(value for value, pairs in values.items() if any(_within(version, *pair) for pair in pairs))
        for flag, values in _data("arguments.json")["values"].items()
    }


def kernels_row(version: EngineVersion) -> dict[str, Any]:
    """For which GPUs the table says the release is built, and on which PyTorch: of the last release that it has until then."""
    rows: dict[str, dict[str, Any]] = _data("kernels.json")["releases"]
    return [row for release, row in rows.items() if EngineVersion.parse(release) <= version][-1]


def _within(version: EngineVersion, since: str, before: str | None) -> bool:
    return EngineVersion.parse(since) <= version and (before is None or version < EngineVersion.parse(before))


@cache
def _data(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ESTIMATOR / "data" / name).read_text(encoding="utf-8"))
    return document


# --------------------------------------------------------------------------------------------------------- code that rules cite
@dataclass(frozen=True, slots=True)
class Citation:
    """A function or class of vLLM that a module of the estimator names as its source."""

    path: str
    name: str
    cited_by: str


def citations(folder: Path = ESTIMATOR) -> list[Citation]:
    """Every `path.py: name` of the estimator's modules, once each."""
    found = {
        Citation(path, name, str(module.relative_to(folder.parent)))
        for module in folder.rglob("*.py")
        for path, names in CITED.findall(module.read_text(encoding="utf-8"))
        for name in re.split(r", | and ", names)
    }
    return sorted(found, key=lambda one: (one.path, one.name, one.cited_by))


def cited_files(folder: Path = ESTIMATOR) -> dict[str, list[str]]:
    """Whole files of vLLM's models that modules name as their source, and by which."""
    found: dict[str, list[str]] = {}
    for module in sorted(folder.rglob("*.py")):
        for path in SOURCE.findall(module.read_text(encoding="utf-8")):
            found.setdefault(path[path.index("models/") :], []).append(str(module.relative_to(folder.parent)))
    return found


def moved(before: Path, after: Path, cited: list[Citation]) -> Iterator[tuple[Citation, str]]:
    """The cited code that is not the same in both trees, and what became of it. What the older tree does not have is no finding."""
    for one in cited:
        here, there = code(before, one.path, one.name), code(after, one.path, one.name)
        if here and there != here:
            yield one, "changed" if there else "gone"


def moved_files(before: Path, after: Path, cited: Mapping[str, list[str]]) -> Iterator[tuple[str, str, list[str]]]:
    """The cited files that are not the same in both trees."""
    for path, modules in cited.items():
        here, there = (whole(tree, path) for tree in (before, after))
        if here and there != here:
            yield path, "changed" if there else "gone", modules


def code(tree: Path, path: str, name: str) -> set[str]:
    """The named functions and classes of the files that end so, without comments, docstrings and layout."""
    return {
        bare(node)
        for file in matching(tree, path)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name
    }


def whole(tree: Path, path: str) -> set[str]:
    """The files that end so, without comments, docstrings and layout."""
    return {bare(ast.parse(file.read_text(encoding="utf-8"))) for file in matching(tree, path)}


def bare(node: ast.AST) -> str:
    """The tree as text, docstrings left out."""
    for part in ast.walk(node):
        body = getattr(part, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            del body[0]
    return ast.dump(node)


@cache
def files(tree: Path) -> dict[str, list[Path]]:
    """File name to the files of it, of the package."""
    found: dict[str, list[Path]] = {}
    for path in sorted((tree / "vllm").rglob("*.py")):
        found.setdefault(path.name, []).append(path)
    return found


def matching(tree: Path, path: str) -> list[Path]:
    """The package's files whose path ends so."""
    end = path.removeprefix("vllm/")
    return [file for file in files(tree).get(Path(end).name, ()) if f"/{file.relative_to(tree / 'vllm')}".endswith(f"/{end}")]
