"""A controller with one plan for whatever is asked, in place of the estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.plimsoll_operator.cluster import IMAGE, NAME, SMALL, Cluster, of_replica_set
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_pod
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.facts import Facts, ModelUnknown
from plimsoll_operator.ports import PODS, Manifest
from plimsoll_operator.verdict import Admit, Offer, Reason, Reject, Undecided, Verdict


class Judge:
    """Admits on the pool with the most free GPUs; refuses contexts above 100 000 tokens; knows no unknown model."""

    def __init__(self) -> None:
        self.seen: list[Facts] = []

    def __call__(self, facts: Facts) -> Verdict:
        self.seen.append(facts)
        engine = facts.deployment.spec.engine
        if isinstance(facts.model, ModelUnknown):
            return Undecided(reason=Reason.UNKNOWN_MODEL, message="Not known.", next_step="Create a ModelProfile.")
        if (engine.max_model_len or 0) > 100_000:
            offers = (Offer(summary="With engine.maxModelLen 8192.", patch_json='{"spec":{"engine":{"maxModelLen":8192}}}'),)
            return Reject(reason=Reason.INSUFFICIENT_KV_CACHE, message="Too long.", field="spec.engine.maxModelLen", offers=offers)
        best = max(facts.pools, key=lambda pool: (sum(free * nodes for free, nodes in pool.nodes_by_free_gpus), pool.name), default=None)
        if best is None:
            return Undecided(reason=Reason.NO_CAPACITY_KNOWN, message="No pool.", next_step="Add nodes.")
        context = engine.max_model_len or 8192
        return Admit(plan=replace(PLAN, product=best.product, gpu_products=(best.product,), pools=(best.name,), max_model_len=context))


class World(Cluster):
    """A cluster whose controller asks `judge`."""

    def __init__(self, kube: FakeKube | None = None, *nodes: Manifest) -> None:
        self.judge = Judge()
        super().__init__(*nodes, kube=kube, judge=self.judge)

    def wish(self, name: str = NAME, model: str = SMALL, replicas: int = 1, **engine: Any) -> None:
        self.put({"model": {"name": model}, "replicas": replicas, "engine": {"image": IMAGE, **engine}}, name)

    def bind(self, name: str, node: str, pod: str) -> None:
        """What scheduler and kubelet would do: one pod of the deployment on a node."""
        self.kube.create(PODS, gpu_pod(pod, node, 1, **of_replica_set(name)))
