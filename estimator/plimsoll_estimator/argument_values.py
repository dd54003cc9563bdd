"""The values of `vllm serve` arguments as the release's parser reads them: numbers, switches, JSON, and the words that it lists.

Called by `arguments`. Follows argparse, and get_kwargs of vllm/engine/arg_utils.py. Knows no flag's meaning.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from plimsoll_estimator.argument_spelling import GivenArgument, parser_rules
from plimsoll_estimator.argument_table import bounds_of, releases_of_value, values_of
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.outside import parse_json

NO_RULE: Final = "can move GPU memory in a way that is not supported yet"
_SUFFIXED: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([kKmMgGtT])")
_WHOLE: Final = re.compile(r"[+-]?(?=[\d_]{1,18}$)\d+(?:_\d+)*")
_DECIMAL: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_OBJECT: Final = re.compile(r"(?s)\s*\{.*\}\s*")
_MOST_NAMED: Final = 12


def value_of(item: GivenArgument) -> Any:
    """The value as the argument's kind reads it: None where it says that it is not given. Raises InvalidInput naming the flag."""
    kind, name = item.row.kind, item.spelling
    if kind in ("flag", "bool"):
        return not item.negated
    if kind in _LISTS:
        given = (value for value in item.values if not (item.row.takes_none and value in ("", "None")))
        return [_LISTS[kind](value, name) for value in given]
    text = item.values[0].strip() if item.values else ""
    if kind == "bool_value":
        if text.lower() not in ("", "true", "false"):
            raise InvalidInput(name, text, "must be true or false")
        return text.lower() != "false"
    if item.row.takes_none and text in ("", "None"):
        return None
    if item.spelling == "-O" and text.isdecimal():
        return int(text)  # a level, of whatever argument -O is in the release
    reader = _READERS.get(kind)
    return text if reader is None else reader(text, name)


def parse_int(text: str, name: str, kind: str = "human_int") -> int:
    """A whole number as vLLM's parser reads it: `k m g t` are powers of 1000, `K M G T` of 1024 (whole numbers only).

    kind `int` takes no suffix; `human_int_or_auto` also takes `auto`, returned as -1. (vLLM 0.33.0, utils/argparse_utils.py:
    human_readable_int.) Raises InvalidInput naming `name`.
    """
    text = text.strip()
    if kind == "human_int_or_auto" and text.lower() == "auto":
        return -1
    if _WHOLE.fullmatch(text):
        return int(text)
    match = _SUFFIXED.fullmatch(text) if kind != "int" else None
    if match is None:
        raise InvalidInput(name, text, "must be a whole number" + ("" if kind == "int" else ", 32k (1000s) or 32K (1024s)"))
    number, suffix = match[1], match[2]
    whole, _, fraction = number.partition(".")
    if suffix in _DECIMAL:
        return int(whole + fraction) * _DECIMAL[suffix] // int("1" + "0" * len(fraction))
    if fraction:
        raise InvalidInput(name, text, "must be a whole number; decimals go with the suffixes k, m, g and t only")
    return int(number) * _BINARY[suffix]


def _float(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InvalidInput(name, text, "must be a number") from error
    if not -1e15 < value < 1e15:
        raise InvalidInput(name, text, "must be a finite number")
    return value


def _json(text: str, name: str) -> Any:
    try:
        return parse_json(text, name, infinite=True)
    except InvalidInput as error:
        raise InvalidInput(name, text, f"must be JSON: it {error.limit}") from error


def _object(text: str, name: str) -> Any:
    value = _json(text, name)
    if not isinstance(value, Mapping):
        raise InvalidInput(name, text, "must be a JSON object")
    return value


def _module(text: str, name: str) -> str:
    """`name=path`, or JSON with both (vllm/entrypoints: LoRAParserAction, PromptAdapterParserAction)."""
    if text in ("", "None") or (text.count("=") == 1 and "," not in text):
        return text
    value = _json(text, name)
    if not isinstance(value, Mapping) or not {"name", "path"} <= value.keys():
        raise InvalidInput(name, text, "must be NAME=PATH, or a JSON object with name and path")
    return text


def _pairs(text: str, name: str) -> dict[str, int]:
    """`image=4,video=1` of 0.8 and 0.9 (vllm/engine/arg_utils.py: nullable_kvs)."""
    found: dict[str, int] = {}
    for entry in text.split(","):
        key, equals, value = (part.strip().lower() for part in entry.partition("="))
        if not equals or "=" in value or found.get(key, value) != value:
            raise InvalidInput(name, text, "must be KEY=VALUE pairs with commas between them")
        found[key] = parse_int(value, name, "int")
    return found


def _json_or_pairs(text: str, name: str) -> Any:
    return _json(text, name) if _OBJECT.fullmatch(text) else _pairs(text, name)


def _json_or_text(text: str, name: str) -> Any:
    return _json(text, name) if _OBJECT.fullmatch(text) else text


_READERS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "int": lambda text, name: parse_int(text, name, "int"),
    "human_int": parse_int,
    "human_int_or_auto": lambda text, name: parse_int(text, name, "human_int_or_auto"),
    "float": _float,
    "json": _json,
    "config": _object,
    "pairs": _pairs,
    "json_or_pairs": _json_or_pairs,
    "json_or_str": _json_or_text,
    "folded_str": lambda text, _: text.lower().replace("-", "_"),
}
_LISTS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "list": lambda text, _: text,
    "modules": _module,
    "append": lambda text, _: text,
    "int_list": _READERS["int"],
    "float_list": _float,
}


def key_value(key: str, text: str, version: EngineVersion) -> tuple[str, Any]:
    """One key of `--x.key value`: `key+` is a list, and the value is JSON where the release reads it and it is some."""
    rules = parser_rules(version)
    if not rules.reads_dotted_json:
        return key, text
    if key.endswith("+"):
        return key.removesuffix("+"), text.split(",")
    try:
        return key, parse_json(text, "extraArgs", infinite=True)
    except InvalidInput:
        pass
    if rules.reads_suffixes and _SUFFIXED.fullmatch(text):
        return key, parse_int(text, "extraArgs")
    return key, text


_PYDANTICS: Final = re.compile(r"\s*[+-]?\d{1,18}(?:_\d{1,18})*(?:\.0+)?\s*")


def whole_number(value: object) -> int | None:
    """A value inside a configuration's object as pydantic reads whole numbers, None where it is none to it (called in 0.14.1 to 0.32.0)."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1 << 62 else None
    return int(value.partition(".")[0]) if isinstance(value, str) and _PYDANTICS.fullmatch(value) else None


def entries(items: Sequence[GivenArgument], flag: str, key: str | None, version: EngineVersion) -> object:
    """What the flag says, or of a configuration its key: a value, a mapping with the entries that were given one by one; None: nothing."""
    found: object = None
    for item in items:
        if item.flag != flag:
            continue
        value = key_value(item.key_path[-1], item.values[0], version)[1] if item.key_path else value_of(item)
        for part in reversed(item.key_path):
            value = {part.removesuffix("+"): value}
        if key is not None:
            value = value.get(key) if isinstance(value, Mapping) else None
        found = {**found, **value} if isinstance(found, Mapping) and isinstance(value, Mapping) else found if value is None else value
    return found


def check_listed(flag: str, name: str, value: Any, version: EngineVersion) -> None:
    """Whether the release lists the value, or each of several. Raises InvalidInput naming `name`, with the releases that list it."""
    listed = values_of(flag, version)
    if listed is None or value is None:
        return
    for entry in value if isinstance(value, list) else (value,):
        if str(entry) not in listed:
            raise InvalidInput(name, entry, f"is not a value of {flag} in vLLM {version} ({_named(listed)}){_when(flag, str(entry))}")


_WITHIN: Final[Mapping[str, tuple[str, Callable[[float, float], bool]]]] = {
    "ge": ("at least", operator.ge),
    "gt": ("above", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}


def check_bounds(flag: str, name: str, value: Any, version: EngineVersion) -> None:
    """Whether a number is one that the release's configuration takes (vllm/config). Raises InvalidInput naming `name`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    for kind, bound in bounds_of(flag, version).items():
        words, holds = _WITHIN[kind]
        if not holds(value, bound):
            raise InvalidInput(name, value, f"must be {words} {bound:g} in vLLM {version}")


def _named(listed: Sequence[str]) -> str:
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _when(flag: str, value: str) -> str:
    when = releases_of_value(flag, value)
    return f": it is one {when}" if when else ""
