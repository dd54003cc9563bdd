"""Extracts which model types each vLLM release reads without a checkpoint's own code, and writes the table of them.

    python -m tools.extract_config_types [--work DIR] [OUT]

A config is read by vLLM's own class (transformers_utils/config.py: _CONFIG_REGISTRY) or by one of Transformers; a model type that neither
has is read by Python code beside the checkpoint, which `--trust-remote-code` allows. A release is paired with the newest Transformers that
its wheel required and that was published by then, as its image has: `uv` tells both. Files are read as syntax trees, nothing is imported.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools.extract_arguments import unpacked
from tools.releases import EVERY_RELEASE, asked

TABLE = "config_types.json"
REGISTRIES = re.compile(r"_CONFIG_REGISTRY(_OVERRIDE_HF)?")
AUTO = ("transformers/models/auto/configuration_auto.py", "transformers/models/auto/auto_mappings.py")
NEVER = "2000-01-01"


def words_of(node: ast.AST) -> set[str]:
    """Every key that an expression of dictionaries, calls and pairs gives."""
    if isinstance(node, ast.Dict):
        inner = [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
        own = {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
        return own.union(*map(words_of, inner))
    if isinstance(node, ast.Call):
        named = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
        return named.union(*(words_of(keyword.value) for keyword in node.keywords if keyword.arg is None), *map(words_of, node.args))
    if isinstance(node, ast.List | ast.Tuple):
        pairs = [entry.elts[0] for entry in node.elts if isinstance(entry, ast.Tuple) and entry.elts]
        return {str(first.value) for first in pairs if isinstance(first, ast.Constant)}
    return set()


def assigned(text: str, names: re.Pattern[str]) -> set[str]:
    """The keys of what is assigned to such names at the top of a module, or put into them by `update`."""
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and names.fullmatch(target.id) for target in targets):
                found |= words_of(node.value)
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "update":
            found |= words_of(call) if isinstance(call.func.value, ast.Name) and names.fullmatch(call.func.value.id) else set()
    return found


def asked_uv(*arguments: str, text: str | None = None) -> str:
    """What uv prints, both streams."""
    done = subprocess.run(["uv", *arguments], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def published(release: str) -> str:
    """The moment at which the release's wheel was published. Raises RuntimeError where uv does not tell."""
    said = asked_uv("pip", "install", "--dry-run", "--no-deps", "--python", sys.executable, "--exclude-newer", NEVER, f"vllm=={release}")
    found = re.search(r"published at (\d{4}-\d\d-\d\dT[\d:]{8})", said)
    if found is None:
        raise RuntimeError(f"when {release} was published is not told: {said[-400:]}")
    return f"{found[1]}Z"


def transformers_of(release: str, work: Path) -> str:
    """The newest Transformers that the release's requirement took on the day that it was published."""
    kept = work / f"transformers-{release}.txt"
    if not kept.exists():
        metadata = next(unpacked(release, work).glob("*.dist-info/METADATA")).read_text()
        wanted = re.search(r"^Requires-Dist: (transformers\b[^;\n]*)", metadata, re.MULTILINE)
        if wanted is None:
            raise RuntimeError(f"{release} requires no Transformers")
        said = asked_uv(
            "pip", "compile", "-q", "--no-deps", "--python-version", "3.12", "--exclude-newer", published(release), "-", text=wanted[1]
        )
        found = re.search(r"^transformers==(\S+)", said, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no Transformers for {release}: {said[-400:]}")
        kept.write_text(found[1])
    return kept.read_text()


def types_of_transformers(version: str, work: Path) -> set[str]:
    """The model types of one Transformers."""
    kept = work / f"transformers-types-{version}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=work) as place:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", place]
            subprocess.run([*command, f"transformers=={version}"], check=True)
            with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
                texts = [wheel.read(name).decode() for name in AUTO if name in wheel.namelist()]
        kept.write_text(json.dumps(sorted(set().union(*(assigned(text, re.compile("CONFIG_MAPPING_NAMES")) for text in texts)))))
    return set(json.loads(kept.read_text()))


def types_of(release: str, work: Path) -> set[str]:
    """The model types that one release reads by itself."""
    own = assigned((unpacked(release, work) / "vllm/transformers_utils/config.py").read_text(), REGISTRIES)
    theirs = types_of_transformers(transformers_of(release, work), work)
    if len(own) < 10 or len(theirs) < 200:
        raise RuntimeError(f"{release}: {len(own)} model types of vLLM's, {len(theirs)} of Transformers'")
    return own | theirs


def spans(releases: dict[str, set[str]]) -> dict[str, list[list[str | None]]]:
    """Model type to [since, before) releases, one pair for each time it was read; the last `before` is null while it still is."""
    names = list(releases)
    table: dict[str, list[list[str | None]]] = {}
    for place, release in enumerate(names):
        following = names[place + 1] if place + 1 < len(names) else None
        for name in sorted(releases[release]):
            rows = table.setdefault(name, [])
            if rows and rows[-1][1] == release:
                rows[-1][1] = following
            else:
                rows.append([release, following])
    return table


def main() -> None:
    """Write the table."""
    found: dict[str, set[str]] = {}
    with asked(__doc__, TABLE) as (out, work):
        for release in EVERY_RELEASE:
            found[release] = types_of(release, work)
            print(release, transformers_of(release, work), len(found[release]), flush=True)
        paired = {release: transformers_of(release, work) for release in EVERY_RELEASE}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in sorted(spans(found).items()))
        out.write_text(f'{{"transformers": {json.dumps(paired)},\n"types": {{\n{lines}\n}}}}\n')
        print(f"{len(spans(found))} model types in {len(found)} releases -> {out}")


if __name__ == "__main__":
    main()
