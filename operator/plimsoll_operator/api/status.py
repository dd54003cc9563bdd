"""Status of an InferenceDeployment: the plans, offers, and what the engine reported. The plan itself is in `api.plan`.

Written by the controller, read by people, kubectl columns and the CLI. Numbers that have a fixed textual form
(utilisation, concurrency, ratios) are strings, so that no client rounds them.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from plimsoll_operator.api.base import Conditions, Count, Decimal, LongText, ShortText, StatusModel, Tokens
from plimsoll_operator.api.plan import MemoryByComponent, PlanStatus

MAX_OFFERS: Final = 4


class ChangeStatus(StatusModel):
    """A pinned value that Resize moved."""

    field: ShortText
    """Field, as in the spec."""
    old: ShortText
    """Value asked for."""
    new: ShortText
    """Value used."""
    why: LongText
    """Why it was moved."""


class OfferStatus(StatusModel):
    """A change that would be admitted."""

    summary: LongText
    """The change in a sentence."""
    patch: LongText
    """The same as a JSON merge patch on this object."""


class ObservedStatus(StatusModel):
    """What the running engine reported, in the components of the prediction."""

    memory: MemoryByComponent | None = None
    """Observed bytes of the fullest rank."""
    kv_cache_tokens: Tokens | None = None
    """Tokens the KV cache really holds."""
    max_concurrency: Decimal | None = None
    """Concurrency the engine logged."""
    engine_version: ShortText | None = None
    """Release the engine reports."""
    source: ShortText | None = None
    """Where the figures come from."""
    error_ratio: Decimal | None = None
    """(predicted - observed) / observed of what is not KV cache."""


class InferenceDeploymentStatus(StatusModel):
    """What was decided and what was seen."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation the rest of status speaks of."""
    replicas: Count | None = None
    """Pods that exist, for the scale subresource."""
    ready_replicas: Count | None = None
    """Pods that are ready."""
    ready: Annotated[str, Field(max_length=32)] | None = None
    """Ready of wanted, for people."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for the scale subresource."""
    conditions: Conditions = ()
    """ModelResolved, Feasible, CapacityAvailable, Progressing, Available, Ready, Stalled."""
    plan: PlanStatus | None = None
    """The plan in force."""
    proposed_plan: PlanStatus | None = None
    """What would be decided now, when it differs."""
    changes: Annotated[tuple[ChangeStatus, ...], Field(max_length=16)] = ()
    """Pinned values that were moved."""
    offers: Annotated[tuple[OfferStatus, ...], Field(max_length=MAX_OFFERS)] = ()
    """Changes that would be admitted."""
    observed: ObservedStatus | None = None
    """What the engine reported."""
