"""The plan's annotation is input from outside: it is read within bounds or not at all, and whatever is read can be shown in status."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import MAX_PLAN_TEXT, MAX_POOLS, Plan, PlanStatus, PredictedMemory
from plimsoll_operator.ports import Manifest

WHOLE = json.loads(PLAN.canonical_json())


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("null", id="nothing"),
        pytest.param("[]", id="a list"),
        pytest.param("", id="no text"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param('{"model":"\\ud800"}', id="a lone surrogate as an escape"),
        pytest.param(nested(900), id="nested below what Python's parser takes"),
        pytest.param(nested(100_000), id="nested beyond it"),
        pytest.param("1" * 4301, id="a number that Python does not print"),
        pytest.param(" " * (MAX_PLAN_TEXT + 1), id="longer than all annotations may be"),
        pytest.param(json.dumps(WHOLE | {"surprise": 1}), id="a field that no release has"),
    ],
)
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"plan|characters"):
        Plan.from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("gpus_per_replica", None, "a figure is missing"),
        ("gpus_per_replica", 0, "pods would ask for no GPU"),
        ("gpus_per_replica", -1, "GPUs are not negative"),
        ("gpus_per_replica", True, "a truth is no number"),
        ("gpus_per_replica", 1.0, "a float is no whole number"),
        ("gpus_per_replica", "1", "text is no number"),
        ("gpus_per_replica", 1 << 40, "more GPUs than there are"),
        ("nodes_per_replica", 0, "would divide by zero"),
        ("nodes_per_replica", 2, "one GPU is not shared by two nodes"),
        ("tensor_parallel_size", 0, "no rank at all"),
        ("pools", ["p"] * (MAX_POOLS + 1), "more pools than status holds"),
        ("pools", "p", "a text is no list"),
        ("pools", [["p"]], "a pool is a name"),
        ("pools", ["p" * 257], "a name that is too long"),
        ("gpu_products", ["p"] * 17, "more products than placement takes"),
        ("predicted", None, "no figures"),
        ("predicted", {}, "half the figures"),
        ("predicted", WHOLE["predicted"] | {"weights_bytes": -1}, "memory is not negative"),
        ("predicted", WHOLE["predicted"] | {"weights_bytes": 1 << 60}, "more than the API's figures hold"),
        ("kv_cache_interval_bytes", [1], "an interval has two ends"),
        ("node_selectors", [["zone"]], "a label has key and value"),
        ("node_selectors", [[["zone", 1]]], "a value is text"),
        ("node_selectors", [[[["zone"], "a"]]], "a key is text"),
        ("gpu_memory_utilization", "0.9; rm", "no decimal"),
        ("gpu_memory_utilization", 0.9, "utilisation is text"),
        ("engine_version", "latest", "no release"),
        ("engine_version", "9" * 65, "no release"),
        ("host_memory_bytes", 1 << 51, "more than the API's figures hold"),
        ("model", "m" * 257, "more than status holds"),
    ],
)
def test_an_edited_field_is_refused(
    field: str, value: bool | float | str | list[str | int | list[str | list[str | int | list[str]]]] | dict[str, int] | None, why: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Plan.from_json(json.dumps({**WHOLE, field: value}))
    assert len(str(caught.value)) < 1000, why
    assert str(caught.value).encode()


def test_a_number_that_python_does_not_print_is_refused() -> None:
    text = PLAN.canonical_json().replace('"gpus_per_replica":1,', f'"gpus_per_replica":1{"0" * 5000},')
    with pytest.raises(ValueError, match="plan"):
        Plan.from_json(text)


def test_a_plan_of_an_earlier_release_is_read_with_defaults() -> None:
    young = ("may_surge", "node_selectors", "ephemeral_storage_bytes", "template_memory_bytes", "template_cpu_millis", "sharing")
    older = {key: value for key, value in WHOLE.items() if key not in young}
    assert Plan.from_json(json.dumps(older)) == PLAN


def _edge(name: str, schema: Manifest) -> st.SearchStrategy[Any]:
    """Values at and near the bounds that a field's own annotation gives."""
    if "anyOf" in schema:
        return st.none() | _edge(name, schema["anyOf"][0])
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer" if "maximum" in schema:
            low, high = schema.get("minimum", 0), schema["maximum"]
            return st.sampled_from([low, low + 1, high - 1, high]) | st.integers(low, high)
        case "integer":
            return st.integers(-(1 << 50), 1 << 50)
        case "string" if name == "engine_version":
            return st.sampled_from(["0.8.0", "0.19.0", "0.33.1"])
        case "string" if name in ("product", "gpu_resource"):
            return st.sampled_from(["a", "b" * 63] if name == "product" else ["a", "b/" + "c" * 62])
        case "string" if "pattern" in schema:
            return st.sampled_from(["0", "0.9", "0.937", "1", "1.0"])
        case "string":
            low, high = schema.get("minLength", 0), schema["maxLength"]
            return st.sampled_from(["a" * low, "a" * high, "\u2028" * high]) | st.text(
                st.characters(codec="utf-8"), min_size=low, max_size=high
            )
    raise AssertionError(f"{name}: {schema}")


def _plans() -> st.SearchStrategy[Plan]:
    schema = TypeAdapter(Plan).json_schema()
    memory = schema["$defs"]["PredictedMemory"]["properties"]
    fields: dict[str, st.SearchStrategy[Any]] = {
        name: _edge(name, row) for name, row in schema["properties"].items() if row.get("type") not in ("array", None) or "anyOf" in row
    }
    names = st.sampled_from(["a", "b" * 256])
    products = st.sampled_from(["a", "b" * 63])
    labels = st.lists(st.tuples(st.sampled_from(["zone", "p" * 253 + "/" + "k" * 63]), st.sampled_from(["", "v" * 63])), max_size=2).map(
        tuple
    )
    fields |= {
        "predicted": st.builds(PredictedMemory, **{name: _edge(name, row) for name, row in memory.items()}),
        "gpu_products": st.integers(0, 16).flatmap(lambda size: st.tuples(*[products] * size)),
        "pools": st.integers(0, MAX_POOLS).flatmap(lambda size: st.tuples(*[names] * size)),
        "node_selectors": st.sampled_from([0, 1, MAX_POOLS]).flatmap(lambda size: st.tuples(*[labels] * size)),
        "kv_cache_interval_bytes": st.tuples(st.integers(-(1 << 50), 1 << 50), st.integers(-(1 << 50), 1 << 50)),
        "nodes_per_replica": st.just(1),
    }
    return st.builds(Plan, **fields)


@given(_plans())
def test_whatever_a_plan_may_hold_status_holds_too_and_the_annotation_gives_it_back(plan: Plan) -> None:
    assert Plan.from_json(plan.canonical_json()) == plan
    shown = PlanStatus.of(plan)
    rebuilt = shown.as_plan()
    assert rebuilt is None or rebuilt.digest == plan.digest


def test_figures_beyond_what_exists_are_cut_not_fatal() -> None:
    huge = dataclasses.replace(
        PLAN,
        pools=tuple(f"pool-{index}" for index in range(66)),
        template_cpu_millis=9_999_999_000_000,
        template_memory_bytes=10**27,
        kv_cache_tokens=1 << 44,
        predicted=dataclasses.replace(PLAN.predicted, kv_cache_bytes=1 << 55),
    )
    cut = huge.within_bounds()
    assert PlanStatus.of(cut).model_dump()["pools"] == huge.pools[:MAX_POOLS]
    assert Plan.from_json(cut.canonical_json()) == cut
    assert PLAN.within_bounds() == PLAN
