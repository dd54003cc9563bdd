"""Which GPU do I need? Asked of a cluster without a pool, or without one that can be made to do."""

import re

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, deployment, refused, undecided, verdict
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_estimator.hardware import known_gpus
from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.decision.decide import decide, decide_within
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.verdict import Admit

NAMED = re.compile(r"(\d+) x (\S+) \(context (\d+)(?:, ([\d.]+) full requests at once)?\)")


@pytest.mark.parametrize("model", [LLAMA_8B, LLAMA_70B, "deepseek-ai/DeepSeek-R1"])
def test_without_a_pool_products_that_would_do_are_named_smallest_first(model: str) -> None:
    found = undecided(verdict(model, store=Files()))
    assert found.reason == "NoCapacityKnown"
    named = NAMED.findall(found.message)
    sizes = [known_gpus()[product].total_memory_bytes for _, product, _, _ in named]
    assert 1 <= len(named) <= 4
    assert sizes == sorted(sizes)
    assert all(float(requests) >= 1 for *_, requests in named)


def test_what_is_named_is_admitted_once_it_is_declared_as_said() -> None:
    found = undecided(verdict(LLAMA_8B, store=Files()))
    said = re.search(r"\{declared: true, product: (\S+), gpusPerNode: (\d+), maxNodes: 1\}", found.next_step)
    named = NAMED.search(found.message)
    assert said is not None
    assert named is not None
    gpus, product, context, _ = named.groups()
    assert (said[1], said[2]) == (product, gpus)
    spec = {"declared": True, "product": product, "gpusPerNode": int(gpus), "maxNodes": 1}
    store = Files()
    store.pools = [parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "g"}, "spec": spec})]
    admitted = verdict(LLAMA_8B, store=store)
    assert isinstance(admitted, Admit)
    assert admitted.plan.max_model_len == int(context)


def test_products_that_placement_lists_are_looked_at_and_no_others() -> None:
    found = undecided(verdict(LLAMA_8B, store=Files(), placement={"gpuProducts": ["NVIDIA-GeForce-RTX-4090"]}))
    assert [product for _, product, _, _ in NAMED.findall(found.message)] == ["NVIDIA-GeForce-RTX-4090"]


def test_of_a_model_that_nobody_knows_nothing_is_named() -> None:
    found = undecided(verdict("acme/unknown", store=Files()))
    assert found.reason == "UnknownModel"
    assert not NAMED.search(found.message)


def test_where_nothing_here_can_be_made_to_do_others_are_named() -> None:
    tiny = gpu_node("t", "Tesla-T4", 1, 15360, host="60Gi")
    found = refused(verdict("deepseek-ai/DeepSeek-R1", store=Files(tiny)))
    assert found.offers == ()
    assert any(NAMED.search(line) for line in found.details)
    assert any("GPUPool with spec" in line for line in found.details)


def test_who_has_no_time_is_told_without_names_at_once() -> None:
    facts = facts_for(deployment(LLAMA_8B), Files(), applied_plan=None)
    clock = iter(range(10**6))
    found = undecided(decide_within(facts, lambda: 0.0, 5, effort=lambda: float(next(clock))))
    assert found.reason == "NoCapacityKnown"
    assert NAMED.search(undecided(decide(facts)).message), "what was cut short is not remembered"
