"""What the types do beyond the corpus: versions, quantities, hostile values, and fields that are not honoured yet."""

from __future__ import annotations

import contextlib
import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_operator.api import NOT_YET, ApiError, InferenceDeployment, parse_inference_deployment, unsupported_fields
from plimsoll_operator.api.base import camel_path
from plimsoll_operator.api.parse import KINDS, SPELLED, parse_object
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.quantity import parse_millis, parse_quantity

SMALLEST: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "InferenceDeployment",
    "metadata": {"name": "llama", "namespace": "team-a", "generation": 3, "labels": {"a": "b"}, "managedFields": [{"manager": "kubectl"}]},
    "spec": {"model": {"name": "meta-llama/Llama-3.1-8B-Instruct"}, "engine": {"image": "vllm/vllm-openai:v0.19.0"}},
}


def deployment(spec: dict[str, Any] | None = None, **engine: Any) -> InferenceDeployment:
    obj = copy.deepcopy(SMALLEST)
    obj["spec"] |= spec or {}
    obj["spec"]["engine"] |= engine
    return parse_inference_deployment(obj)


def test_absent_fields_stay_absent_or_take_the_written_default() -> None:
    parsed = deployment()
    assert (parsed.spec.replicas, parsed.spec.fit.policy, parsed.spec.placement.sharing) == (1, "Reject", "none")
    assert (parsed.spec.engine.max_model_len, parsed.spec.engine.extra_args, parsed.spec.fit.reserve_bytes) == (None, (), 256 << 20)
    assert (parsed.metadata.namespace, parsed.metadata.generation, parsed.metadata.labels) == ("team-a", 3, {"a": "b"})


def test_values_are_frozen_and_hold_tuples() -> None:
    parsed = deployment(extraArgs=["--seed=1"])
    assert parsed.spec.engine.extra_args == ("--seed=1",)
    with pytest.raises(ValidationError, match="frozen"):
        parsed.spec.replicas = 2


@pytest.mark.parametrize(
    ("image", "version", "expected"),
    [
        ("vllm/vllm-openai:v0.19.0", None, EngineVersion(0, 19, 0)),
        ("registry.example:5000/hub/vllm/vllm-openai:0.10.1.1", None, EngineVersion(0, 10, 1, 1)),
        ("vllm/vllm-openai-cpu:v0.19.0", None, EngineVersion(0, 19, 0)),
        # Tags of others are numbers of their own: llm-d's, NVIDIA's by month, LMCache's, a company's.
        ("ghcr.io/llm-d/llm-d-cuda:v0.8.0", "0.23.0", EngineVersion(0, 23, 0)),
        ("nvcr.io/nvidia/vllm:25.09-py3", "0.10.1", EngineVersion(0, 10, 1)),
        ("lmcache/vllm-openai:v0.3.9", "0.11.0", EngineVersion(0, 11, 0)),
        ("registry.corp/our-vllm:1.4.2@sha256:" + "0" * 64, "0.19.0", EngineVersion(0, 19, 0)),
        ("vllm/vllm-openai:v0.8.5.post1", None, EngineVersion(0, 8, 5)),
        ("vllm/vllm-openai:v0.19.0-cu128@sha256:" + "0" * 64, None, EngineVersion(0, 19, 0)),
        ("vllm/vllm-openai:nightly", "0.21.0", EngineVersion(0, 21, 0)),
    ],
)
def test_the_release_comes_from_tag_or_version(image: str, version: str | None, expected: EngineVersion) -> None:
    given_version: Manifest = {"version": version} if version else {}
    assert deployment(image=image, **given_version).spec.engine.engine_version == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("256Mi", 256 << 20),
        ("1.5Gi", 3 << 29),
        ("2e3", 2000),
        (7, 7),
        ("1500m", 2),
        ("0.1", 1),
        ("1k", 1000),
        (".5", 1),
        ("-1", -1),
        ("3Ti", 3 << 40),
    ],
)
def test_quantities_round_up(text: str | int, expected: int) -> None:
    assert parse_quantity(text) == expected


def test_capacities_round_down_and_cpu_counts_in_thousandths() -> None:
    assert parse_quantity("1500m", round_down=True) == 1
    assert [parse_millis(cpu) for cpu in ("500m", "2", 4, "0.0001")] == [500, 2000, 4000, 1]


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1GiB", "0x10", "١", None, True, 1.5, "9" * 100, "1e999"])
def test_what_is_no_quantity_is_named(text: Any) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        ([], ""),
        ("x", ""),
        ({}, "apiVersion"),
        ({"apiVersion": "v1", "kind": "Pod"}, "apiVersion"),
        ({"apiVersion": API_VERSION, "kind": "Pod"}, "kind"),
        ({"apiVersion": API_VERSION, "kind": "InferenceDeployment"}, "metadata"),
        (SMALLEST | {"spec": None}, "spec"),
        (SMALLEST | {"spec": {"model": float("nan")}}, ""),
        (SMALLEST | {"spec": {"model": object()}}, ""),
        (SMALLEST | {"metadata": []}, "metadata"),
        (SMALLEST | {"data": {}}, "data"),
    ],
)
def test_what_is_no_deployment_is_refused_by_field(obj: Any, field: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_inference_deployment(obj)
    assert field in {cause.field for cause in caught.value.causes}


def test_a_newer_operators_status_does_not_make_an_object_unreadable() -> None:
    parsed = parse_inference_deployment(SMALLEST | {"status": {"observedGeneration": 3, "laterField": {"a": 1}}})
    assert parsed.status is not None
    assert parsed.status.observed_generation == 3


NOT_HONOURED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("spec.engine.decodeContextParallelSize", {}, {"decodeContextParallelSize": 2}),
    ("spec.engine.dataParallelSize", {}, {"dataParallelSize": 2}),
    ("spec.engine.expertParallel", {}, {"expertParallel": True}),
    ("spec.placement.sharing", {"placement": {"sharing": "mps"}}, {}),
    ("spec.placement.maxNodesPerReplica", {"placement": {"maxNodesPerReplica": 2}}, {}),
    ("spec.placement.waitForCapacity", {"placement": {"waitForCapacity": True}}, {}),
    ("spec.placement.queueName", {"placement": {"queueName": "q"}}, {}),
    ("spec.placement.schedulerName", {"placement": {"schedulerName": "s"}}, {}),
    ("spec.placement.priorityClassName", {"placement": {"priorityClassName": "high"}}, {}),
    ("spec.template.labels", {"template": {"labels": {"a": "b"}}}, {}),
    ("spec.template.annotations", {"template": {"annotations": {"a": "b"}}}, {}),
    ("spec.template.env", {"template": {"env": [{"name": "A", "value": "1"}]}}, {}),
    ("spec.template.volumes", {"template": {"volumes": [{"name": "v", "mountPath": "/v", "emptyDir": {}}]}}, {}),
    ("spec.template.resources", {"template": {"resources": {"cpu": "8"}}}, {}),
    ("spec.template.sidecars", {"template": {"sidecars": [{"name": "s", "image": "i"}]}}, {}),
    ("spec.template.serviceAccountName", {"template": {"serviceAccountName": "s"}}, {}),
    ("spec.template.imagePullSecrets", {"template": {"imagePullSecrets": ["s"]}}, {}),
]


@pytest.mark.parametrize(
    ("path", "spec", "engine"), [row for row in NOT_HONOURED if row[0] in dict(NOT_YET)], ids=lambda value: str(value)[:40]
)
def test_a_field_that_is_not_honoured_is_refused_by_name(path: str, spec: dict[str, Any], engine: dict[str, Any]) -> None:
    assert unsupported_fields(deployment(spec, **engine).spec) == [(path, "is not supported yet")]


def test_every_entry_of_the_table_is_exercised_and_the_smallest_object_is_honoured() -> None:
    assert {path for path, _ in NOT_YET} <= {path for path, _, _ in NOT_HONOURED}
    assert unsupported_fields(deployment().spec) == []


def test_paths_are_written_as_kubernetes_writes_them() -> None:
    assert camel_path(("spec", "extraArgs", 0, "x")) == "spec.extraArgs[0].x"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "image", "model", "engine", "inline", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(spec=JSON)
def test_no_json_raises_anything_but_an_api_error(spec: Any) -> None:
    for obj in (spec, SMALLEST | {"spec": spec}, SMALLEST | {"metadata": spec}):
        with contextlib.suppress(ApiError):
            assert parse_inference_deployment(obj).kind == "InferenceDeployment"


def patterns_in(schema: object) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
        return own.union(*(patterns_in(part) for part in schema.values()))
    return set[str]().union(*(patterns_in(part) for part in schema)) if isinstance(schema, list) else set()


def test_every_pattern_of_the_api_is_said_by_an_example_that_it_takes() -> None:
    patterns = set[str]().union(*(patterns_in(kind.model_json_schema()) for kind in KINDS.values()))
    assert patterns - SPELLED.keys() == set()
    assert [example for pattern, example in SPELLED.items() if re.search(pattern, example) is None] == []


@pytest.mark.parametrize("name", ["hf://Qwen/Qwen3-8B", "https://huggingface.co/Qwen/Qwen3-8B", "unsloth/Qwen3-8B-GGUF:Q4_K_M"])
def test_nobody_is_shown_a_regular_expression(name: str) -> None:
    wish = {"model": {"name": name}, "engine": {"image": "vllm/vllm-openai:v0.19.0"}}
    with pytest.raises(ApiError, match=r"write it like meta-llama/Llama-3.1-8B-Instruct") as refused:
        parse_object(
            InferenceDeployment, {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {"name": "x"}, "spec": wish}
        )
    assert "^" not in str(refused.value)
