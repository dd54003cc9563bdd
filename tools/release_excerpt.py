"""Writes and reads excerpts of a release's files: the lines that the drill's facts are read from, as they stand in the wheel.

    python -m tools.release_excerpt VERSION [--wheel FOLDER] [--work DIR] [OUT]

So a test can hold the drill against a real release without a wheel. A file of the package is reduced to the statements that
release_facts.py looks at, word for word; what it reads of the excerpt is what it reads of the whole tree, or nothing is written.
vLLM is licensed under Apache-2.0, which the excerpt's first lines say. Refuses to know what the lines mean.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tools import extract_arguments, extract_interfaces, extract_quantization, release_facts

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "releases"
NOTICE = """\
# Excerpts of vLLM {version} (https://github.com/vllm-project/vllm), Copyright the vLLM project, licensed under the Apache License 2.0
# (https://www.apache.org/licenses/LICENSE-2.0). Written by tools/release_excerpt.py: whole statements, the rest of each file left out.
# The whole files, in the order of their names: sha256 {digest}
"""
MARK = "# file: "
LIMITS = ("get_min_capability", "get_supported_act_dtypes")
REGISTRY = "vllm/model_executor/models/registry.py"
DEFAULTS = ("vllm/config/cache.py", "vllm/config/__init__.py", "vllm/config.py", "vllm/envs.py", "vllm/config/speculative.py")


@lru_cache(maxsize=8)
def lines_of(text: str) -> list[str]:
    """The lines of one file."""
    return text.splitlines()


def source(text: str, node: ast.stmt) -> str:
    """The statement's lines as they stand, moved to the left edge."""
    return textwrap.dedent("\n".join(lines_of(text)[node.lineno - 1 : node.end_lineno]))


def heading(text: str, node: ast.ClassDef) -> str:
    """`class Name(Bases):` without decorators, and what stands before its first statement."""
    first = node.body[0]
    decorated = getattr(first, "decorator_list", [])
    line, column = min([(first.lineno, first.col_offset), *((one.lineno, one.col_offset - 1) for one in decorated)])
    lines = lines_of(text)[node.lineno - 1 : line]
    lines[-1] = lines[-1][:column]
    return textwrap.dedent("\n".join(lines)).rstrip()


def outlined(text: str, node: ast.ClassDef, body: list[ast.stmt]) -> str:
    """The class with these statements of its body, three dots for none."""
    inner = "\n".join(source(text, part) for part in body) or "..."
    return f"{heading(text, node)}\n{textwrap.indent(inner, '    ')}"


def of_models(text: str, tree: ast.Module, wanted: frozenset[str]) -> Iterator[str]:
    """What the wanted classes derive from, and where their bases are from."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in wanted]
    named = {base.id for node in classes for base in node.bases if isinstance(base, ast.Name)} | wanted
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and named & {alias.asname or alias.name for alias in node.names}:
            yield source(text, node)
        elif node in classes:
            yield outlined(text, node, [])


def reached(models: Path) -> dict[str, frozenset[str]]:
    """Module of the models' folder to the classes of it that an architecture is, or derives from."""
    found: dict[str, set[str]] = {}
    todo = list(dict.fromkeys(extract_interfaces.registered(models).values()))
    while todo:
        module, name = todo.pop()
        path = next((path for path in (models / f"{module}.py", models / module / "__init__.py") if path.exists()), None)
        if path is None or name in found.get(str(path), ()):
            continue
        found.setdefault(str(path), set()).add(name)
        imported, classes = extract_interfaces.outline(path)
        todo += [(imported.get(base, module), base) for base in classes.get(name, ())]
        todo += [(imported[name], name)] if name in imported else []
    return {path: frozenset(names) for path, names in found.items()}


def of_registry(text: str, tree: ast.Module) -> Iterator[str]:
    """The dictionaries of architectures."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            yield source(text, node)


def of_methods(text: str, tree: ast.Module) -> Iterator[str]:
    """The lists and maps of methods, and the limits of their classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield outlined(text, node, [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name in LIMITS])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            value = node.value
            if isinstance(target, ast.Name) and (
                "METHODS" in target.id.upper() or target.id == "method_to_config" or isinstance(value, ast.Name)
            ):
                yield source(text, node)


def adds(node: ast.AST) -> bool:
    """Whether it adds to a parser."""
    return any(isinstance(part, ast.Attribute) and part.attr == "add_argument" for part in ast.walk(node))


def of_arguments(text: str, tree: ast.Module) -> Iterator[str]:
    """What is added to the parser, and the fields of the front end's."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.For) and adds(node):
            inside |= {id(part) for part in ast.walk(node)}
            yield source(text, node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and adds(node):
            yield source(text, node)
        elif isinstance(node, ast.ClassDef) and node.name in release_facts.FRONT_ENDS:
            yield outlined(text, node, [part for part in node.body if isinstance(part, ast.AnnAssign)])


def of_defaults(text: str, tree: ast.Module) -> Iterator[str]:
    """The cache's share of the GPU, the variable for graphs, and the lists of drafts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            parts = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            wanted = [part for part in parts if isinstance(part.target, ast.Name) and part.target.id == "gpu_memory_utilization"]
            if wanted:
                yield outlined(text, node, list(wanted))
        elif isinstance(node, ast.Call) and [part.value for part in node.args if isinstance(part, ast.Constant)][:1] == [
            release_facts.GRAPHS
        ]:
            yield ast.get_source_segment(text, node) or ""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Subscript):
            yield source(text, statement)


def reduced(name: str, text: str, wanted: frozenset[str]) -> str:
    """What of a file the facts are read from, of models the `wanted` classes; empty for nothing."""
    looked_at = (*(f"vllm/{path}" for path in release_facts.ARGUMENTS), *DEFAULTS)
    if not (wanted or name in looked_at or name == REGISTRY or extract_quantization.SOURCES.fullmatch(name)):
        return ""
    tree = ast.parse(text)
    if name == REGISTRY:
        parts = of_registry(text, tree)
    elif extract_quantization.SOURCES.fullmatch(name):
        parts = of_methods(text, tree)
    elif wanted:
        parts = of_models(text, tree, wanted)
    elif name.removeprefix("vllm/") in release_facts.ARGUMENTS:
        parts = iter([*of_arguments(text, tree), *of_defaults(text, tree)])
    else:
        parts = of_defaults(text, tree)
    return "\n".join(parts)


def excerpt(tree: Path, version: str) -> str:
    """The excerpt of the folder that holds the package. Raises RuntimeError where other facts would be read of it."""
    whole = {str(path.relative_to(tree)): path.read_text(encoding="utf-8") for path in sorted((tree / "vllm").rglob("*.py"))}
    wanted = reached(tree / "vllm" / "model_executor" / "models")
    nothing: frozenset[str] = frozenset()
    kept = {name: part for name, text in whole.items() if (part := reduced(name, text, wanted.get(str(tree / name), nothing)))}
    digest = hashlib.sha256("".join(whole[name] for name in kept).encode()).hexdigest()
    text = NOTICE.format(version=version, digest=digest) + "".join(f"{MARK}{name}\n{part}\n" for name, part in kept.items())
    with tempfile.TemporaryDirectory() as folder:
        said, read = release_facts.of_tree(tree), release_facts.of_tree(unpack(files_of(text), Path(folder)))
    if said != read:
        raise RuntimeError(f"the excerpt of {version} does not say what its files say")
    return text


def files_of(text: str) -> dict[str, str]:
    """Name to text of the files in an excerpt."""
    parts = text.split(f"\n{MARK}")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] + "\n" for part in parts}


def unpack(files: dict[str, str], folder: Path) -> Path:
    """The files in a folder, which is returned."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def main() -> int:
    """Write one excerpt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vllm-releases")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    tree = given.wheel or extract_arguments.unpacked(given.version, given.work)
    out = given.out or FOLDER / f"{given.version}.txt"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(excerpt(tree, given.version), encoding="utf-8")
    print(f"{out}: {out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
