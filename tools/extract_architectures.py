"""Extracts which model architectures each release of vLLM registers, from published wheels, and writes the table of releases.

    python -m tools.extract_architectures [--work DIR] [OUT]

For each release the wheel is downloaded with pip (the CPU build where one exists: the same Python code in a small file),
vllm/model_executor/models/registry.py is read from the zip, and the wheel is removed. Nothing of vLLM is imported: the
module's `_..._MODELS` dictionaries are read as syntax trees. `_PREVIOUSLY_SUPPORTED_MODELS` names what a release refuses, and
names that only lead to the Transformers backend have no rules of their own: both are left out.
"""

from __future__ import annotations

import ast
import json
import re

from tools.extract_arguments import read_files
from tools.releases import EVERY_RELEASE, asked

TABLE = "architectures.json"
REGISTRY = re.compile(r"vllm/model_executor/models/registry\.py")
LEFT_OUT = re.compile(r"_(PREVIOUSLY|OOT)_SUPPORTED_MODELS|_TRANSFORMERS(_BACKEND)?_MODELS")


def registered(text: str) -> set[str]:
    """Keys of the registry's literal dictionaries of models."""
    names: set[str] = set()
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if not isinstance(target, ast.Name) or not target.id.endswith("_MODELS") or not isinstance(value, ast.Dict):
            continue
        if not LEFT_OUT.fullmatch(target.id):
            names |= {key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    return names


def spans(releases: dict[str, set[str]]) -> dict[str, list[list[str | None]]]:
    """Architecture to [since, until) releases, one pair for each time it was there; the last `until` is null while it still is."""
    table: dict[str, list[list[str | None]]] = {}
    for name in sorted(set().union(*releases.values())):
        there = [name in names for names in releases.values()]
        rows: list[list[str | None]] = []
        for release, now, before in zip(releases, there, [False, *there], strict=False):
            if now and not before:
                rows.append([release, None])
            elif before and not now:
                rows[-1][1] = release
        table[name] = rows
    return table


def main() -> None:
    """Write the table."""
    with asked(__doc__, TABLE) as (out, work):
        releases = {release: registered("\n".join(read_files(release, work, REGISTRY, "registry").values())) for release in EVERY_RELEASE}
        document = {"releases": EVERY_RELEASE, "architectures": spans(releases)}
        out.write_text(json.dumps(document, indent=0, sort_keys=True) + "\n")
        print(f"{len(document['architectures'])} architectures in {len(EVERY_RELEASE)} releases -> {out}")


if __name__ == "__main__":
    main()
