"""Files of objects: a key that is there twice is an error with its line, and whatever YAML may say beside that is let through."""

import time
from pathlib import Path

import pytest

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.manifests import documents

PATH = Path("x.yaml")
TWICE = [
    ("in the middle of an object", "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", 5, "'c'"),
    ("at the top", "kind: A\nkind: B\n", 2, "'kind'"),
    ("in the second document", "a: 1\n---\na: 1\nb: 2\na: 3\n", 5, "'a'"),
    ("in an object on one line", "a: {b: 1, b: 2}\n", 1, "'b'"),
    ("in an entry of a list", "a:\n- b: 1\n- b: 1\n  b: 2\n", 4, "'b'"),
    ("with quotes and without", 'a: 1\n"a": 2\n', 2, "'a'"),
    ("in JSON", '{"a": 1,\n "b": {"c": 1,\n "c": 2}}', 3, "'c'"),
    ("beside a merge", "x: &x {a: 1}\ny:\n  <<: *x\n  b: 1\n  b: 2\n", 5, "'b'"),
    ("a key that a terminal would obey", '"\\e[31m": 1\n"\\e[31m": 2\n', 2, "[31m"),
]


@pytest.mark.parametrize(("why", "text", "line", "key"), TWICE, ids=[row[0] for row in TWICE])
def test_a_key_twice_is_named_with_its_line(why: str, text: str, line: int, key: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        documents(PATH, text)
    said = str(raised.value)
    assert said.startswith(f"x.yaml: line {line} "), said
    assert f"has the key {key}" in said or key in said
    assert said.isprintable()


ONCE = [
    ("the same key in two objects", "- {a: 1}\n- {a: 2}\n", [[{"a": 1}, {"a": 2}]]),
    ("the same key at two depths", "a: {a: 1}\n", [{"a": {"a": 1}}]),
    ("a key that a merge brings too", "x: &x {a: 1}\ny: {<<: *x, a: 2}\n", [{"x": {"a": 1}, "y": {"a": 2}}]),
    ("two merges", "x: &x {a: 1}\nz: &z {b: 1}\ny:\n  <<: [*x, *z]\n", [{"x": {"a": 1}, "z": {"b": 1}, "y": {"a": 1, "b": 1}}]),
    ("JSON", '{"a": {"b": 1}, "b": 2}', [{"a": {"b": 1}, "b": 2}]),
]


@pytest.mark.parametrize(("why", "text", "found"), ONCE, ids=[row[0] for row in ONCE])
def test_what_is_there_once_is_read(why: str, text: str, found: list[object]) -> None:
    assert documents(PATH, text) == found


LAUGHS = "\n".join(f"a{n}: &a{n} [{', '.join(['*a' + str(n - 1)] * 10) if n else '1, 2, 3'}]" for n in range(9))
MERGES = "a0: &a0 {k: 1}\n" + "\n".join(f"a{n}: &a{n} {{<<: [{', '.join(['*a' + str(n - 1)] * 10)}]}}" for n in range(1, 9))
BEYOND = [
    ("aliases of aliases of aliases", LAUGHS, "aliases are spelled out"),
    ("merges of merges of merges", MERGES, "keys are merged"),
    ("a list that holds itself", "a: &a [*a]\n", "aliases are spelled out"),
    ("a number of thousands of digits", f"a: {'7' * 5000}\n", "no object can hold"),
    ("the same in JSON", f'{{"a": {"7" * 5000}}}', "no object can hold"),
    ("a set", "a: !!set {b}\n", "YAML's type set"),
    ("bytes", "a: !!binary aGVsbG8=\n", "YAML's type binary"),
    ("a key that is a list", "? [a, b]\n: 1\n", "no text"),
]


@pytest.mark.parametrize(("why", "text", "words"), BEYOND, ids=[row[0] for row in BEYOND])
def test_what_would_fill_memory_or_is_no_json_is_refused(why: str, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        documents(PATH, text)


def test_keys_are_text_as_kubectl_sends_them() -> None:
    assert documents(PATH, "labels: {1: a, true: b, 1.5: c, null: d}\n") == [{"labels": {"1": "a", "true": "b", "1.5": "c", "null": "d"}}]


def test_dates_are_text_as_kubectl_sends_them() -> None:
    assert documents(PATH, "a: 2026-11-30\nb: 2026-11-30T12:00:00Z\nc: 2026-13-01\n") == [
        {"a": "2026-11-30", "b": "2026-11-30T12:00:00Z", "c": "2026-13-01"}
    ]


def test_what_aliases_and_merges_are_for_is_read() -> None:
    shared = "x: &x {cpu: 1}\nitems: [" + ", ".join(["*x"] * 1000) + "]\n"
    assert len(documents(PATH, shared)[0]["items"]) == 1000


@pytest.mark.parametrize("text", ["stringData:\n  token: {{HF_TOKEN}}\n", "{{- if .Values.a }}\nkind: Pod\n{{- end }}\n"])
def test_a_template_is_told_from_bad_yaml(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not YAML: .*: it is a template, fill in what stands in \{\{ \}\} first"):
        documents(PATH, text)


def test_other_bad_yaml_is_called_no_template() -> None:
    with pytest.raises(InvalidInput, match="is not YAML") as raised:
        documents(PATH, "a: [")
    assert "template" not in str(raised.value)


@pytest.mark.thorough
def test_merges_of_merges_are_counted_over_the_file() -> None:
    chain = "a: &b0 {x: 1}\n" + "".join(f"k{place}: &b{place + 1} {{<<: *b{place}, n{place}: 1}}\n" for place in range(3000))
    start = time.process_time()
    with pytest.raises(InvalidInput, match="keys are merged"):
        documents(PATH, chain)
    assert time.process_time() - start < 5
