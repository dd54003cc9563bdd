"""The argument table: which `vllm serve` flags exist in which minor, and which of them move memory.

The one table that parsing `extraArgs`, rendering pod arguments and checking flags read; data/arguments.json is extracted
from the published wheels by tests/tools/extract_arguments.py. Knows flags, types and spelling; refuses to know defaults
(`resolve`) and never lets a flag pass that moves memory without a rule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentRow:
    """One flag over an unbroken run of minors. `last` is the last minor that has it, None: still there in the newest.

    `kind` is how the value is spelled (flag: no value and no negation; bool: `--x` and `--no-x`; human_int: 32k, 32K).
    `engine_field` names the field of EngineArgs that the flag sets; a flag that moves memory without one has no rule.
    """

    flag: str
    aliases: tuple[str, ...]
    kind: str
    since: tuple[int, int]
    last: tuple[int, int] | None
    moves_memory: bool
    engine_field: str | None
    harmless_values: tuple[str, ...]

    def holds(self, minor: tuple[int, int]) -> bool:
        """Whether the row describes this minor."""
        return self.since <= minor and (self.last is None or minor <= self.last)


def _minor(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor))


@cache
def all_rows() -> tuple[ArgumentRow, ...]:
    """The whole table, sorted by flag."""
    text = resources.files("plimsoll_estimator").joinpath("data/arguments.json").read_text(encoding="utf-8")
    return tuple(
        ArgumentRow(
            flag=row["flag"],
            aliases=tuple(row["aliases"]),
            kind=row["kind"],
            since=_minor(row["since"]),
            last=None if row["last"] is None else _minor(row["last"]),
            moves_memory=row["moves_memory"],
            engine_field=row["engine_field"],
            harmless_values=tuple(row["harmless_values"]),
        )
        for row in json.loads(text)["arguments"]
    )


@cache
def _by_minor(minor: tuple[int, int]) -> Mapping[str, ArgumentRow]:
    rows: dict[str, ArgumentRow] = {}
    for row in all_rows():
        if row.holds(minor):
            for name in (row.flag, *row.aliases):
                rows.setdefault(name, row)
    return rows


def flags_of(version: EngineVersion) -> Mapping[str, ArgumentRow]:
    """Flags and aliases of one release. A release newer than the newest minor has that minor's flags.

    Raises Unsupported (EngineTooOld) for releases before the first minor of the table.
    """
    oldest = min(row.since for row in all_rows())
    if version.minor_key < oldest:
        raise Unsupported(
            Check.ENGINE_TOO_OLD, f"vLLM {version} is older than {oldest[0]}.{oldest[1]}, the oldest release whose arguments are known"
        )
    return _by_minor(version.minor_key)


def normalise_flag(flag: str) -> str:
    """vLLM's own spelling: underscores after `--` become dashes, up to the first dot (keys of JSON arguments keep theirs)."""
    if not flag.startswith("--"):
        return flag
    head, dot, rest = flag.partition(".")
    return head.replace("_", "-") + dot + rest


def flag_exists(flag: str, version: EngineVersion) -> bool:
    """Whether `vllm serve` of this release takes the flag (an alias, a negation `--no-…` or underscores count)."""
    table, name = flags_of(version), normalise_flag(flag)
    if name in table:
        return True
    positive = table.get("--" + name.removeprefix("--no-")) if name.startswith("--no-") else None
    return positive is not None and positive.kind == "bool"


def flag_of(field: str, version: EngineVersion) -> str | None:
    """The flag that sets this field of EngineArgs in this release; None when the release has none."""
    if field == "runner" and "--runner" not in flags_of(version):
        return "--task"
    if field in ("speculative_method", "num_speculative_tokens"):
        return "--speculative-config"
    return next((row.flag for row in flags_of(version).values() if row.engine_field == field), None)
