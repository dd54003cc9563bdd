"""JSON from outside, parsed once and bounded: size, nesting, digits, and text that can be written down again.

The one room for it: configs, arguments, hub answers, pod logs, annotations and admission bodies enter here. A fault is InvalidInput
naming what was read and the limit. Of two equal keys the last one counts, as for vLLM and for Go. Knows no schema.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, NoReturn

from plimsoll_estimator.errors import InvalidInput

DEEPEST: Final = 64
"""Objects and lists inside one another. Published configs have fewer than ten levels, Kubernetes objects fewer than thirty."""
MOST_DIGITS: Final = 64
"""Digits of a whole number. Published configs have up to 31."""
_BRACKETS: Final = re.compile(r"[\[\]{}]")
_LONE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes, where: str, *, most_bytes: int | None = None, infinite: bool = False, deepest: int = DEEPEST) -> Any:
    """The value that a JSON text says. `infinite` lets NaN and Infinity through, which JSON lacks and published configs use.

    Raises InvalidInput, and nothing else, for any text at all.
    """
    said = _decoded(text, where, most_bytes)
    if said.count("[") + said.count("{") > deepest and _depth(said) > deepest:
        raise InvalidInput(where, said[:40], f"nests more than {deepest} deep")

    def whole(digits: str) -> int:
        if len(digits.lstrip("-")) > MOST_DIGITS:
            raise InvalidInput(where, f"{digits[:8]}...", f"is a number of more than {MOST_DIGITS} digits")
        return int(digits)

    def constant(name: str) -> float:
        if infinite:
            return float(name)
        raise InvalidInput(where, name, "is no number in JSON")

    def fraction(digits: str) -> float:
        found = float(digits)
        return found if math.isfinite(found) else constant("Infinity" if found > 0 else "-Infinity")

    try:
        found = json.loads(said, parse_int=whole, parse_float=fraction, parse_constant=constant)
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput(where, said[:40], f"is not JSON: {type(error).__name__}") from error
    if _LONE.search(said):
        check_text(found, where)
    return found


def parse_json_object(text: str | bytes, where: str, *, most_bytes: int | None = None, infinite: bool = False) -> Mapping[str, Any]:
    """The same where it must be an object."""
    found = parse_json(text, where, most_bytes=most_bytes, infinite=infinite)
    if not isinstance(found, dict):
        raise InvalidInput(where, found, "must be a JSON object")
    return found


def check_text(value: object, where: str, *, deepest: int = DEEPEST) -> None:
    """Every text in it, keys too, can be written as UTF-8, and nothing nests too deep. Raises InvalidInput naming the place."""
    level: list[tuple[str, object]] = [("", value)]
    for _ in range(deepest + 1):
        below: list[tuple[str, object]] = []
        for path, one in level:
            if isinstance(one, str):
                if not is_text(one):
                    _refuse(where, path, one)
            elif isinstance(one, Mapping):
                for key, inner in one.items():
                    if isinstance(key, str) and not is_text(key):
                        _refuse(where, path, key)
                    below.append((f"{path}.{key}", inner))
            elif isinstance(one, list | tuple):
                below.extend((path, inner) for inner in one)
        if not below:
            return
        level = below
    raise InvalidInput(where, None, f"nests more than {deepest} deep")


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: a lone half of a surrogate pair cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(where: str, path: str, value: str) -> NoReturn:
    raise InvalidInput(f"{where}{path[:200]}", value, "holds half of a surrogate pair, which no UTF-8 text can")


def _decoded(text: str | bytes, where: str, most_bytes: int | None) -> str:
    if most_bytes is not None and len(text) > most_bytes:
        raise InvalidInput(where, len(text), f"bytes are too many: at most {most_bytes}")
    if isinstance(text, bytes):
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(where, text[:40], "is no UTF-8 text") from error
    if not is_text(text):
        raise InvalidInput(where, text[:40], "is no UTF-8 text")
    return text


def _depth(text: str) -> int:
    """How deep it nests, found without recursion: brackets outside of strings, of which escaped quotes are no end."""
    outside = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    brackets = _BRACKETS.findall("".join(outside))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)
