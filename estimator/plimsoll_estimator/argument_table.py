"""The argument table: how `vllm serve` of each release spells its flags, which values it lists, and what moves memory.

The one table that parsing `extraArgs`, rendering pod arguments and checking flags read; data/arguments.json is what the releases' own
parsers say, asked by tools/extract_arguments.py at every patch release. Knows flags, types, spellings and lists of values;
refuses to know defaults (`resolve`) and never lets a flag pass that moves memory without a rule.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported

Span = tuple[EngineVersion, EngineVersion | None]
"""The first release, and the first without it again; None: still there in the newest."""
_INVERSES_SINCE: Final = EngineVersion(0, 33)
_INVERSES: Final = (("--enable-", "--disable-"), ("--disable-", "--enable-"))
"""From then on each is the negation of the other (vLLM utils/argparse_utils.py: EnableDisableAction); `--no-` forms stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentRow:
    """One flag over an unbroken run of releases that spell it the same. `before` is the first without it, None: the newest has it.

    `kind` is how the value is spelled (flag: no value and no negation; bool: `--x` and `--no-x`; human_int: 32k, 32K; pairs: a=1,b=2).
    `takes_none`: the word None and an empty text mean not given. `listed`: only the values of `values_of` are taken.
    `engine_field` names the field of EngineArgs that the flag sets; a flag that moves memory without one has no rule.
    """

    flag: str
    aliases: tuple[str, ...]
    kind: str
    since: EngineVersion
    before: EngineVersion | None
    takes_none: bool
    listed: bool
    moves_memory: bool
    engine_field: str | None
    harmless_values: tuple[str, ...]

    def holds(self, version: EngineVersion) -> bool:
        """Whether the row describes this release. A release between two known ones is spelled as the older."""
        return version.within(self.since, self.before)


class Spelling(NamedTuple):
    """What one spelling means in a release."""

    row: ArgumentRow
    negated: bool


@cache
def _document() -> Mapping[str, Any]:
    text = resources.files("plimsoll_estimator").joinpath("data/arguments.json").read_text(encoding="utf-8")
    document: Mapping[str, Any] = json.loads(text)
    return document


@cache
def releases() -> tuple[EngineVersion, ...]:
    """The releases whose parsers were asked, oldest first."""
    return tuple(EngineVersion.parse(text) for text in _document()["releases"])


def _border(text: str | None) -> EngineVersion | None:
    return None if text is None else EngineVersion.parse(text)


@cache
def all_rows() -> tuple[ArgumentRow, ...]:
    """The whole table, sorted by flag."""
    return tuple(
        ArgumentRow(
            flag=row["flag"],
            aliases=tuple(row.get("aliases", ())),
            kind=row["kind"],
            since=EngineVersion.parse(row["since"]),
            before=_border(row.get("before")),
            takes_none=row.get("none", False),
            listed=row.get("listed", False),
            moves_memory=row.get("moves_memory", True),
            engine_field=row.get("engine_field"),
            harmless_values=tuple(row.get("harmless_values", ())),
        )
        for row in _document()["arguments"]
    )


@cache
def _value_spans(flag: str) -> Mapping[str, tuple[Span, ...]]:
    return {
        value: tuple((EngineVersion.parse(since), _border(before)) for since, before in pairs)
        for value, pairs in _document()["values"].get(flag, {}).items()
    }


def _place(version: EngineVersion) -> int:
    """Which of the known releases speaks for this one: itself, else the one before it.

    Raises Unsupported (EngineTooOld) for releases before the first.
    """
    place = bisect_right(releases(), version) - 1
    if place < 0:
        raise Unsupported(
            Check.ENGINE_TOO_OLD, f"vLLM {version} is older than {releases()[0]}, the oldest release whose arguments are known"
        )
    return place


@cache
def _flags(place: int) -> Mapping[str, ArgumentRow]:
    held = [row for row in all_rows() if row.holds(releases()[place])]
    return {name: row for row in reversed(held) for name in (*row.aliases, row.flag)}


@cache
def _spellings(place: int) -> Mapping[str, Spelling]:
    found: dict[str, Spelling] = {}
    for name, row in _flags(place).items():
        found[name] = Spelling(row, negated=False)
        if row.kind == "bool" and name.startswith("--"):
            found["--no-" + name.removeprefix("--")] = Spelling(row, negated=True)
            for prefix, inverse in _INVERSES if releases()[place] >= _INVERSES_SINCE else ():
                if name.startswith(prefix):
                    found[inverse + name.removeprefix(prefix)] = Spelling(row, negated=True)
    return found


@cache
def _flags_by_field(place: int) -> Mapping[str, str]:
    return {row.engine_field: row.flag for row in _flags(place).values() if row.engine_field is not None}


def flags_of(version: EngineVersion) -> Mapping[str, ArgumentRow]:
    """Flags and aliases of one release. A release newer than the newest known has that one's flags. Raises Unsupported (EngineTooOld)."""
    return _flags(_place(version))


def spellings_of(version: EngineVersion) -> Mapping[str, Spelling]:
    """Every spelling that one release takes, negations among them. Raises Unsupported (EngineTooOld)."""
    return _spellings(_place(version))


def values_of(flag: str, version: EngineVersion) -> tuple[str, ...] | None:
    """The values that the release lists for the flag, sorted; None where it takes any text of the kind, or has no such flag."""
    place = _place(version)
    row = _flags(place).get(flag)
    return _listed(row.flag, place) if row is not None and row.listed else None


@cache
def _listed(flag: str, place: int) -> tuple[str, ...]:
    return tuple(value for value, spans in _value_spans(flag).items() if _within(releases()[place], spans))


def _within(version: EngineVersion, spans: Iterable[Span]) -> bool:
    return any(version.within(since, before) for since, before in spans)


@cache
def _bounds() -> Mapping[str, tuple[tuple[EngineVersion, EngineVersion | None, Mapping[str, float]], ...]]:
    text = resources.files("plimsoll_estimator").joinpath("data/argument_bounds.json").read_text(encoding="utf-8")
    return {
        flag: tuple((EngineVersion.parse(since), _border(before), bounds) for since, before, bounds in rows)
        for flag, rows in json.loads(text)["bounds"].items()
    }


def bounds_of(flag: str, version: EngineVersion) -> Mapping[str, float]:
    """What the release's configuration asks of the number: `ge`, `gt`, `le`, `lt`; empty where it asks nothing."""
    known = releases()[_place(version)]
    rows = _bounds().get(flag, ())
    return next((bounds for since, before, bounds in rows if known.within(since, before)), {})


def known_values(flag: str) -> frozenset[str]:
    """Every value that some release lists for the flag; empty where none lists any."""
    return frozenset(_value_spans(flag))


def releases_of_value(flag: str, value: str) -> str:
    """In words, which releases list the value: `from 0.11.0 on`; empty where none does."""
    return _in_words(_value_spans(flag).get(value, ()))


def releases_of_flag(name: str) -> str:
    """In words, which releases have the flag or alias: `from 0.8.0 to 0.17.1`; empty where none has."""
    return _in_words(_joined((row.since, row.before) for row in all_rows() if name in (row.flag, *row.aliases)))


def _joined(spans: Iterable[Span]) -> Sequence[Span]:
    """Runs that follow one another as one."""
    found: list[Span] = []
    for since, before in sorted(spans, key=lambda span: span[0]):
        if found and found[-1][1] == since:
            found[-1] = (found[-1][0], before)
        else:
            found.append((since, before))
    return found


def _in_words(spans: Sequence[Span]) -> str:
    known = releases()
    words = []
    for since, before in spans:
        last = None if before is None else known[known.index(before) - 1]
        words.append(f"from {since} on" if last is None else f"in {since}" if last == since else f"from {since} to {last}")
    return " and ".join(words)


def normalise_flag(flag: str) -> str:
    """vLLM's own spelling: underscores after `--` become dashes, up to the first dot (keys of JSON arguments keep theirs)."""
    if not flag.startswith("--"):
        return flag
    head, dot, rest = flag.partition(".")
    return head.replace("_", "-") + dot + rest


def find_spelling(head: str, version: EngineVersion) -> Spelling | None:
    """What the text before `=` means: a spelling of the release, or the only one that begins so, as argparse takes it.

    None where no spelling begins so. Raises InvalidInput naming the text where several do.
    """
    table, name = spellings_of(version), normalise_flag(head)
    if name in table or len(name) < 2 or name == "--":
        return table.get(name)
    begun = sorted(word for word in table if word.startswith(name))
    if len(begun) > 1:
        raise InvalidInput(head, head, f"is ambiguous in vllm serve {version}: it could be {', '.join(begun[:4])}")
    return table[begun[0]] if begun else None


def flag_exists(flag: str, version: EngineVersion) -> bool:
    """Whether `vllm serve` of this release spells a flag so (an alias, a negation or underscores count, an abbreviation does not)."""
    return normalise_flag(flag) in spellings_of(version)


def flag_of(field: str, version: EngineVersion) -> str | None:
    """The flag that sets this field of EngineArgs in this release; None when the release has none."""
    if field == "runner" and "--runner" not in flags_of(version):
        return "--task"
    if field in ("speculative_method", "num_speculative_tokens"):
        return "--speculative-config" if "--speculative-config" in flags_of(version) else None
    return _flags_by_field(_place(version)).get(field)
