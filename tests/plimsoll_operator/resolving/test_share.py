"""A namespace's share of profiles: the same whatever the order of arrival, the oldest first, within its count and its bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.api import ModelProfile, parse_object
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.share import MOST_BYTES, MOST_PROFILES, OverShare, Row, Share, left_out, over_share, settled


def profile(name: str, created: str = "2026-01-01T00:00:00Z", size: int = 100, fill: str = "x") -> ModelProfile:
    metadata = {"namespace": "team", "name": name, "creationTimestamp": created, "generation": 2}
    spec = {"model": "acme/x", "config": fill * size}
    return parse_object(ModelProfile, {"apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": metadata, "spec": spec})


def of(*profiles: ModelProfile) -> dict[str, Row]:
    return {row.metadata.name: row for row in profiles}


def test_what_fits_counts_whole() -> None:
    rows = of(*(profile(f"p{n}") for n in range(MOST_PROFILES)))
    assert settled(rows) == (rows, [])


def test_over_the_count_the_youngest_are_left_out_by_name() -> None:
    rows = of(*(profile(f"p{n:04d}", f"2026-01-01T00:{n // 60:02d}:{n % 60:02d}Z") for n in range(MOST_PROFILES + 3)))
    assert over_share(rows) == {f"p{n:04d}" for n in range(MOST_PROFILES, MOST_PROFILES + 3)}
    late = settled(rows)[0][f"p{MOST_PROFILES:04d}"]
    assert isinstance(late, OverShare)
    assert str(late) == f"ModelProfile team/p{MOST_PROFILES:04d}"
    assert "over the namespace's share of 256 profiles and 2 MiB of configs" in late.problem
    assert (late.model, late.generation) == ("acme/x", 2)


def test_over_the_bytes_none_younger_than_the_first_that_does_not_fit_counts() -> None:
    many = MOST_BYTES // 60_000
    rows = of(*(profile(f"p{n:03d}", size=60_000) for n in range(many + 1)), profile("z", size=10))
    assert over_share(rows) == {f"p{many:03d}", "z"}


@pytest.mark.parametrize(("why", "fill", "wide"), [("ASCII", "x", 1), ("beyond it, each character is as wide as the widest", "\u00e9", 4)])
def test_a_text_counts_what_it_may_take(why: str, fill: str, wide: int) -> None:
    fit = MOST_BYTES // (50_000 * wide)
    rows = of(*(profile(f"p{n:03d}", size=50_000, fill=fill) for n in range(fit + 2)))
    assert over_share(rows) == {f"p{n:03d}" for n in (fit, fit + 1)}, why


def test_what_counts_again_is_read_anew() -> None:
    rows = of(*(profile(f"p{n:04d}") for n in range(MOST_PROFILES + 2)))
    held, missing = settled(rows)
    assert list(missing) == []
    del held["p0000"]
    again, missing = settled(held)
    assert list(missing) == [f"p{MOST_PROFILES:04d}"]
    assert isinstance(again[f"p{MOST_PROFILES + 1:04d}"], OverShare)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(2, 65_000)), max_size=60), st.randoms())
def test_neither_arrival_nor_what_was_left_out_before_changes_the_share(made: list[tuple[int, int]], chance: random.Random) -> None:
    rows = of(*(profile(f"p{n}", f"2026-01-0{age}T00:00:00Z", size) for n, (age, size) in enumerate(made)))
    over = over_share(rows)
    shuffled = list(rows.items())
    chance.shuffle(shuffled)
    assert over_share({name: left_out(name, row) if chance.random() < 0.5 else row for name, row in shuffled}) == over
    counted = [row for name, row in rows.items() if name not in over]
    assert sum(len(row.spec.config) for row in counted if isinstance(row, ModelProfile)) <= MOST_BYTES


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(2, 65_000), st.booleans()), max_size=120))
def test_one_change_at_a_time_comes_to_the_same_share(changes: list[tuple[int, int, int, bool]]) -> None:
    share, rows = Share(), dict[str, Row]()
    for number, age, size, goes in changes:
        name, before = f"p{number}", rows.keys() - over_share(rows)
        if goes:
            rows.pop(name, None)
            out, back = share.drop(name)
        else:
            rows[name] = profile(name, f"2026-01-0{age}T00:00:00Z", size)
            out, back = share.put(name, rows[name])
        over = over_share(rows)
        assert {name for name in rows if not share.counts(name)} == over
        assert (set(out), set(back)) == (before - (rows.keys() - over), rows.keys() - over - before)


def test_a_change_far_behind_the_share_looks_at_none_that_counts() -> None:
    share, looks = Share(), list[str]()
    for number in range(MOST_PROFILES + 1):
        share.put(f"p{number:05d}", profile(f"p{number:05d}"))

    class Looked(dict[str, int]):
        def __getitem__(self, name: str) -> int:
            looks.append(name)
            return super().__getitem__(name)

    share.sizes = Looked(share.sizes)
    for number in range(MOST_PROFILES + 1, 2000):
        assert share.put(f"p{number:05d}", profile(f"p{number:05d}")) == (frozenset(), frozenset())
    assert looks == []
    assert share.drop("p00000") == (frozenset({"p00000"}), frozenset({f"p{MOST_PROFILES:05d}"}))
    assert len(looks) <= MOST_PROFILES + 1
