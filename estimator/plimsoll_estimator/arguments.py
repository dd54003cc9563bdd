"""`vllm serve` arguments: parsed from `extraArgs` as vLLM's parser would, rendered from EngineArgs in one canonical order.

Called by the API's parser, the renderer and the CLI; reads the argument table. Lets no flag pass that does not exist in the
release, that is given twice, or that moves memory without a rule. Refuses to know defaults (`resolve`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from plimsoll_estimator.argument_table import ArgumentRow, all_rows, flag_exists, flag_of, flags_of, normalise_flag
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.outside import parse_json

__all__ = ["ParsedExtraArgs", "flag_exists", "flag_of", "flags_of", "parse_extra_args", "parse_int", "render_args"]

_HUMAN_INT: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([kKmMgGtT]?)")
_DECIMAL: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NEGATIVE_NUMBER: Final = re.compile(r"-\d+(\.\d+)?")
_POOLING_TASKS: Final = frozenset({"embed", "embedding", "classify", "score", "reward"})
_MAX_ARGS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedExtraArgs:
    """What a list of extra arguments says: fields of EngineArgs by name, and the tokens to hand on to vLLM as they are."""

    engine_args: Mapping[str, Any]
    passthrough: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """One argument as written: its row, its spelling, its values, and the tokens it took."""

    row: ArgumentRow
    spelling: str
    key_path: tuple[str, ...]
    values: tuple[str, ...]
    negated: bool
    tokens: tuple[str, ...]


def parse_extra_args(args: Sequence[str], version: EngineVersion, given: Mapping[str, object] | None = None) -> ParsedExtraArgs:
    """Parse `vllm serve` arguments of this release as vLLM's parser would, but refusing what vLLM would let pass silently.

    `given` holds the fields of EngineArgs that are set elsewhere (the spec): a flag for one of them is refused whether it
    agrees (set twice) or not (contradiction). Raises InvalidInput whose field is the flag as written: unknown in this
    release, given twice, value missing or of the wrong type, and flags that move memory without a rule here.
    """
    table = flags_of(version)
    seen: dict[str, str] = {}
    engine: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    passthrough: list[str] = []
    for item in _split(args, table, version):
        flag = item.row.flag
        path = ".".join((flag, *item.key_path))
        twice = path in seen or (item.key_path and flag in seen) or (not item.key_path and flag in nested)
        if twice and item.row.kind != "append":
            raise InvalidInput(item.spelling, " ".join(item.tokens), f"is given twice, first as {seen.get(path, seen.get(flag, flag))}")
        seen[path] = item.spelling
        if item.key_path:
            _put(nested.setdefault(flag, {}), item.key_path, item)
        value = None if item.key_path else _value(item)
        if item.row.engine_field is None and not _has_rule_by_name(flag):
            _refuse_unruled(item)
            passthrough += item.tokens
        elif not item.key_path:
            _set_field(engine, item, value)
    for flag, mapping in nested.items():
        if table[flag].engine_field is not None or _has_rule_by_name(flag):
            spelled = _Given(row=table[flag], spelling=flag, key_path=(), values=(), negated=False, tokens=(flag,))
            _set_field(engine, spelled, mapping)
    _refuse_contradictions(engine, given or {}, version)
    return ParsedExtraArgs(engine_args=engine, passthrough=tuple(passthrough))


def _has_rule_by_name(flag: str) -> bool:
    return flag in ("--speculative-config", "--task")


def _split(args: Sequence[str], table: Mapping[str, ArgumentRow], version: EngineVersion) -> list[_Given]:
    """Cut the tokens into arguments; every token is accounted for."""
    if len(args) > _MAX_ARGS:
        raise InvalidInput("extraArgs", len(args), f"are more than {_MAX_ARGS} tokens")
    items: list[_Given] = []
    position = 0
    while position < len(args):
        token = args[position]
        if not token.startswith("-") or _NEGATIVE_NUMBER.fullmatch(token):
            raise InvalidInput("extraArgs", token, "belongs to no flag")
        head, equals, attached = token.partition("=")
        if head.startswith("-O") and head != "-O" and len(head) <= 16:
            head, equals, attached = "-O", "=", head[2:]
        row, key_path, negated = _find(head, table, version)
        position += 1
        if equals:
            values: tuple[str, ...] = (attached,)
        else:
            wanted = _values_wanted(row, key_path)
            end = position
            while end < len(args) and end - position < wanted and not _is_flag(args[end]):
                end += 1
            values = tuple(args[position:end])
        taken = (token,) if equals else (token, *values)
        position += len(taken) - 1
        _check_count(row, head, key_path, negated, values)
        items.append(_Given(row=row, spelling=head, key_path=key_path, values=values, negated=negated, tokens=taken))
    return items


def _is_flag(token: str) -> bool:
    return token.startswith("-") and token != "-" and _NEGATIVE_NUMBER.fullmatch(token) is None and not token.startswith("- ")


def _find(head: str, table: Mapping[str, ArgumentRow], version: EngineVersion) -> tuple[ArgumentRow, tuple[str, ...], bool]:
    """The row of a spelling, the JSON keys after its first dot, and whether it is a `--no-` form."""
    name = normalise_flag(head)
    if name == "-O" and name not in table:
        name = "--optimization-level"
    row = table.get(name)
    if row is not None:
        return row, (), False
    base, dot, rest = name.partition(".")
    row = table.get(base)
    if dot and row is not None and row.kind in ("json", "json_or_str"):
        return row, tuple(rest.split(".")), False
    row = table.get("--" + name.removeprefix("--no-")) if name.startswith("--no-") else None
    if row is not None and row.kind == "bool":
        return row, (), True
    raise InvalidInput(head, head, f"is not an argument of vllm serve {version}{_hint(name, table)}")


def _hint(name: str, table: Mapping[str, ArgumentRow]) -> str:
    runs = sorted({(row.since, row.last or (99, 99)) for row in all_rows() if name in (row.flag, *row.aliases)})
    if runs:
        first, last = runs[0][0], runs[-1][1]
        since = f"{first[0]}.{first[1]}"
        return f": it exists from {since} on" if last == (99, 99) else f": it existed from {since} to {last[0]}.{last[1]}"
    near = sorted(flag for flag in table if len(name) > 4 and flag.startswith(name))[:3]
    if near:
        return f" (abbreviations are not taken: write {' or '.join(near)})"
    alike = difflib.get_close_matches(name[:80], list(table), n=2, cutoff=0.85)
    return f" (nearest: {', '.join(alike)})" if alike else ""


def _values_wanted(row: ArgumentRow, key_path: tuple[str, ...]) -> int:
    if key_path:
        return 1
    if row.kind in ("flag", "bool"):
        return 0
    return _MAX_ARGS if row.kind == "list" else 1


def _check_count(row: ArgumentRow, head: str, key_path: tuple[str, ...], negated: bool, values: tuple[str, ...]) -> None:
    if row.kind in ("flag", "bool") and values:
        instead = f"; write {head} or --no-{head.lstrip('-')}" if row.kind == "bool" and not negated else ""
        raise InvalidInput(head, values[0], f"takes no value{instead}")
    if not values and (key_path or row.kind not in ("flag", "bool", "bool_value", "optional_str")):
        raise InvalidInput(head, None, "needs a value")


def _put(target: dict[str, Any], path: tuple[str, ...], item: _Given) -> None:
    """Put one dotted JSON argument (`--x.a.b v`) where its keys say."""
    for key in path[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InvalidInput(item.spelling, item.values[0], f"contradicts the value given for {key}")
        target = inner
    target[path[-1]] = _json_or_text(item.values[0])


def _json_or_text(text: str) -> Any:
    try:
        return parse_json(text, "extraArgs", infinite=True)
    except InvalidInput:
        return text


def _value(item: _Given) -> Any:
    """The value as the argument's kind reads it. Raises InvalidInput naming the flag."""
    kind, name = item.row.kind, item.spelling
    if kind in ("flag", "bool"):
        return not item.negated
    if kind in ("list", "append"):
        return list(item.values)
    text = item.values[0].strip() if item.values else ""
    if kind == "bool_value":
        if text.lower() not in ("", "true", "false"):
            raise InvalidInput(name, text, "must be true or false")
        return text.lower() != "false"
    if text in ("", "None"):
        return None
    if kind in ("int", "human_int", "human_int_or_auto"):
        return parse_int(text, name, kind)
    if kind == "float":
        return _float(text, name)
    if kind == "json":
        try:
            return parse_json(text, name, infinite=True)
        except InvalidInput as error:
            raise InvalidInput(name, text, f"must be JSON: it {error.limit}") from error
    return text


def parse_int(text: str, name: str, kind: str = "human_int") -> int:
    """A whole number as vLLM's parser reads it: `k m g t` are powers of 1000, `K M G T` of 1024 (whole numbers only).

    kind `int` takes no suffix; `human_int_or_auto` also takes `auto` and -1, both returned as -1. (vLLM 0.33.0,
    utils/argparse_utils.py: human_readable_int.) Raises InvalidInput naming `name`.
    """
    if kind == "human_int_or_auto" and text.lower() in ("auto", "-1"):
        return -1
    match = _HUMAN_INT.fullmatch(text)
    if match is None or (kind == "int" and match[2]):
        raise InvalidInput(name, text, "must be a whole number" + ("" if kind == "int" else ", 32k (1000s) or 32K (1024s)"))
    number, suffix = match[1], match[2]
    if suffix in _DECIMAL:
        whole, _, fraction = number.partition(".")
        return int(whole + fraction) * _DECIMAL[suffix] // int("1" + "0" * len(fraction))
    if "." in number:
        raise InvalidInput(name, text, "must be a whole number; decimals go with the suffixes k, m, g and t only")
    return int(number) * _BINARY.get(suffix, 1)


def _float(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InvalidInput(name, text, "must be a number") from error
    if not -1e15 < value < 1e15:
        raise InvalidInput(name, text, "must be a finite number")
    return value


def _refuse_unruled(item: _Given) -> None:
    row = item.row
    if not row.moves_memory or (len(item.values) == 1 and item.values[0] in row.harmless_values and not item.key_path):
        return
    raise InvalidInput(item.spelling, " ".join(item.tokens), "can move GPU memory in a way that is not supported yet")


def _set_field(engine: dict[str, Any], item: _Given, value: Any) -> None:
    if item.row.flag == "--task":
        _set_runner(engine, item, value)
    elif item.row.flag == "--speculative-config":
        _set_speculative(engine, item, value)
    elif value is not None and item.row.engine_field is not None:
        _once(engine, item, item.row.engine_field, value)


def _once(engine: dict[str, Any], item: _Given, field: str, value: Any) -> None:
    if field in engine:
        raise InvalidInput(item.spelling, value, f"sets {field}, which another flag sets too")
    engine[field] = value


def _set_runner(engine: dict[str, Any], item: _Given, value: Any) -> None:
    """`--task` of 0.8 to 0.12 says what `--runner` says since."""
    if value in _POOLING_TASKS:
        _once(engine, item, "runner", "pooling")
    elif value == "generate":
        _once(engine, item, "runner", "generate")
    elif value != "auto":
        raise InvalidInput(item.spelling, value, "is a task that is not supported yet")


def _set_speculative(engine: dict[str, Any], item: _Given, value: Any) -> None:
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
            raise InvalidInput(f"{item.spelling}.{key}", entry, "can move GPU memory in a way that is not supported yet")


def _refuse_contradictions(engine: Mapping[str, Any], given: Mapping[str, object], version: EngineVersion) -> None:
    EngineArgs.from_mapping(engine)
    for field, value in engine.items():
        stated = given.get(field)
        if stated is not None:
            flag = flag_of(field, version) or field
            limit = "is set in the spec too: say it once" if stated == value else f"contradicts the spec, which says {stated!r}"
            raise InvalidInput(flag, value, limit)


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
    if isinstance(value, Mapping):
        return [f"{flag}={json.dumps(dict(value), sort_keys=True, separators=(',', ':'))}"]
    return [f"{flag}={value}"]
