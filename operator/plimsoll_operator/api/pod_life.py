"""How a pod begins, is asked whether it lives, and ends; and how its replicas are spread: parts of `spec.template`, as in a pod.

What is asked of the pod (the address, the port) and which pods are counted stay the plan's. Read by `life` and `overlay`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from plimsoll_operator.api.base import ApiModel, LabelKey, Rule

MOST_SECONDS: Final = 24 * 3600
"""Longest that a pod may take to start or to end: a day."""
_Seconds = Annotated[int, Field(ge=1, le=3600)]


class ProbeTuning(ApiModel):
    """How often, how long and how many times the kubelet asks. What it asks is the plan's: /health of the engine's port."""

    period_seconds: _Seconds | None = None
    """Seconds between two questions."""
    timeout_seconds: _Seconds | None = None
    """How long an answer may take."""
    failure_threshold: Annotated[int, Field(ge=1, le=MOST_SECONDS)] | None = None
    """After so many failures in a row something is done."""


class SleepAction(ApiModel):
    """Wait."""

    seconds: Annotated[int, Field(ge=0, le=MOST_SECONDS)]
    """So long."""


class ExecAction(ApiModel):
    """Run a program of the engine's image."""

    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(min_length=1, max_length=32)]
    """The program and its arguments; no shell."""


class PreStop(ApiModel):
    """What happens before the engine is told to stop: exactly one."""

    sleep: SleepAction | None = None
    """Wait for some time; 0 does nothing."""
    exec: ExecAction | None = None
    """Run a program; a FitPolicy with codeLoading Deny refuses it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.sleep) != has(self.exec)",
            holds=lambda p: (p.sleep is None) != (p.exec is None),
            message="exactly one of sleep and exec must be set",
        ),
    )


class Lifecycle(ApiModel):
    """What the engine's container does at its end."""

    pre_stop: PreStop | None = None
    """Instead of the plan's own, which waits until no request is in flight."""


class TopologySpread(ApiModel):
    """How the replicas are spread over zones, racks or nodes. Which pods are counted is the plan's: those of this deployment."""

    topology_key: LabelKey
    """Node label whose values are the places."""
    max_skew: Annotated[int, Field(ge=1, le=10000)] = 1
    """How many more pods one place may have than another."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """DoNotSchedule keeps a pod waiting, though GPUs be free elsewhere."""
    min_domains: Annotated[int, Field(ge=1, le=10000)] | None = None
    """Least number of places; with DoNotSchedule only."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes whose taints the pods do not tolerate count."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            holds=lambda t: t.min_domains is None or t.when_unsatisfiable == "DoNotSchedule",
            message="minDomains needs whenUnsatisfiable DoNotSchedule",
            field=".minDomains",
        ),
        Rule(
            cel="self.topologyKey.indexOf('/') <= 253",
            holds=lambda t: t.topology_key.find("/") <= 253,
            message="the part before the slash must have at most 253 characters",
            field=".topologyKey",
        ),
    )
