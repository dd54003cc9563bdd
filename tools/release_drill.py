"""A new release in an hour: what is new in it against the tables, what a person must decide, and whether its planner agrees.

    python -m tools.release_drill VERSION [--wheel WHEEL_OR_FOLDER] [--python VENV/bin/python] [--work DIR] [--kernels] [--cases N]

VERSION's wheel is downloaded with pip (the CPU build where one exists: the same Python code in a small file), or taken from
`--wheel`: a file, or a folder that holds the package `vllm`. Its files are read as syntax trees. A release that `releases.py` lists is
compared with what the tables say of it; a newer one with the newest that it lists, whose files are read too, so that code which rules
cite as their source and which is not the same any more is named with the modules that cite it.

`--python` is an interpreter with PyTorch and Transformers: under it the release's own parser says how arguments are spelled and
what values they take, and its own planner runs on the cases of tests/data (release_planner.py). `--kernels` reads for which GPUs the
CUDA wheel was built (300 MB). `--cases` asks the planner that many of the cases, spread evenly. What is left out is said, and counts.

Exit status: 0 nothing unaccounted, 1 something is, 2 the release cannot be read, 3 nothing is but a part was left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools import argument_classes, extract_arguments, extract_kernels, release_facts, release_planner
from tools.releases import EVERY_RELEASE

from plimsoll_estimator.argument_effects import effects
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.models.register import known_classes

CANNOT_BE_READ = (FileNotFoundError, RuntimeError, StopIteration, SyntaxError, UnicodeDecodeError, zipfile.BadZipFile)
PARTS = (
    "architectures",
    "what classes can do",
    "arguments",
    "quantisation methods",
    "defaults",
    "kernels",
    "code that rules cite",
    "planner",
)


@dataclass(slots=True)
class Report:
    """What the drill found: findings that nothing accounts for, by part, and the parts that were left out."""

    findings: dict[str, list[str]] = field(default_factory=lambda: {part: [] for part in PARTS})
    left_out: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    asides: dict[str, list[str]] = field(default_factory=lambda: {part: [] for part in PARTS})
    """What was not compared, case by case; said, and no finding."""

    @property
    def count(self) -> int:
        return sum(map(len, self.findings.values()))

    @property
    def status(self) -> int:
        return 1 if self.count else 3 if self.left_out else 0

    def lines(self, about: str) -> Iterator[str]:
        """The report as text."""
        yield about
        for part, found in self.findings.items():
            said = self.left_out.get(part) or (f"{len(found)} unaccounted" if found else "nothing unaccounted")
            note = self.notes.get(part)
            yield f"\n{part}: {'LEFT OUT, ' if part in self.left_out else ''}{said}{f' ({note})' if note else ''}"
            yield from (f"  - {line}" for line in found)
            yield from (f"  ({line})" for line in self.asides[part])
        ending = f"{self.count} things unaccounted" if self.count else "nothing unaccounted"
        yield f"\n{ending}" + (f"; LEFT OUT: {', '.join(self.left_out)}" if self.left_out else "")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    version: str
    wheel: Path | None
    python: str | None
    work: Path
    kernels: bool
    cases: int | None = None
    """How many cases the planner is asked, spread evenly; None for all."""

    @property
    def known(self) -> bool:
        return self.version in EVERY_RELEASE

    @property
    def base(self) -> str:
        """The release that the tables are asked about."""
        return self.version if self.known else EVERY_RELEASE[-1]


def tree_of(asked: Asked) -> Path:
    """The folder that holds the release's package. Raises one of CANNOT_BE_READ."""
    given = asked.wheel
    if given is None:
        return extract_arguments.unpacked(asked.version, asked.work)
    if given.is_dir():
        return given
    folder = asked.work / f"wheel-{asked.version}"
    with zipfile.ZipFile(given) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.endswith((".py", "METADATA"))])
    return folder


def drill(asked: Asked) -> Report:
    """Everything. Raises one of CANNOT_BE_READ where the release's files are not those of vLLM."""
    report = Report()
    tree = tree_of(asked)
    here = release_facts.of_tree(tree)
    said = release_facts.of_tables(EngineVersion.parse(asked.base), here)
    report.findings["architectures"] += architectures(here, said, frozenset(known_classes()))
    report.findings["what classes can do"] += abilities(here, said)
    report.findings["quantisation methods"] += methods(here, said)
    if here.utilization != said.utilization:
        report.findings["defaults"].append(f"--gpu-memory-utilization is {here.utilization}, the tables say {said.utilization}")
    if (here.deducts_graphs or False) != said.deducts_graphs:
        report.findings["defaults"].append(f"graphs are deducted: {here.deducts_graphs}, the tables say {said.deducts_graphs}")
    report.findings["arguments"] += new_flags(here, said)
    spelled(asked, tree, report)
    built_for(asked, report)
    moved(asked, tree, report)
    planned(asked, tree, report)
    return report


def architectures(here: release_facts.Facts, said: release_facts.Facts, records: frozenset[str]) -> list[str]:
    """Architectures that are new, and that are gone."""
    new = [
        f"{name} is new: {'has a record' if name in records else 'no record in models/, unsupported by name until it has one'}"
        for name in sorted(here.architectures - said.architectures)
    ]
    return new + [f"{name} is gone" for name in sorted(said.architectures - here.architectures)]


def abilities(here: release_facts.Facts, said: release_facts.Facts) -> list[str]:
    """What classes can do now and could not, or the other way round."""
    found = []
    for table, names in here.interfaces.items():
        found += [f"{table}: {name} is new" for name in sorted(names - said.interfaces[table])]
        found += [f"{table}: {name} is gone" for name in sorted(said.interfaces[table] - names)]
    return found


def methods(here: release_facts.Facts, said: release_facts.Facts) -> list[str]:
    """Quantisation methods that are new, gone, or limited otherwise."""
    found = []
    for name in sorted(here.methods.keys() | said.methods.keys()):
        now, then = here.methods.get(name), said.methods.get(name)
        if now is None or then is None:
            found.append(f"{name} is gone" if now is None else f"{name} is new: {now}")
        elif now != then:
            found.append(f"{name}: {now}; the tables say {then}")
    return found


def new_flags(here: release_facts.Facts, said: release_facts.Facts) -> list[str]:
    """Flags that the table does not have, and what would be said of them; and those that are gone."""
    classed = argument_classes.ENGINE_FIELDS.keys() | argument_classes.HARMLESS | argument_classes.HARMLESS_VALUES.keys() | effects().keys()
    found = []
    for flag in sorted(here.flags - said.flags - {"--model"}):
        told = "the classes have it" if flag in classed else "what does it do to memory? (argument_classes.py)"
        found.append(f"{flag} is new: {told}")
    return found + [f"{flag} is gone" for flag in sorted(said.flags - here.flags)]


def spelled(asked: Asked, tree: Path, report: Report) -> None:
    """How the release's own parser spells arguments and what values it lists, where there is an interpreter to build it under."""
    if asked.python is None:
        report.left_out["arguments"] = (
            "no interpreter with PyTorch was given (ENGINE_PYTHON=): flags were compared by name only, not kinds and values"
        )
        return
    records = extract_arguments.records_at(tree, asked.work / f"drill-parser-{asked.version}.json", asked.python, asked.version)
    table = {extract_arguments.flag_of(record): record for record in records}
    rows = release_facts.argument_rows(EngineVersion.parse(asked.base))
    known = set(report.findings["arguments"])
    for flag, record in sorted(table.items()):
        row = rows.get(flag)
        if row is None:
            line = f"{flag} is new"
            if flag != "--model" and not any(finding.startswith(line) for finding in known):
                report.findings["arguments"].append(f"{line}: what does it do to memory? (argument_classes.py)")
            continue
        shape, said = extract_arguments.shape_of(record), {key: row[key] for key in ("kind", "aliases", "none", "listed") if key in row}
        if shape != said:
            report.findings["arguments"].append(f"{flag} is spelled {shape}; the tables say {said}")
        values = release_facts.argument_values(EngineVersion.parse(asked.base)).get(flag, frozenset())
        report.findings["arguments"] += [
            f"{flag}: value {value} is {'new' if value not in values else 'gone'}"
            for value in sorted(values ^ set(map(str, record["values"] or ())))
        ]


def built_for(asked: Asked, report: Report) -> None:
    """For which GPUs the CUDA wheel was built."""
    wheel = asked.wheel
    if asked.kernels:
        read = extract_kernels.read_wheel("vllm", asked.version, "x86_64", extract_kernels.MAIN, asked.work)
    elif wheel and wheel.is_file():
        read = extract_kernels.read_file(wheel, extract_kernels.MAIN)
    else:
        report.left_out["kernels"] = "the CUDA wheel was not read (KERNELS=1)"
        return
    if not read or not read["common"]:
        report.left_out["kernels"] = "the wheel has no CUDA libraries"
        return
    said = release_facts.kernels_row(EngineVersion.parse(asked.base))
    for name, key in (("architectures", "x86_64"), ("PyTorch", "torch")):
        now = read["common"] if key == "x86_64" else read["torch"]
        if now != said[key]:
            report.findings["kernels"].append(f"{name} {now}; the tables say {said[key]}")


def moved(asked: Asked, tree: Path, report: Report) -> None:
    """Code that rules name as their source and that is not the newest known release's any more."""
    part = "code that rules cite"
    if asked.known:
        report.notes[part] = f"looked at when {asked.version} was added to releases.py"
        return
    before = extract_arguments.unpacked(asked.base, asked.work)
    report.notes[part] = f"against {asked.base}"
    for one, what in release_facts.moved(before, tree, release_facts.citations()):
        report.findings[part].append(f"{one.path}: {one.name} {what}, cited by {one.cited_by}")
    for path, what, modules in release_facts.moved_files(before, tree, release_facts.cited_files()):
        report.findings[part].append(f"{path} {what}, the source of {', '.join(modules)}")


def planned(asked: Asked, tree: Path, report: Report) -> None:
    """What the release's own planner makes of the cases, against the estimator's answers."""
    if asked.python is None:
        report.left_out["planner"] = "no interpreter with PyTorch was given (ENGINE_PYTHON=): the release's own planner did not run"
        return
    try:
        answers = release_planner.run(tree, asked.version, asked.python, asked.work, asked.cases)
    except RuntimeError as error:
        report.left_out["planner"] = str(error)
        return
    compared = release_planner.compare(answers, asked.base)
    of_all = "" if asked.cases is None else f" of {len(answers)} that were asked, {len(release_planner.questions())} in all"
    report.notes["planner"] = f"{compared.agreed} cases agree{of_all}"
    report.findings["planner"] += compared.differing
    if compared.told_little:
        report.left_out["planner"] = f"{len(compared.not_asked)} cases could not be asked under this interpreter"
    report.asides["planner"] += [f"no answer here to {line}" for line in compared.unanswered]
    report.asides["planner"] += [f"could not be asked on this machine: {line}" for line in compared.not_asked]


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vllm-releases")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--cases", type=int)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Drill, print, say by the status whether anything is unaccounted."""
    given: Any = options(argv)
    given.work.mkdir(parents=True, exist_ok=True)
    asked = Asked(given.version, given.wheel, given.python, given.work, given.kernels, given.cases)
    if not asked.known and EngineVersion.parse(asked.version) < EngineVersion.parse(EVERY_RELEASE[-1]):
        print(f"{asked.version} is older than {EVERY_RELEASE[-1]} and not in releases.py: the drill is for newer ones", file=sys.stderr)
        return 2
    try:
        report = drill(asked)
    except CANNOT_BE_READ as error:
        print(f"{asked.version} cannot be read: {error}", file=sys.stderr)
        return 2
    about = f"vLLM {asked.version}, " + ("a known release: against what the tables say of it" if asked.known else f"against {asked.base}")
    print("\n".join(report.lines(about)))
    return report.status


if __name__ == "__main__":
    sys.exit(main())
