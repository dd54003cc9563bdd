"""A plan's fields are written once: status, digest and what is read back follow from their lines, and older records mean what they did."""

import dataclasses
import json
from typing import Annotated, Any

import pytest
from pydantic import ConfigDict, Field, TypeAdapter
from tests.folders import DATA
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import Plan, PlanStatus
from plimsoll_operator.api.base import Count, StatusModel
from plimsoll_operator.api.recorded import As, Recorded, digested, read_back, shown, status_of
from plimsoll_operator.ports import Manifest

RECORDED = json.loads((DATA / "recorded_plans.json").read_text())


def status_json(status: PlanStatus) -> Manifest:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


# What releases before this form wrote


@pytest.mark.parametrize("row", RECORDED, ids=[row["why"] for row in RECORDED])
def test_what_an_earlier_release_recorded_is_the_same_plan_and_rolls_no_pod(row: Manifest) -> None:
    plan = Plan.from_json(row["annotation"])
    assert plan.digest == row["digest"], "pods carry the digest: another one would replace them all"
    assert status_json(PlanStatus.of(plan)) == row["status"]
    assert PlanStatus.model_validate(row["status"]).as_plan() == plan
    given = json.loads(row["annotation"])
    assert given.items() <= json.loads(plan.canonical_json()).items()


@pytest.mark.parametrize("name", sorted(status_json(PlanStatus.of(PLAN))))
def test_a_status_that_lacks_a_field_gives_a_whole_plan_or_none(name: str) -> None:
    left = {key: value for key, value in status_json(PlanStatus.of(PLAN)).items() if key != name}
    try:
        found = PlanStatus.model_validate(left).as_plan()
    except ValueError:
        return  # required: such a status is none
    assert found is None or Plan.from_json(found.canonical_json()) == found


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("engine_version", "latest", "no release"),
        ("nodes_per_replica", 3, "one GPU is not shared by three nodes"),
        ("tensor_parallel_size", 0, "no rank at all"),
        ("gpu_memory_utilization", "a lot", "no share"),
    ],
)
def test_a_status_of_what_no_plan_holds_is_no_plan_whatever_its_digest(field: str, value: Any, why: str) -> None:
    shown_all_the_same = PlanStatus.of(dataclasses.replace(PLAN, **{field: value}))
    assert shown_all_the_same.as_plan() is None, why


def test_a_status_whose_digest_is_of_another_plan_is_no_plan() -> None:
    assert PlanStatus.of(PLAN).as_plan() == PLAN
    assert PlanStatus.of(PLAN).model_copy(update={"digest": "0123456789abcdef"}).as_plan() is None


# The rules, on a dataclass of their own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ship:
    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    name: Annotated[str, Field(max_length=9), Recorded(required=True)]
    """On the bow."""
    enable_steam: Annotated[bool, Recorded(name="steam", absent=False)]
    """Beside sails."""
    berth: Annotated[str, Recorded(in_digest=False)]
    """Where it lies."""
    holds: Annotated[tuple[int, ...], As(dict[str, int], show=lambda found: {"n": len(found)}, read=lambda found: [0] * found["n"])]
    """Rooms for cargo."""
    flag: Annotated[str, Recorded(always=True, in_digest=True)] = "none"
    """Colours."""
    added: Count = 0
    """A field of a later release: nothing but a default."""


@status_of(Ship)
class ShipStatus(StatusModel):
    """A ship."""

    digest: str = ""
    """Its own field comes last."""


SHIP = Ship(name="Ann", enable_steam=True, berth="B1", holds=(0, 0))


def test_the_schema_of_status_follows_from_the_fields() -> None:
    schema = ShipStatus.model_json_schema(by_alias=True)
    assert list(schema["properties"]) == ["name", "steam", "berth", "holds", "flag", "added", "digest"]
    assert schema["required"] == ["name"]
    assert (schema["description"], schema["title"]) == ("A ship.", "ShipStatus")
    assert schema["properties"]["name"] | {"title": ""} == {"title": "", "type": "string", "maxLength": 9, "description": "On the bow."}
    assert schema["properties"]["steam"]["default"] is False
    assert schema["properties"]["added"]["anyOf"][0]["maximum"] == 1 << 31, "with the bounds of its type"


SHOWN = {"name": "Ann", "steam": True, "berth": "B1", "holds": {"n": 2}, "flag": "none"}


@pytest.mark.parametrize(
    ("ship", "expected", "why"),
    [
        (SHIP, SHOWN, "a later field that says no more than its default is not shown, an older one is"),
        (dataclasses.replace(SHIP, added=3), SHOWN | {"added": 3}, "and shown where it says something"),
    ],
)
def test_status_shows_what_a_field_says_and_gives_it_back(ship: Ship, expected: Manifest, why: str) -> None:
    assert shown(ship) == expected, why
    back = TypeAdapter(Ship).validate_json(json.dumps(read_back(Ship, ShipStatus.model_validate(shown(ship)))))
    assert back == ship


@pytest.mark.parametrize(
    ("change", "counts", "why"),
    [
        ({"name": "Bea"}, True, "a field without a default always counts"),
        ({"berth": "B2"}, False, "shown only"),
        ({"added": 1}, True, "a later field counts where it says something"),
        ({"flag": "red"}, True, "so does one that always counts"),
    ],
)
def test_the_digest_takes_what_a_field_says_of_itself(change: Manifest, counts: bool, why: str) -> None:
    assert (digested(dataclasses.replace(SHIP, **change)) != digested(SHIP)) is counts, why


def test_a_later_field_leaves_the_digests_of_before() -> None:
    assert digested(SHIP) == {"name": "Ann", "enable_steam": True, "holds": (0, 0), "flag": "none"}


@pytest.mark.parametrize("name", ["berth", "holds"])
def test_what_is_missing_and_has_no_default_is_read_back_as_missing(name: str) -> None:
    left = ShipStatus.model_validate({key: value for key, value in shown(SHIP).items() if key != name})
    assert read_back(Ship, left)[name] is None
