"""Extracts the quantisation methods of each release of vLLM, from published wheels, and writes the table of them.

    python -m tools.extract_quantization [--work DIR] [OUT]

For each release: the names it lists, and of each name's class the least compute capability (`get_min_capability`), the dtypes of
activations (`get_supported_act_dtypes`) and whether it is refused without --allow-deprecated-quantization. Nothing of vLLM is imported:
modules are read as syntax trees, and a method that a class does not have is its base's. Methods of other platforms are left out.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from tools.extract_arguments import read_files
from tools.releases import EVERY_RELEASE, asked

TABLE = "quantization_methods.json"
SOURCES = re.compile(r"vllm/(model_executor/layers/quantization/.+|model_executor/models/deepseek_v4|models/deepseek_v4/\w+)\.py")
INIT = "vllm/model_executor/layers/quantization/__init__.py"
ELSEWHERE = {"cpu_awq", "cpu_gptq", "inc_cpu", "ipex", "neuron_quant", "tpu_int8"}
DTYPES = {"half": "float16", "float16": "float16", "bfloat16": "bfloat16", "float32": "float32"}
Row = tuple[int, tuple[str, ...], bool]
"""Least capability, dtypes, and whether it is deprecated."""


def names_and_classes(text: str) -> tuple[list[str], dict[str, str], set[str]]:
    """The names that a release lists, the class of each that its map has, and those it calls deprecated."""
    listed: list[str] = []
    classes: dict[str, str] = {}
    deprecated: set[str] = set()
    aliases: dict[str, str] = {}
    for node in ast.walk(ast.parse(text)):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if not isinstance(target, ast.Name) or value is None:
            continue
        if isinstance(value, ast.Name):
            aliases[target.id] = value.id
        words = [part.value for part in ast.walk(value) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if target.id in ("QuantizationMethods", "QUANTIZATION_METHODS"):
            listed += words
        elif target.id == "DEPRECATED_QUANTIZATION_METHODS":
            deprecated |= set(words)
        elif target.id == "method_to_config" and isinstance(value, ast.Dict):
            pairs = zip(value.keys, value.values, strict=True)
            classes |= {str(key.value): entry.id for key, entry in pairs if isinstance(key, ast.Constant) and isinstance(entry, ast.Name)}
    return listed, {name: aliases.get(kind, kind) for name, kind in classes.items()}, deprecated


def returned(name: str, function: str, classes: dict[str, ast.ClassDef]) -> ast.expr | None:
    """What a class's method returns last, from the class or the first base that has it; None where it returns nothing."""
    node = classes.get(name)
    if node is None:
        return None
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == function:
            last = part.body[-1]
            return last.value if isinstance(last, ast.Return) else None
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return next((found for base in bases if (found := returned(base, function, classes)) is not None), None)


def methods(sources: dict[str, str]) -> dict[str, Row]:
    """Every method of one release."""
    listed, of, deprecated = names_and_classes(sources[INIT])
    classes = {node.name: node for text in sources.values() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)}
    found: dict[str, Row] = {}
    for name in dict.fromkeys([*listed, *of]):
        if name in ELSEWHERE:
            continue
        kind = of.get(name, of.get("online", ""))
        least = returned(kind, "get_min_capability", classes)
        dtypes = returned(kind, "get_supported_act_dtypes", classes)
        if not isinstance(least, ast.Constant) or not isinstance(dtypes, ast.List):
            continue  # Intel's "inc" of 0.10 to 0.14 asserts that it is not asked
        spelled = [entry.attr for entry in dtypes.elts if isinstance(entry, ast.Attribute)]
        found[name] = (int(str(least.value)), tuple(DTYPES[entry] for entry in spelled if entry in DTYPES), name in deprecated)
    return found


def runs(releases: dict[str, dict[str, Row]]) -> dict[str, list[dict[str, Any]]]:
    """Method to its runs of releases: `since`, and `before` where the release has it no more, or with other values."""
    table: dict[str, list[dict[str, Any]]] = {}
    ends = [*list(releases)[1:], None]
    for (release, rows), end in zip(releases.items(), ends, strict=True):
        for name, (least, dtypes, deprecated) in sorted(rows.items()):
            row = {"min_capability": least, "dtypes": list(dtypes), "deprecated": deprecated}
            mine = table.setdefault(name, [])
            if mine and mine[-1]["before"] == release and all(mine[-1][key] == value for key, value in row.items()):
                mine[-1]["before"] = end
            else:
                mine.append({"since": release, "before": end, **row})
    return table


def main() -> None:
    """Write the table."""
    with asked(__doc__, TABLE) as (out, work):
        found = {release: methods(read_files(release, work, SOURCES, "quantization")) for release in EVERY_RELEASE}
        rows = {
            name: [{key: value for key, value in row.items() if value is not None} for row in mine] for name, mine in runs(found).items()
        }
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(mine)}" for name, mine in sorted(rows.items()))
        out.write_text(f'{{"releases": {json.dumps(EVERY_RELEASE)},\n"methods": {{\n{lines}\n}}}}\n')
        print(f"{len(rows)} methods in {len(EVERY_RELEASE)} releases -> {out}")


if __name__ == "__main__":
    main()
