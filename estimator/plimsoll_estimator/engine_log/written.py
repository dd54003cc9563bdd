"""Python values as a log prints them: the arguments of a server (`{'model': ..}`, `Namespace(..)`), the configuration of an engine.

Called by `reader`. Text from outside is cut at the outermost commas and only plain literals are taken as values; nothing is evaluated, and
any text at all gives pairs, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.outside import parse_json

MOST_PAIRS: Final = 400
DEEPEST: Final = 16
_LONGEST_VALUE: Final = 4 << 10
_OPEN: Final = {"{": "}", "[": "]", "(": ")"}
_NAME: Final = re.compile(r"\s*(?:'(\w{1,80})'|\"(\w{1,80})\"|(\w{1,80}))\s*$")
_NUMBER: Final = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?(?:e-?\d{1,2})?")
_WORDS: Final = {"True": True, "False": False, "None": None}
_ENUM: Final = re.compile(r"<?\w{1,60}\.\w{1,60}(?:: (.{1,80}))?>?")


class _Unknown:
    """In place of a value that is no plain literal."""


UNKNOWN: Final = _Unknown()


def mapping(text: str) -> tuple[tuple[str, Any], ...]:
    """The pairs of `{'a': 1, ..}` or `Namespace(a=1, ..)`; those whose value is no plain literal, or is cut, are left out."""
    begin = text.find("(" if text.startswith("Namespace(") else "{")
    if begin < 0:
        return ()
    return _pairs(text[begin + 1 :], "=" if text[begin] == "(" else ":")


def fields(text: str) -> tuple[tuple[str, Any], ...]:
    """The pairs of `model='a', dtype=torch.bfloat16, ..`; a bare word is text."""
    return _pairs(text, "=")


def _pairs(text: str, between: str) -> tuple[tuple[str, Any], ...]:
    found = []
    for part in _parts(text):
        name, sign, value = part.partition(between)
        named = _NAME.match(name)
        if not sign or named is None:
            continue
        taken = _value(value.strip(), bare=between == "=")
        if not isinstance(taken, _Unknown):
            found.append((named[1] or named[2] or named[3], taken))
        if len(found) >= MOST_PAIRS:
            break
    return tuple(found)


def _parts(text: str) -> Iterator[str]:
    """The text between outermost commas, up to what closes it; a last part that is cut off is left out, for it says half a value."""
    begin, inside = 0, list[str]()
    for at, char in _unquoted(text):
        if char in _OPEN:
            inside.append(_OPEN[char])
            if len(inside) > DEEPEST:
                return
        elif char == "," and not inside:
            yield text[begin:at]
            begin = at + 1
        elif char in "}])" and not inside:
            yield text[begin:at]
            return
        elif char in "}])" and inside.pop() != char:
            return


def _unquoted(text: str) -> Iterator[tuple[int, str]]:
    """The signs that stand in no quotes, each with its place."""
    quote, skip = "", False
    for at, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            yield at, char


def _value(text: str, *, bare: bool) -> Any:
    if len(text) > _LONGEST_VALUE:
        return UNKNOWN
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text or "e" in text else int(text)
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        return _text(text)
    if text[:1] == "[" and text.endswith("]"):
        items = [_value(part.strip(), bare=False) for part in _parts(text[1:]) if part.strip()]
        return UNKNOWN if any(isinstance(item, _Unknown) for item in items) else items
    if text[:1] == "{" and text.endswith("}"):
        return _object(text)
    if (named := _ENUM.fullmatch(text)) is not None and "." in text:
        return (named[1] or text.rpartition(".")[2]).strip("<>'\"") if bare or text.startswith("<") else UNKNOWN
    return text if bare and re.fullmatch(r"\w{1,80}", text) else UNKNOWN


def _object(text: str) -> Any:
    """A dict of plain values, or JSON (compilation_config is printed so); else unknown."""
    inner = [part for part in _parts(text[1:]) if part.strip()]
    pairs = _pairs(text[1:], ":")
    if len(pairs) == len(inner):
        return dict(pairs)
    try:
        return parse_json(text, "log line", most_bytes=_LONGEST_VALUE, deepest=DEEPEST)
    except InvalidInput:
        return UNKNOWN


def _text(literal: str) -> str:
    quote = literal[0]
    inner = literal[1:-1]
    return inner.replace("\\" + quote, quote).replace("\\\\", "\\") if "\\" in inner else inner
