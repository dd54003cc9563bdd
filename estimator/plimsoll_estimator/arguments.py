"""`vllm serve` arguments: parsed from `extraArgs` as vLLM's parser would, rendered from EngineArgs in one canonical order.

Called by the API's parser, the renderer and the CLI; reads the argument table. Lets no flag pass that does not exist in the
release, that is given twice, or that moves memory without a rule. Refuses to know defaults (`resolve`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from plimsoll_estimator.argument_core import check_older_core
from plimsoll_estimator.argument_effects import Sums
from plimsoll_estimator.argument_graphs import captured_kind, check_graphs, said_sizes
from plimsoll_estimator.argument_meanings import BY_MEANING, apply_meanings
from plimsoll_estimator.argument_rules import LOOKED_UP, beside_model, check_together
from plimsoll_estimator.argument_spelling import GivenArgument, split_arguments
from plimsoll_estimator.argument_table import (
    ArgumentRow,
    all_rows,
    flag_exists,
    flag_of,
    flags_of,
    releases,
    releases_of_flag,
    values_of,
)
from plimsoll_estimator.argument_values import NO_RULE, check_bounds, check_listed, key_value, parse_int, value_of
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.outside import parse_json

__all__ = [
    "ParsedExtraArgs", "check_rendered", "check_values", "flag_exists", "flag_of", "flags_between", "flags_of", "known_releases",
    "parse_extra_args", "parse_int", "render_args",
]  # fmt: skip

_POOLING_TASKS: Final = frozenset({"embed", "embedding", "classify", "score", "reward"})
_RULES_BY_NAME: Final = ("--speculative-config", "--task")
_RULED_ELSEWHERE: Final = frozenset({"max_lora_rank", "quantization", "runner"})
"""`resolve` says of these what the release takes."""
_READS_FILES_WHOLE: Final = {
    "--load-format": frozenset({"pt", "npcache"}),
    "--safetensors-load-strategy": frozenset({"eager", "torchao"}),
}
"""Loaders that hold a file in host memory while they read it (model_loader/weight_utils.py); safetensors are mapped otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedExtraArgs:
    """What a list of extra arguments says: fields of EngineArgs by name, the tokens to hand on to vLLM as they are, and all of it cut."""

    engine_args: Mapping[str, Any]
    passthrough: tuple[str, ...]
    given: tuple[GivenArgument, ...] = ()
    unruled: tuple[str, ...] = ()
    """Spellings of arguments without a rule, where the caller lets them through."""


def parse_extra_args(
    args: Sequence[str], version: EngineVersion, given: Mapping[str, object] | None = None, *, reserves_unruled: bool = False
) -> ParsedExtraArgs:
    """Parse `vllm serve` arguments of this release as vLLM's parser would, but refusing what vLLM would let pass silently.

    `given` holds the fields of EngineArgs that are set elsewhere (the spec): a flag for one of them is refused whether it
    agrees (set twice) or not (contradiction). `reserves_unruled` lets arguments without a rule through. Raises InvalidInput whose field
    is the flag as written: unknown in this release, given twice, value missing, of the wrong type or not in this release, flags that
    the front end refuses together, flags that contradict the plan, and those without a rule here.
    """
    table = flags_of(version)
    items = split_arguments(args, version)
    _refuse_repeats(items)
    engine: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    passthrough: list[str] = []
    sums = Sums(reserves_unruled=reserves_unruled)
    for item in items:
        if item.key_path:
            _put(nested.setdefault(item.flag, {}), item, version)
        value = None if item.key_path else value_of(item)
        if not item.key_path and item.flag not in LOOKED_UP:
            check_listed(item.flag, item.spelling, value, version)
            check_bounds(item.flag, item.spelling, value, version)
        if item.row.engine_field is None and item.flag not in _RULES_BY_NAME:
            if item.flag not in BY_MEANING:
                sums.add(item, version)
            passthrough += item.tokens
        elif not item.key_path:
            _set_field(engine, item, value)
    if any(item.values[:1] and item.values[0] in _READS_FILES_WHOLE.get(item.flag, ()) for item in items):
        engine["reads_files_whole"] = True
    engine |= beside_model(items, version)
    for flag, mapping in nested.items():
        row = table[flag]
        if row.engine_field is not None or flag in _RULES_BY_NAME:
            spelled = GivenArgument(row=row, spelling=flag, key_path=(), values=(), negated=False, tokens=(flag,))
            _set_field(engine, spelled, mapping)
    apply_meanings(engine, items, sums, version, captures=_read_graphs(engine, items, given or {}, version))
    _refuse_contradictions(engine, given or {}, version)
    drafts = "speculative_method" in engine or (given or {}).get("speculative_method") is not None
    check_together(items, version, drafts=drafts)
    check_older_core(items, version)
    return ParsedExtraArgs(engine_args=engine, passthrough=tuple(passthrough), given=items, unruled=tuple(sums.unruled))


def _refuse_repeats(items: Sequence[GivenArgument]) -> None:
    """vLLM takes the last of two; which of them was meant, nobody can tell."""
    seen: dict[str, str] = {}
    whole: set[str] = set()
    by_key: set[str] = set()
    for item in items:
        flag, path = item.flag, ".".join((item.flag, *item.key_path))
        twice = path in seen or flag in (whole if item.key_path else by_key)
        if twice and item.row.kind != "append":
            raise InvalidInput(item.spelling, " ".join(item.tokens), f"is given twice, first as {seen.get(path, seen.get(flag, flag))}")
        seen[path] = item.spelling
        (by_key if item.key_path else whole).add(flag)


def _read_graphs(engine: dict[str, Any], items: Sequence[GivenArgument], given: Mapping[str, object], version: EngineVersion) -> bool:
    """Whether there are graphs; then what is said of their sizes must agree."""
    eager = bool(engine.get("enforce_eager", given.get("enforce_eager")))
    kind = captured_kind(items, version, eager=eager)
    if kind is not None and not eager:
        engine["cudagraph_mode"] = kind
    check_graphs(items, version)
    sizes = said_sizes(items, version) if kind != "none" else None
    if sizes is not None:
        engine["cudagraph_capture_sizes"] = sizes
    return kind != "none"


@lru_cache(maxsize=64)
def _listed_fields(version: EngineVersion) -> tuple[tuple[str, str], ...]:
    """Fields of EngineArgs, and their flags, that take listed values only."""
    found = ((field.name, flag_of(field.name, version)) for field in fields(EngineArgs) if field.name not in _RULED_ELSEWHERE)
    return tuple((name, flag) for name, flag in found if flag is not None and values_of(flag, version) is not None)


def check_values(args: EngineArgs, version: EngineVersion) -> None:
    """Whether the release lists the values that arguments were given, wherever they were given.

    Raises InvalidInput naming `engine_args.<field>`.
    """
    for field, flag in _listed_fields(version):
        value = getattr(args, field)
        if value is not None:
            check_listed(flag, f"engine_args.{field}", value, version)


def check_rendered(values: Mapping[str, object], version: EngineVersion) -> None:
    """Whether the release has a flag for each field that is to be said to it: absent, false and 1 need not be said.

    Raises InvalidInput naming `engine_args.<field>`, with the releases that have the flag.
    """
    for field, value in values.items():
        if value is None or value is False or value == 1 or flag_of(field, version) is not None:
            continue
        speculative = field in _SPECULATIVE_KEYS.values()
        flags = ["--speculative-config"] if speculative else sorted({row.flag for row in all_rows() if row.engine_field == field})
        when = " or ".join(f"{flag} exists {releases_of_flag(flag)}" for flag in flags)
        raise InvalidInput(f"engine_args.{field}", value, f"has no flag in vllm serve {version}: {when}")


def _put(target: dict[str, Any], item: GivenArgument, version: EngineVersion) -> None:
    """Put one dotted JSON argument (`--x.a.b v`) where its keys say."""
    path = item.key_path
    for key in path[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InvalidInput(item.spelling, item.values[0], f"contradicts the value given for {key}")
        target = inner
    key, value = key_value(path[-1], item.values[0], version)
    target[key] = value


def _set_field(engine: dict[str, Any], item: GivenArgument, value: Any) -> None:
    if item.row.flag == "--task":
        _set_runner(engine, item, value)
    elif item.row.flag == "--speculative-config":
        _set_speculative(engine, item, value)
    elif value is not None and item.row.engine_field is not None:
        _once(engine, item, item.row.engine_field, value)


def _once(engine: dict[str, Any], item: GivenArgument, field: str, value: Any) -> None:
    if field in engine:
        raise InvalidInput(item.spelling, value, f"sets {field}, which another flag sets too")
    engine[field] = value


def _set_runner(engine: dict[str, Any], item: GivenArgument, value: Any) -> None:
    """`--task` of 0.8 to 0.12 says what `--runner` says since."""
    if value in _POOLING_TASKS:
        _once(engine, item, "runner", "pooling")
    elif value == "generate":
        _once(engine, item, "runner", "generate")
    elif value != "auto":
        raise InvalidInput(item.spelling, value, "is a task that is not supported yet")


def _set_speculative(engine: dict[str, Any], item: GivenArgument, value: Any) -> None:
    if isinstance(value, str):  # 0.8.2 reads it later
        value = parse_json(value, item.spelling)
    if not isinstance(value, Mapping):
        raise InvalidInput(item.spelling, value, "must be a JSON object")
    for key, entry in value.items():
        if key == "method" and isinstance(entry, str):
            _once(engine, item, "speculative_method", entry)
        elif key == "num_speculative_tokens" and isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0:
            _once(engine, item, "num_speculative_tokens", entry)
        elif key in ("method", "num_speculative_tokens"):
            raise InvalidInput(f"{item.spelling}.{key}", entry, "has the wrong type")
        else:
            raise InvalidInput(f"{item.spelling}.{key}", entry, NO_RULE)


def _refuse_contradictions(engine: Mapping[str, Any], given: Mapping[str, object], version: EngineVersion) -> None:
    EngineArgs.from_mapping(engine)
    for field, value in engine.items():
        stated = given.get(field)
        if stated is not None:
            flag = flag_of(field, version) or field
            limit = "is set in the spec too: say it once" if stated == value else f"contradicts the spec, which says {stated!r}"
            raise InvalidInput(flag, value, limit)


def known_releases() -> tuple[EngineVersion, ...]:
    """The releases that vLLM has published up to the newest known one, oldest first; suffixes (post1) are those of their release."""
    return releases()


def flags_between(old: EngineVersion, new: EngineVersion) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flags of `vllm serve` that the new release has and the old one lacks, then the other way round; sorted, aliases not counted.

    Raises Unsupported (EngineTooOld) for a release before the first known one.
    """
    before, after = ({row.flag for row in flags_of(version).values()} for version in (old, new))
    return tuple(sorted(after - before)), tuple(sorted(before - after))


def render_args(values: Mapping[str, object] | EngineArgs, version: EngineVersion) -> tuple[str, ...]:
    """The `vllm serve` arguments that set these fields of EngineArgs, one token each, in the order of EngineArgs' fields.

    A mapping may also hold `speculative_model`, the draft's name.

    None is left out. Raises InvalidInput naming a field that this release has no flag for.
    """
    if isinstance(values, EngineArgs):
        values = {field.name: getattr(values, field.name) for field in fields(EngineArgs)}
    table = flags_of(version)
    unknown = sorted(set(values) - {field.name for field in fields(EngineArgs)} - set(_SPECULATIVE_KEYS.values()))
    if unknown:
        raise InvalidInput(unknown[0], values[unknown[0]], "is not an argument the estimator knows")
    speculative = {key: values[name] for key, name in _SPECULATIVE_KEYS.items() if values.get(name) is not None}
    tokens: list[str] = []
    for field in (field.name for field in fields(EngineArgs)):
        value = values.get(field)
        if value is None or field in _SPECULATIVE_KEYS.values():
            continue
        flag = flag_of(field, version)
        if flag is None:
            raise InvalidInput(field, value, f"has no flag in vllm serve {version}")
        tokens += _rendered(flag, table[flag], value)
    if speculative:
        if flag_of("speculative_method", version) is None:
            raise InvalidInput("speculative_method", speculative.get("method"), f"has no flag in vllm serve {version}")
        tokens.append("--speculative-config=" + json.dumps(speculative, sort_keys=True, separators=(",", ":")))
    return tuple(tokens)


_SPECULATIVE_KEYS: Final = {
    "method": "speculative_method",
    "model": "speculative_model",  # a name, which EngineArgs does not hold: it has the draft's shape
    "num_speculative_tokens": "num_speculative_tokens",
}


def _rendered(flag: str, row: ArgumentRow, value: object) -> list[str]:
    if flag == "--task":
        value = "embed" if value == "pooling" else value
    if isinstance(value, bool):
        if row.kind == "bool_value":
            return [f"{flag}={str(value).lower()}"]
        if value:
            return [flag]
        return [] if row.kind == "flag" else ["--no-" + flag.removeprefix("--")]
    if isinstance(value, Mapping) and row.kind == "pairs":
        return [f"{flag}=" + ",".join(f"{key}={entry}" for key, entry in sorted(value.items()))]
    if isinstance(value, Mapping):
        return [f"{flag}={json.dumps(dict(value), sort_keys=True, separators=(',', ':'))}"]
    return [f"{flag}={value}"]
