"""The facts one decision is made from, gathered before and never fetched during it.

`gather` builds Facts from cached objects (webhook, controller) or files (CLI); `decision` reads them. Frozen values of
known size; no Kubernetes client, no HTTP, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

from plimsoll_estimator import HfConfig, WeightTotals
from plimsoll_operator.api import FitPolicySpec, InferenceDeployment
from plimsoll_operator.names import GPU_RESOURCE
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.verdict import Plan, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model's shape as resolved: never weights. `source` says where it came from, `digest` identifies the shape.

    `note` is for people: what could not be known about it. `as_published`: the publisher's own file, not one that the catalogue's
    maker put together, whose model type may be another.
    """

    name: str
    revision: str | None
    config: HfConfig
    weights: WeightTotals | None
    source: str
    digest: str
    note: str = ""
    as_published: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUnknown:
    """No profile answers for the model; `problem` says why in a sentence without its full stop.

    `kind` is the reason of the condition ModelResolved: what is in the cluster (NotFound, Mismatch, Invalid, Ambiguous), or how
    reading it goes (Resolving) and ended (NotFound, Gated, Unreachable, Unsupported, Ambiguous, Invalid).
    `asked` tells the second from the first.
    """

    kind: NoShape
    problem: str
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeNodes:
    """`nodes` nodes with so many free GPUs and at least so much of the host free; None where the host is not known or not counted."""

    gpus: int
    nodes: int
    host_memory_bytes: int | None = None
    host_cpu_millis: int | None = None
    ephemeral_storage_bytes: int | None = None


class NodesOfPool(Protocol):
    """Some of a pool's nodes, and what is free of them."""

    @property
    def nodes(self) -> int:
        """Nodes."""
        ...

    @property
    def nodes_by_free_gpus(self) -> tuple[tuple[int, int], ...]:
        """Nodes by free GPUs."""
        ...

    @property
    def free_nodes(self) -> tuple[FreeNodes, ...]:
        """The same with what is free of their hosts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """One GPUPool as the decision sees it: nodes alike for planning.

    `usable_memory_bytes` is what CUDA reports, the minimum over the nodes. `nodes_by_free_gpus` is a histogram of
    (free GPUs, nodes), sorted. Host figures are allocatable minima over the nodes. `declared` pools have no nodes yet.
    `labels` speaks only of `indexed_label_keys`: what the nodes have under other keys is not known. `resource` is what pods ask for,
    and GPUs are counted in its units: a GPU that is time-sliced or served by MPS counts once for each of its replicas.
    `foreign_gpus` are held by pods that no InferenceDeployment has planned. `selects` are the node labels that steer pods there, `source`
    who says what the GPUs are. `free_nodes` is the histogram with what is free of the hosts, where that is known; where pods of others
    cannot be seen `free_is_known` is false and both are empty. `max_nodes` is how many a declared pool may grow to. `lacks` are labels
    that were looked for on the nodes themselves and that none of them has.
    """

    name: str
    product: str
    usable_memory_bytes: int
    memory_is_exact: bool
    gpus_per_node: int
    nodes: int
    nodes_by_free_gpus: tuple[tuple[int, int], ...]
    host_memory_bytes: int
    host_cpu_millis: int
    ephemeral_storage_bytes: int
    labels: tuple[tuple[str, str], ...]
    taints: tuple[tuple[str, str, str], ...]
    sharing: Literal["none", "time-slicing", "mps", "mig"]
    sharing_replicas: int
    compute_capability: tuple[int, int] | None
    cost: int | None
    declared: bool
    trusted: bool
    problems: tuple[str, ...]
    indexed_label_keys: tuple[str, ...] = ()
    resource: str = GPU_RESOURCE
    foreign_gpus: int = 0
    selects: tuple[tuple[str, str], ...] = ()
    source: str = ""
    free_nodes: tuple[FreeNodes, ...] = ()
    free_is_known: bool = True
    max_nodes: int | None = None
    lacks: tuple[tuple[str, str], ...] = ()

    @property
    def most_nodes(self) -> int:
        """Nodes there are, or may be: a declared pool whose limit nobody knows has as many as anyone wants."""
        if not self.declared:
            return self.nodes
        return max(self.nodes, 1 << 20 if self.max_nodes is None else self.max_nodes)

    @property
    def parts(self) -> int:
        """Into how many parts one GPU's memory is thought to be cut: only time-slicing lends the whole of it to several pods."""
        return self.sharing_replicas if self.sharing == "time-slicing" else 1

    @property
    def gpu_cost(self) -> int:
        """Of one GPU as a pod asks for it, a part of a sliced card too: the declared cost, else its usable bytes."""
        return (self.usable_memory_bytes if self.cost is None else self.cost) // self.parts

    def most_pods(self, gpus: int) -> int:
        """Pods of so many GPUs on the nodes that there are or may be, when nothing else runs there."""
        return self.most_nodes * (self.gpus_per_node // gpus)

    @property
    def vendor(self) -> str:
        """Whose GPUs: the resource's domain without its ending."""
        return self.resource.partition(".")[0]

    @property
    def free(self) -> tuple[FreeNodes, ...]:
        """Free nodes with what is known of their hosts."""
        return self.free_nodes or tuple(FreeNodes(gpus=gpus, nodes=nodes) for gpus, nodes in self.nodes_by_free_gpus)

    def standing(self) -> PoolFacts:
        """The pool without what comes and goes; strangers on time-sliced cards are no such thing, they make a plan unsafe."""
        return replace(
            self,
            nodes=0,
            nodes_by_free_gpus=(),
            free_nodes=(),
            foreign_gpus=self.foreign_gpus if self.parts > 1 else 0,
            problems=() if self.trusted else self.problems,
        )


class Pools(tuple[PoolFacts, ...]):
    """Pools, hashed once: of the same hundreds that question after question is asked about, that takes longer than all else."""

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def narrowed(pool: PoolFacts, part: NodesOfPool | None, pairs: tuple[tuple[str, str], ...]) -> PoolFacts:
    """The pool as far as its nodes have these labels: that part of it, or none of its nodes."""
    if part is None:
        return replace(pool, nodes=0, nodes_by_free_gpus=(), free_nodes=(), lacks=pairs)
    labels = tuple(sorted({**dict(pool.labels), **dict(pairs)}.items()))
    indexed = tuple(sorted({*pool.indexed_label_keys, *(key for key, _ in pairs)}))
    free = (part.nodes_by_free_gpus, part.free_nodes)
    return replace(pool, nodes=part.nodes, nodes_by_free_gpus=free[0], free_nodes=free[1], labels=labels, indexed_label_keys=indexed)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedCorrection:
    """What running engines taught about one component of one vLLM minor, by trusted evidence.

    `product`, `interconnect` ("none": engines of one GPU) and `cause_of_doubt` say of which estimates; None holds for all.

    `ownStarts` is no component: what the deployment's own engines took beyond their prediction, which counts for it alone.
    """

    source: str
    engine_minor: str
    product: str | None
    component: Literal["weights", "activation", "cudaGraphs", "nonTorch", "outsideBudget", "ownStarts"]
    add_bytes: int
    interconnect: str | None = None
    cause_of_doubt: str | None = None

    @property
    def narrowness(self) -> tuple[bool, bool, bool]:
        """Sorts what holds for fewer estimates behind what holds for more: the product counts first."""
        return (self.product is not None, self.cause_of_doubt is not None, self.interconnect is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceUse:
    """What InferenceDeployments of one namespace hold together, by their applied plans."""

    gpus: int = 0
    predicted_bytes: int = 0

    def with_use(self, use: DeploymentUse) -> NamespaceUse:
        """The same and one deployment more."""
        return NamespaceUse(gpus=self.gpus + use.gpus, predicted_bytes=self.predicted_bytes + use.predicted_bytes)

    def without(self, use: DeploymentUse | None) -> NamespaceUse:
        """The same without one that was counted; None: there is none."""
        if use is None:
            return self
        return NamespaceUse(gpus=self.gpus - use.gpus, predicted_bytes=self.predicted_bytes - use.predicted_bytes)

    @classmethod
    def of(cls, uses: Iterable[DeploymentUse]) -> NamespaceUse:
        """All of these together."""
        held = tuple(uses)
        return cls(gpus=sum(use.gpus for use in held), predicted_bytes=sum(use.predicted_bytes for use in held))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentUse:
    """What one InferenceDeployment holds by its applied plan. Without a plan its GPUs and bytes are 0."""

    replicas: int
    gpus_per_replica: int
    predicted_bytes_per_gpu: int

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.gpus_per_replica

    @property
    def predicted_bytes(self) -> int:
        """Predicted bytes over all GPUs: an upper bound, since the fullest rank stands for every rank."""
        return self.gpus * self.predicted_bytes_per_gpu


class Bypass(StrEnum):
    """The bypass annotation: not there, there but protected by nothing, or there and worth what the user may do."""

    ABSENT = "Absent"
    UNPROTECTED = "Unprotected"
    HONOURED = "Honoured"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPolicy:
    """The FitPolicy that holds for a namespace. `problem` says why it cannot be read, as a sentence without its full stop.

    Then `spec` is what holds where there is none, and nothing may be admitted by it.
    """

    spec: FitPolicySpec
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything `decide` may look at. `beside` is what the namespace's other InferenceDeployments hold, nothing where no cap asks.

    `siblings` are the same model with quantised weights, as far as known: what an offer may name instead.
    `draft` is the model that proposes tokens in speculative decoding, where the spec names one.
    `corrections` are those of EngineCalibrations that the policy's trust lets count, and what the deployment's own engines taught of it.
    `unknown_fields` are those of the spec that only a newer release knows.
    `policy_problem` is set where the policy that holds cannot be read, see HeldPolicy.
    `leader_worker_set` says whether the cluster serves the API that replicas over several nodes are made with.
    """

    deployment: InferenceDeployment
    model: ModelFacts | ModelUnknown
    pools: tuple[PoolFacts, ...]
    policy: FitPolicySpec
    applied_plan: Plan | None
    beside: NamespaceUse = NamespaceUse()
    bypass: Bypass = Bypass.ABSENT
    siblings: tuple[ModelFacts, ...] = ()
    draft: ModelFacts | ModelUnknown | None = None
    corrections: tuple[AppliedCorrection, ...] = ()
    leader_worker_set: bool = False
    policy_problem: str = ""
    unknown_fields: tuple[str, ...] = ()


Decide: TypeAlias = Callable[[Facts], Verdict]
"""`decision.decide`, for whoever is handed it."""
DecideWithin: TypeAlias = Callable[[Facts, float], Verdict]
"""With the seconds after which it must end, whatever it knows by then."""
Recall: TypeAlias = Callable[[Facts], Verdict | None]
"""`decision.recall`: what is remembered, or None."""
