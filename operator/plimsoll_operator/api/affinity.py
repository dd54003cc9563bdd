"""What draws pods to nodes and to one another beside the plan: parts of `spec.template.affinity`, as in a pod.

Required node labels are `spec.placement`'s: the plan is made for the nodes that have them. Read by `overlay`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import ApiModel, LabelKey, LabelText
from plimsoll_operator.api.selector import LabelSelector, SelectorRequirement

_Weight = Annotated[int, Field(ge=1, le=100)]


class NodeRequirement(SelectorRequirement):
    """One expression over node labels."""

    values: Annotated[tuple[LabelText, ...], Field(max_length=16)] = ()
    """Values of In and NotIn."""


class NodePreference(ApiModel):
    """Expressions that must all hold."""

    match_expressions: Annotated[tuple[NodeRequirement, ...], Field(min_length=1, max_length=8)]
    """The expressions."""


class WeightedNodes(ApiModel):
    """Nodes that are liked."""

    weight: _Weight
    """How much."""
    preference: NodePreference
    """Which."""


class NodeAffinity(ApiModel):
    """Nodes that are liked; those that are required are named by spec.placement."""

    preferred_during_scheduling_ignored_during_execution: Annotated[tuple[WeightedNodes, ...], Field(max_length=8)] = ()
    """Nodes in the order of the sum of their weights."""


class PodAffinityTerm(ApiModel):
    """Pods of the same namespace, and what counts as one place."""

    label_selector: LabelSelector
    """The pods."""
    topology_key: LabelKey
    """Node label whose values are the places."""


class WeightedPods(ApiModel):
    """Pods that are liked or not."""

    weight: _Weight
    """How much."""
    pod_affinity_term: PodAffinityTerm
    """Which."""


class PodAffinity(ApiModel):
    """Pods beside which, or away from which, the replicas are placed."""

    required_during_scheduling_ignored_during_execution: Annotated[tuple[PodAffinityTerm, ...], Field(max_length=4)] = ()
    """Must hold; a pod may wait for it though GPUs be free."""
    preferred_during_scheduling_ignored_during_execution: Annotated[tuple[WeightedPods, ...], Field(max_length=8)] = ()
    """Had rather hold."""


class Affinity(ApiModel):
    """What draws pods to nodes and to one another."""

    node_affinity: NodeAffinity | None = None
    """Nodes that are liked."""
    pod_affinity: PodAffinity | None = None
    """Pods to be near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Pods to keep away from."""
