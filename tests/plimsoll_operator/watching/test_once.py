"""What the webhook works out of its caches is worked out once for each change, however many reviews ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.plimsoll_operator.nodes import H100, L4, index_of

from plimsoll_operator.capacity import derived_facts, pool_manifest
from plimsoll_operator.facts import DeploymentUse, NamespaceUse
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.namespaced import Namespaced
from plimsoll_operator.ports import Manifest
from plimsoll_operator.watch import Watched
from plimsoll_operator.webhook.store import CacheStore


def fill(watched: Watched[Any], *items: Manifest) -> None:
    watched.cache.begin()
    watched.cache.page(items)
    watched.cache.end()


def cache_of(store: CacheStore, kind: str) -> Watched[Any]:
    return next(cache for cache in store.caches if cache.kind == kind)


def gpu_pool(name: str, **spec: Any) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": name}, "spec": spec}


def thing(namespace: str, name: str, value: int) -> Manifest:
    return {"metadata": {"namespace": namespace, "name": name}, "value": value}


def test_it_is_worked_out_again_when_the_namespace_changes_and_only_then() -> None:
    cache: Namespaced[int] = Namespaced("Thing", lambda manifest: int(manifest["value"]))
    asked: list[int] = []

    def total(rows: Mapping[str, int]) -> int:
        asked.append(len(rows))
        return sum(rows.values())

    def once(namespace: str) -> int:
        return cache.once(namespace, total)

    cache.begin()
    cache.page([thing("n", "a", 1), thing("n", "b", 2), thing("m", "a", 5)])
    cache.end()
    assert [once("n"), once("n"), once("m")] == [3, 3, 5]
    assert asked == [2, 1]
    cache.put(thing("m", "b", 6))
    assert [once("n"), once("m"), once("m")] == [3, 11, 11]
    assert asked == [2, 1, 2]
    cache.drop(("n", "a"))
    cache.drop(("n", "b"))
    assert once("n") == 0
    assert not cache._worked.get("n"), "a namespace that is gone leaves nothing"


def test_pools_become_facts_when_they_change_and_stay_the_same_tuple_until_then() -> None:
    derived = index_of(L4, H100).pools()
    store = CacheStore()
    pools = cache_of(store, "GPUPool")
    written = [pool_manifest(pool) for pool in derived]
    correction = gpu_pool("says", selector={"zone": "a"}, product="NVIDIA-L4")
    unreadable = gpu_pool("odd", gpusPerNode="eight")
    fill(pools, *reversed(written), correction, unreadable)
    facts = store.pool_facts()
    assert facts == tuple(sorted((derived_facts(pool) for pool in derived), key=lambda pool: pool.name))
    assert store.pool_facts() is facts
    pools.cache.put(gpu_pool("b", declared=True, product="NVIDIA-L4", gpusPerNode=4, maxNodes=1))
    assert [pool.name for pool in store.pool_facts()] == sorted([*(pool.name for pool in derived), "b"])
    pools.cache.put(gpu_pool("b", selector={"zone": "a"}))
    assert store.pool_facts() == facts, "one that only corrects nodes is no offer"


def test_what_others_of_the_namespace_hold_is_all_but_ones_own() -> None:
    def deployment(namespace: str, name: str, gpus: int) -> Manifest:
        plan = {"gpusPerReplica": gpus, "predicted": {"weightsBytes": 7}}
        return {"metadata": {"namespace": namespace, "name": name}, "spec": {"replicas": 2}, "status": {"plan": plan}}

    store = CacheStore()
    uses = cache_of(store, "InferenceDeployment")
    fill(uses, deployment("n", "a", 1), deployment("n", "b", 4), deployment("m", "a", 8))
    assert store.use("n", "a") == DeploymentUse(replicas=2, gpus_per_replica=1, predicted_bytes_per_gpu=7)
    assert store.use_beside("n", "a") == NamespaceUse(gpus=8, predicted_bytes=56)
    assert store.use_beside("n", "new") == NamespaceUse(gpus=10, predicted_bytes=70)
    assert store.use_beside("nowhere", "new") == NamespaceUse()
    uses.cache.drop(("n", "b"))
    assert store.use_beside("n", "new") == NamespaceUse(gpus=2, predicted_bytes=14)
