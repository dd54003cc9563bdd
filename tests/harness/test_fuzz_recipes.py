"""The fuzz run's generator: the same for the same seed, within the schemas, and never so timid that nothing is taken."""

import json
import random
import re
from collections.abc import Iterator

import pytest
from tests.fuzz import recipes
from tests.fuzz.journal import bugs, refused_writes, tracebacks
from tests.fuzz.schemas import Json, matching, spec_of

DRAWS = 60


def patterns(schema: Json) -> Iterator[tuple[str, int]]:
    """Every pattern of a schema with the longest text it may be."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"], schema.get("maxLength", 256)
        for inner in schema.values():
            yield from patterns(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from patterns(inner)


@pytest.mark.thorough
@pytest.mark.parametrize("plural", recipes.KIND_OF)
def test_a_number_is_the_same_object_again(plural: str) -> None:
    first, again = ([recipes.spec(recipes.rng_for(7, number), plural) for number in range(20)] for _ in range(2))
    assert json.dumps(first) == json.dumps(again)
    assert len({json.dumps(spec) for spec in first}) > 2


@pytest.mark.thorough
@pytest.mark.parametrize("plural", recipes.KIND_OF)
def test_most_draws_are_taken_at_the_door(plural: str) -> None:
    taken = sum(recipes.is_taken(plural, recipes.spec(recipes.rng_for(7, number), plural)) for number in range(DRAWS))
    assert taken > DRAWS // 2, "what the schema's rules refuse never reaches the programs"


def test_a_drawn_text_matches_its_pattern_within_its_length() -> None:
    rng = random.Random(7)
    rows = {row for plural in recipes.KIND_OF for row in patterns(spec_of(plural))}
    assert len(rows) > 10
    for pattern, longest in rows:
        for _ in range(20):
            found = matching(rng, pattern, longest)
            assert len(found) <= longest
            assert re.search(pattern, found), (pattern, found)


def test_a_forged_plan_is_mostly_json_that_some_reader_takes() -> None:
    plans = [recipes.forged_plan(recipes.rng_for(7, number)) for number in range(DRAWS)]
    assert sum(text.startswith('{"') for text in plans) > DRAWS // 2
    assert len(set(plans)) > DRAWS // 2


LOG = """2026-11-29 20:48:27,421 ERROR plimsoll_operator.controller.loops.quarantine key 'mallory/f1218': a bug, set aside as b2cd: ValueError at status:233
Traceback (most recent call last):
  File "/x/operator/plimsoll_operator/controller/status.py", line 233, in _write
    return Condition(
ValueError: no
2026-11-29 20:48:30,774 ERROR plimsoll_operator.controller.loops.quarantine key 'trudy/f3': a bug, set aside as b2cd: ValueError at status:233
2026-11-29 20:48:36,195 WARNING plimsoll_operator.controller.reporting.profile_status status of profile mallory/f1334: 400 BadRequest: no; again in 0.1 s
2026-11-29 20:48:36,195 WARNING plimsoll_operator.controller.process mallory/f1: 404 NotFound: gone; again in 0.1 s
"""  # noqa: E501 lines of a log


def test_a_log_tells_bugs_refused_writes_and_tracebacks() -> None:
    assert bugs(LOG) == {"a bug in a key: ValueError at status:233": ["mallory/f1218", "trudy/f3"]}
    assert list(refused_writes(LOG)) == ["# BadRequest: no"]
    assert list(tracebacks(LOG)) == ["ValueError: no at plimsoll_operator/controller/status.py:233 _write"]
