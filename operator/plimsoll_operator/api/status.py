"""Status of an InferenceDeployment: the plans, offers, and what the engine reported. The plan itself is in `api.plan`.

Written by the controller, read by people, kubectl columns and the CLI. Numbers that have a fixed textual form
(utilisation, concurrency, ratios) are strings, so that no client rounds them.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from plimsoll_operator.api.base import Bytes, Conditions, Count, Decimal, LongText, ShortText, StatusModel, Tokens
from plimsoll_operator.api.plan import MemoryByComponent, PlanStatus

MAX_OFFERS: Final = 4
MAX_STARTS: Final = 16
"""Starts of one plan that are read and kept: they repeat within some MiB, and each takes half a KiB of the object."""
MAX_LEFT_OUT: Final = 4
MAX_LEFT_OUT_TEXT: Final = 200


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


class StartPhases(StatusModel):
    """Seconds of the phases of a start, of the slowest worker, rounded up. Loading holds reading, and the engine's init compiling."""

    read_seconds: Count | None = None
    """Reading weights."""
    load_seconds: Count | None = None
    """Loading the model, reading included."""
    profile_seconds: Count | None = None
    """Profiling memory."""
    compile_seconds: Count | None = None
    """Compiling."""
    capture_seconds: Count | None = None
    """Capturing CUDA graphs."""
    init_seconds: Count | None = None
    """Profiling, sizing the KV cache and warming up, compiling included."""


class StartStatus(StatusModel):
    """What the log of one start of an engine says it took. A figure that the log does not have is absent."""

    pod: ShortText
    """Pod that started."""
    uid: ShortText
    """Its uid: another pod may have its name later."""
    restarts: Count = 0
    """How often its container had ended before this start."""
    rank: ShortText | None = None
    """The rank that is shown, in vLLM's words: the one with the least KV cache. Of what it does not log, the worst of its stage."""
    memory: MemoryByComponent | None = None
    """Bytes of that rank."""
    not_kv_cache_bytes: Bytes | None = None
    """What of its budget is not KV cache."""
    kv_cache_tokens: Tokens | None = None
    """Tokens that the KV cache of the replica holds."""
    max_concurrency: Decimal | None = None
    """Requests of the whole context at once, as the engine logged them."""
    engine_version: ShortText | None = None
    """Release that the engine says it is."""
    gpu_total_bytes: Bytes | None = None
    """Memory of its GPU."""
    gpu_free_bytes: Bytes | None = None
    """What of it was free when the engine began."""
    phases: StartPhases | None = None
    """How long its phases took."""
    left_out: Annotated[tuple[Annotated[str, Field(max_length=MAX_LEFT_OUT_TEXT)], ...], Field(max_length=MAX_LEFT_OUT)] | None = None
    """Figures of the log that cannot be, and why."""


class ObservedStatus(StatusModel):
    """What running engines logged of their start, in the components of the prediction: of the start with the least KV cache."""

    plan_digest: ShortText | None = None
    """Plan that was started: the figures speak of no other."""
    pod: ShortText | None = None
    """Pod whose start is shown."""
    rank: ShortText | None = None
    """Rank of it that is shown, in vLLM's words."""
    memory: MemoryByComponent | None = None
    """Observed bytes of the fullest rank."""
    not_kv_cache_bytes: Bytes | None = None
    """What of its budget is not KV cache."""
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
    starts: Annotated[tuple[StartStatus, ...], Field(max_length=MAX_STARTS)] = ()
    """Every start that was read, each once; of more replicas than these no more is read."""


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
    phase: Annotated[str, Field(max_length=32)] | None = None
    """How it stands in one word, for people: Running, Starting, WaitingForGpus, CrashLoop, Rejected, ... Programs read the conditions."""
    reason: Annotated[str, Field(max_length=128)] | None = None
    """The reason of the condition that the word is taken from."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for the scale subresource."""
    conditions: Conditions = ()
    """ModelResolved, Feasible, CapacityAvailable, Progressing, Available, Ready, Stalled, AsPredicted."""
    plan: PlanStatus | None = None
    """The plan in force."""
    proposed_plan: PlanStatus | None = None
    """What would be decided now, when it differs."""
    changes: Annotated[tuple[ChangeStatus, ...], Field(max_length=16)] = ()
    """Pinned values that were moved."""
    offers: Annotated[tuple[OfferStatus, ...], Field(max_length=MAX_OFFERS)] = ()
    """Changes that would be admitted."""
    observed: ObservedStatus | None = None
    """What the engines logged of their start."""
