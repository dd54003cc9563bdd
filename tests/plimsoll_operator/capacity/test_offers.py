"""Facts of a derived pool, made directly, are those of the GPUPool that is written of it; what no object can hold is no offer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.capacity.derived_pools import SPECS, any_pool, clusters
from tests.plimsoll_operator.nodes import L4, gpu_node, index_of

from plimsoll_operator.api import ApiError, GPUPool, GPUPoolSpec, parse_object
from plimsoll_operator.capacity import DerivedPool, by_name, check_writable, derived_facts, offered, pool_facts, pool_manifest
from plimsoll_operator.facts import FreeNodes, PoolFacts
from plimsoll_operator.ports import Manifest


def as_read(pool: DerivedPool, spec: GPUPoolSpec) -> PoolFacts:
    """What the webhook makes of the object."""
    return pool_facts(parse_object(GPUPool, pool_manifest(pool)).model_copy(update={"spec": spec}))


@given(clusters(), st.sampled_from(SPECS))
def test_facts_are_those_of_the_object_that_is_written(pools: tuple[DerivedPool, ...], spec: GPUPoolSpec) -> None:
    for pool in pools:
        check_writable(pool)
        assert derived_facts(pool, spec) == as_read(pool, spec)


@given(any_pool(), st.sampled_from(SPECS))
def test_so_they_are_of_any_pool_and_what_no_object_holds_is_refused(pool: DerivedPool, spec: GPUPoolSpec) -> None:
    try:
        check_writable(pool)
    except ApiError:
        with pytest.raises(ApiError):
            as_read(pool, spec)
    else:
        assert derived_facts(pool, spec) == as_read(pool, spec)


(POOL,) = index_of(L4).pools()
ROWS = tuple(FreeNodes(gpus=gpus, nodes=1) for gpus in range(258))
UNWRITABLE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a product longer than an object's text", {"product": "x" * 257}, {}, "status.product"),
    ("a label that is none", {"labels": (("zone", "a b"),)}, {}, "status.nodeLabels.zone"),
    ("more labels than an object has", {"labels": tuple((f"l{number}", "x") for number in range(65))}, {}, "status.nodeLabels"),
    ("steered by a label that is none", {"selects": (("zone", "-"),)}, {}, "status.nodeSelector.zone"),
    ("a taint's key that is none", {"taints": (("a b", "", "NoSchedule"),)}, {}, "status.taints[0].key"),
    ("more taints than it lists", {"taints": tuple((f"t{number}", "", "NoSchedule") for number in range(33))}, {}, "status.taints"),
    ("a compute capability of three digits", {"compute_capability": (10, 12)}, {}, "status.computeCapability"),
    ("more kinds of free nodes than it lists", {}, {"free_nodes": ROWS}, "status.nodesByFreeGpus"),
    ("half of a character", {"corrected_by": "\ud800"}, {}, "status.correctedBy"),
]


@pytest.mark.parametrize(("why", "key", "fields", "field"), UNWRITABLE, ids=[row[0] for row in UNWRITABLE])
def test_no_object_can_hold(why: str, key: dict[str, Any], fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError) as found:
        check_writable(replace(POOL, key=replace(POOL.key, **key), **fields))
    assert found.value.causes[0].field == field, why


BEYOND = 1 << 62
CUT: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("GPUs of strangers at those there are", {}, {"foreign_gpus": 9}, {"foreign_gpus": 4}),
    ("bytes of a GPU", {"usable_memory_bytes": BEYOND}, {}, {"usable_memory_bytes": 1 << 50}),
    ("bytes of the host", {"host_memory_bytes": BEYOND}, {}, {"host_memory_bytes": 1 << 50}),
    ("GPUs of a node", {"gpus_per_node": BEYOND}, {}, {"gpus_per_node": 1 << 31}),
    ("replicas of a GPU", {"sharing_replicas": BEYOND}, {}, {"sharing_replicas": 1 << 31}),
    ("a price", {"cost": BEYOND}, {}, {"cost": 1 << 60}),
    ("nodes", {}, {"nodes": BEYOND}, {"nodes": 1 << 31}),
    (
        "what is free, where two kinds of nodes become one",
        {},
        {"free_nodes": (FreeNodes(gpus=BEYOND, nodes=1), FreeNodes(gpus=BEYOND + 1, nodes=2, host_cpu_millis=BEYOND))},
        {
            "nodes_by_free_gpus": ((1 << 31, 3),),
            "free_nodes": (FreeNodes(gpus=1 << 31, nodes=1), FreeNodes(gpus=1 << 31, nodes=2, host_cpu_millis=1 << 31)),
        },
    ),
]


@pytest.mark.parametrize(("what", "key", "fields", "cut"), CUT, ids=[row[0] for row in CUT])
def test_a_figure_beyond_its_field_is_cut_to_it(what: str, key: dict[str, Any], fields: dict[str, Any], cut: dict[str, Any]) -> None:
    found = derived_facts(replace(POOL, key=replace(POOL.key, **key), **fields))
    assert found == replace(derived_facts(POOL), **cut), what


def test_a_pool_within_all_bounds_is_passed_on_as_it_is() -> None:
    found = derived_facts(POOL)
    assert (found.product, found.nodes, found.free_nodes) == ("NVIDIA-L4", 1, POOL.free_nodes)


def test_offers_are_by_name_and_a_pool_that_only_corrects_nodes_is_none() -> None:
    def pool(name: str, **spec: Any) -> GPUPool:
        manifest: Manifest = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "GPUPool", "metadata": {"name": name}, "spec": spec}
        return parse_object(GPUPool, manifest)

    declared = {"declared": True, "product": "NVIDIA-L4", "gpusPerNode": 4, "maxNodes": 1}
    given = [pool("b", **declared), pool("c", selector={"zone": "x"}, product="NVIDIA-L4"), pool("a", **declared)]
    assert [found.name for found in offered(given)] == ["a", "b"]
    derived = index_of(L4, gpu_node("h", "NVIDIA-H100-80GB-HBM3", 8, 81559)).pools()
    assert [found.name for found in by_name(map(derived_facts, derived))] == sorted(found.name for found in derived)
