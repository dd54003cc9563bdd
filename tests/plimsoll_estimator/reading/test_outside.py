"""JSON from outside: one door, bounded in size, nesting and digits, and nothing in it that cannot be written down again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.outside import DEEPEST, MOST_DIGITS, check_text, parse_json, parse_json_object

LAW = law(300)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.integers(-(10**MOST_DIGITS) + 1, 10**MOST_DIGITS - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@LAW
@given(VALUES, st.booleans())
def test_what_json_can_say_comes_through_as_it_is(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text, "it") == json.loads(text)
    assert parse_json(text.encode(), "it") == json.loads(text)


@LAW
@given(st.text('[]{}",:\\ud8a0 e9.-', max_size=60) | st.binary(max_size=40))
def test_any_text_is_a_value_or_named_as_no_json(text: str | bytes) -> None:
    found: object = None
    fault = InvalidInput("it", "", "")
    try:
        found = parse_json(text, "it")
    except InvalidInput as error:
        fault = error
    assert fault.field.startswith("it")
    str(fault).encode()
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


REFUSED = [
    ("one level too many", nested(DEEPEST + 1), f"nests more than {DEEPEST} deep"),
    ("deeper than the parser recurses", nested(992), f"nests more than {DEEPEST} deep"),
    ("a hundred thousand levels", nested(100_000), f"nests more than {DEEPEST} deep"),
    ("levels that are never closed", "[" * 100_000, f"nests more than {DEEPEST} deep"),
    ("objects in objects", '{"a":' * 65 + "1" + "}" * 65, f"nests more than {DEEPEST} deep"),
    ("levels behind a string full of brackets and quotes", '["\\"]]]]\\\\", ' + nested(70) + "]", f"nests more than {DEEPEST} deep"),
    ("half of a pair", '{"a": ["\\ud800"]}', "it.a: '\\ud800' holds half of a surrogate pair"),
    ("half of a pair in a key", '{"\\uDC00": 1}', "holds half of a surrogate pair"),
    ("two halves in the wrong order", '"\\udc00\\ud800"', "holds half of a surrogate pair"),
    ("half of a pair in the text itself", '"\ud800"', "is no UTF-8 text"),
    ("bytes that are no UTF-8", b'"\xed\xa0\x80"', "is no UTF-8 text"),
    ("more digits than Python reads", "1" * 4301, f"is a number of more than {MOST_DIGITS} digits"),
    ("more digits than anything needs", "1" * (MOST_DIGITS + 1), f"is a number of more than {MOST_DIGITS} digits"),
    ("not a number", "[NaN]", "is no number in JSON"),
    ("infinity", "-Infinity", "is no number in JSON"),
    ("a fraction beyond all numbers", "1e999", "is no number in JSON"),
    ("no JSON", "{", "is not JSON"),
    ("nothing", "", "is not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "text", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_refused_says_which_limit(why: str, text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(text, "it")
    assert says in str(caught.value), why
    str(caught.value).encode()


TAKEN = [
    ("as deep as allowed", nested(DEEPEST)),
    ("many lists beside one another", "[" + ",".join(["[]"] * 500) + "]"),
    ("brackets in strings", json.dumps(["[" * 500, '"' * 300, "\\" * 301])),
    ("a whole pair", '"\\ud83d\\ude00"'),
    ("the tokenizer's length that means none", "1000000000000000019884624838656"),
]


@pytest.mark.parametrize(("why", "text"), TAKEN, ids=[row[0] for row in TAKEN])
def test_what_is_honest_is_taken(why: str, text: str) -> None:
    assert parse_json(text, "it") == json.loads(text), why


def test_infinity_is_let_through_where_published_configs_have_it_and_the_last_of_two_equal_keys_counts() -> None:
    assert parse_json_object('{"a": [0.0, Infinity], "b": 1, "b": 2}', "it", infinite=True) == {"a": [0.0, float("inf")], "b": 2}


def test_sizes_and_kinds_are_checked() -> None:
    with pytest.raises(InvalidInput, match="at most 3"):
        parse_json("[1, 2]", "it", most_bytes=3)
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        parse_json_object("[]", "it")


@pytest.mark.parametrize("text", ['{"architectures":["\\ud800"]}', '{"a":' * 992 + "{}" + "}" * 992, '{"a":' + "9" * 5000 + "}", "[1]"])
def test_a_config_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        HfConfig.from_json(text)
    assert str(caught.value).startswith("config")


def test_values_that_were_parsed_elsewhere_are_looked_through() -> None:
    check_text({"a": [{"b": ("x", 1, None, 1.5)}]}, "it")
    deep: Any = "x"
    for _ in range(2000):
        deep = [deep]
    for value, says in (({"a": {"b\udfff": 1}}, r"it.a: 'b\udfff'"), ({"a": ["\ud800"]}, r"it.a: '\ud800'"), (deep, "nests more than 64")):
        with pytest.raises(InvalidInput) as caught:
            check_text(value, "it")
        assert says in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rule for \ud800"),
        EngineRefusal(Check.NOT_DIVISIBLE, "\udfff"),
        InvalidInput("a.\ud800", "\ud800", "is odd"),
    ],
)
def test_what_an_error_quotes_can_be_written_down(error: Exception) -> None:
    assert str(error).encode()


def test_no_error_moves_a_terminal() -> None:
    """Whatever name or value an error quotes: what begins a terminal's order is shown, not sent."""
    said = str(InvalidInput("spec.\x1b[31mkey\x00", "a", "is no\x9bfield\nat all"))
    assert said == "spec.\\x1b[31mkey\\x00: 'a' is no\\x9bfield\nat all"
