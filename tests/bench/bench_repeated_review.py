"""CPU of a webhook answer to a spec that was judged before, printed and held to floors of the same run. Run: make bench

From the body's bytes to the answer's, as most reviews are: a pipeline that applies what it applied before. Neither pools nor deployments
of the namespace may matter: their facts and sums are made when they change. The floor is decoding the body.
The least of many rounds counts: whatever else the machine does only adds.
"""

import json
from functools import partial
from typing import Any

from tests.bench.bench_webhook import POOLS
from tests.bench.timing import FLOOR, Action, Row, hold, show, taken
from tests.plimsoll_operator.nodes import gpu_node, index_of
from tests.plimsoll_operator.webhook_world import manifest, policy, review

from plimsoll_operator.capacity import pool_manifest
from plimsoll_operator.decision import decide
from plimsoll_operator.ports import Manifest
from plimsoll_operator.webhook.judge import judge
from plimsoll_operator.webhook.review import parse_review, render_review
from plimsoll_operator.webhook.store import CacheStore

MOST_FLOORS = 80
MOST_GROWTH = 1.5
CALLS = 10
ROUNDS = 60


def filled(pools: int, deployments: int) -> CacheStore:
    """The webhook's caches of so many nodes, each of a kind of its own, and deployments under a cap."""
    store = CacheStore()
    kinds = [POOLS[number % len(POOLS)] for number in range(pools)]
    nodes = [
        gpu_node(f"n{number}", product, 8, memory, taints=[{"key": f"of-{number}", "effect": "NoSchedule"}] if number else ())
        for number, (product, memory) in enumerate(kinds)
    ]
    names = [{"namespace": "team", "name": f"d{number}"} for number in range(deployments)]
    plan = {"gpusPerReplica": 1, "predicted": {"weightsBytes": 1}}
    items: dict[str, list[Manifest]] = {
        "GPUPool": [pool_manifest(pool) for pool in index_of(*nodes).pools()],
        "FitPolicy": [policy(maxGpusPerNamespace=1_000_000).model_dump(mode="json", by_alias=True, exclude_none=True)],
        "Namespace": [{"metadata": {"name": "team", "labels": {}}}],
        "InferenceDeployment": [{"metadata": metadata, "spec": {"replicas": 1}, "status": {"plan": plan}} for metadata in names],
    }
    for cache in store.caches:
        cache.cache.begin()
        cache.cache.page(items.get(cache.kind, []))
        cache.cache.end()
    assert len(store.pool_facts()) == pools
    return store


def answers(store: CacheStore, body: bytes) -> None:
    for _ in range(CALLS):
        found = parse_review(body)
        assert render_review(found, judge(found, store, decide))


def decodes(body: bytes) -> None:
    for _ in range(CALLS):
        json.loads(body)


def test_a_repeated_review_costs_the_same_whatever_the_cluster_has() -> None:
    body = json.dumps(review(manifest())).encode()
    sizes: list[tuple[str, Any]] = [
        ("12 pools", filled(12, 0)),
        ("204 pools", filled(204, 0)),
        ("12 pools, 5,000 deployments", filled(12, 5000)),
    ]
    for _, store in sizes:
        answers(store, body)
    actions = {FLOOR: Action(run=partial(decodes, body), calls=CALLS)}
    actions |= {name: Action(run=partial(answers, store, body), calls=CALLS) for name, store in sizes}
    found = taken(actions, ROUNDS)
    floor = found.pop(FLOOR)
    rows: list[Row] = [(name, time, MOST_FLOORS, floor) for name, time in found.items()]
    show("a repeated review; floor: decoding the body", rows)
    hold(rows)
    for name, time in found.items():
        assert time.least <= MOST_GROWTH * found[sizes[0][0]].least, name
