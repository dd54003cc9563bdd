"""Patterns of module names: what Python's `re` and `fnmatch` say, in one pass over the name and with bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law

from plimsoll_estimator.quantization.expressions import Malformed, expression
from plimsoll_estimator.quantization.patterns import MOST_ITEMS, Machine, Unmatchable, glob

LAW = law(500)
ALPHABET = "abx.019_-"
ATOMS = st.sampled_from(
    ["a", "b", "x", ".", r"\.", "0", "1", "[ab]", "[^a]", "[0-9]", r"\d", r"\w", r"[\d.]", r"\D", "[^a-b0]", "(?:a)", "-", "[]a]", "[a-]"]
)
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{,3}", "{0}", "{1}"])
LEAVES = st.builds("{}{}".format, ATOMS, REPEATS)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.lists(inner, min_size=1, max_size=3).map("|".join)
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        groups.map("({})".format),
        groups.map("(?:{})?".format),
        groups.map("(?:{})".format),
    )


PATTERNS = st.recursive(LEAVES, _grown, max_leaves=8).flatmap(
    lambda body: st.sampled_from([body, body, f"^{body}", f"{body}$", rf"\A{body}\Z", f"{body}|b", f"^{body}$|x"])
)
ANCHORED_INSIDE = re.compile(r"(?<!\[)\^|\$")
NAMES = st.text(ALPHABET, max_size=14)


def matched(machine: Machine, name: str) -> bool:
    return machine.accepts(machine.run(name))


@LAW
@given(PATTERNS, st.lists(NAMES, min_size=1, max_size=6))
def test_an_expression_matches_what_python_matches(pattern: str, names: list[str]) -> None:
    try:
        python = re.compile(pattern)
    except re.error:
        with pytest.raises((Malformed, Unmatchable)):
            expression(pattern)
        return
    if ANCHORED_INSIDE.search(pattern[1:-1]):
        return  # an anchor that another part comes before or after: refused, see below
    machine = Machine(expression(pattern))
    for name in names:
        assert matched(machine, name) is (python.match(name) is not None), (pattern, name)


@LAW
@given(st.text("ab.*?[]!-0", max_size=10), st.lists(NAMES, min_size=1, max_size=6))
def test_a_glob_matches_what_fnmatch_matches(pattern: str, names: list[str]) -> None:
    machine = Machine([glob(pattern)])
    for name in names:
        assert matched(machine, name) is fnmatchcase(name, pattern), (pattern, name)


@LAW
@given(st.lists(PATTERNS, max_size=5), NAMES)
def test_a_list_matches_what_one_of_it_matches_and_a_name_may_be_read_in_parts(patterns: list[str], name: str) -> None:
    alone = []
    for pattern in patterns:
        try:
            alone.append(expression(pattern))
        except (Malformed, Unmatchable):
            continue
    machine = Machine(one for alternatives in alone for one in alternatives)
    assert matched(machine, name) is any(matched(Machine(alternatives), name) for alternatives in alone)
    for cut in range(len(name)):
        assert machine.run(name[cut:], machine.run(name[:cut])) == machine.run(name)


PUBLISHED = [
    ("re of vision towers", ".*vision_tower.*", "vision_tower.encoder.layers.0.mlp.fc1", "layers.0.mlp.fc1"),
    ("an end", ".*linear_attn.in_proj_[ab]$", "layers.0.linear_attn.in_proj_a", "layers.0.linear_attn.in_proj_ab"),
    ("alternatives", r".*mlp\.(gate|up|gate_up|down)_proj.*", "layers.3.mlp.gate_up_proj", "layers.3.mlp.experts.0.x"),
    ("numbers", r".*layers\.(?:[0-2]|6\d)\..*", "layers.61.mlp.gate", "layers.7.mlp.gate"),
    ("a named group", r"(?P<where>self_attn|mlp)[.].*", "mlp.gate", "norm"),
    ("no wildcard", "lm_head", "lm_head", "embed"),
]


@pytest.mark.parametrize(("why", "pattern", "hit", "miss"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_patterns(why: str, pattern: str, hit: str, miss: str) -> None:
    machine = Machine(expression(pattern))
    assert (matched(machine, hit), matched(machine, miss)) == (True, False), why


REFUSED = [
    ("a look ahead", "(?!.*mlp).*", Unmatchable, "(?! is no plain group"),
    ("a look behind", "(?<=a)b", Unmatchable, "(?<= is no plain group"),
    ("a flag", "(?i)a", Unmatchable, "(?i is no plain group"),
    ("a backreference", r"(a)\1", Unmatchable, r"\1 is no plain character"),
    ("a named backreference", "(?P<a>x)(?P=a)", Unmatchable, "(?P= is no plain group"),
    ("a word's edge", r"\bgate", Unmatchable, r"\b is no plain character"),
    ("a repeated group", "(ab)*", Unmatchable, "a group of several characters is repeated"),
    ("repeats within repeats", "(.*)*x", Unmatchable, "a group of several characters is repeated"),
    ("a possessive repeat", "a*+b", Unmatchable, "possessive"),
    ("an anchor inside", "a$b", Unmatchable, "inside it"),
    ("a repeat of a thousand million", "a{999999999}", Unmatchable, "too long"),
    ("a repeat of more digits than Python reads", f"a{{{'9' * 5000}}}", Unmatchable, "repeats too often"),
    ("alternatives that multiply", "(a|b)" * 40, Unmatchable, "too many alternatives"),
    ("groups in groups", "(" * 500 + ")" * 500, Unmatchable, "nested"),
    ("a pattern of megabytes", "a" * 3_000_000, Unmatchable, "too long"),
    ("no end of a group", "(a", Malformed, "unterminated"),
    ("an end of no group", "a)", Malformed, "unbalanced"),
    ("no end of a class", "[a", Malformed, "too early"),
    ("nothing to repeat", "*a", Malformed, "nothing to repeat"),
    ("a range from high to low", "[b-a]", Malformed, "range"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "pattern", "kind", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_does_not_run_in_one_pass_is_refused_by_name(why: str, pattern: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        expression(pattern)


class Counted(str):
    """A name that counts how often its characters are asked for."""

    asked = 0

    def __iter__(self) -> Iterator[str]:
        for char in str.__iter__(self):
            self.asked += 1
            yield char


@pytest.mark.parametrize("pattern", [".?" * 60 + "!", ".*" * 60 + "!", ".*a.*b.*c.*d.*!", "a?" * 200 + "a{200}", "[ab]{0,2000}!"])
def test_a_name_is_read_once_whatever_the_pattern(pattern: str) -> None:
    name = Counted("layers.17.mlp.experts.0.gate_proj")
    machine = Machine(expression(pattern))
    assert not matched(machine, name)
    assert name.asked <= len(name)
    assert machine.size <= MOST_ITEMS + 1
