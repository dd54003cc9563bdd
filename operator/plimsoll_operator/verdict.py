"""What the decision answers: Admit, Resize, Reject or Undecided, and the plan they carry.

Made by `decision.decide`, read by webhook, controller, CLI, rendering and metrics. Only values; knows no Kubernetes
client, no HTTP, no clock. The plan itself is of the API, which shows and keeps it; whoever asks for verdicts finds it here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from plimsoll_operator.api.plan import Plan as Plan
from plimsoll_operator.reasons import Reason as Reason

MAX_WARNING: Final = 256
"""Characters of one warning: longer ones may be cut (Kubernetes, admission/v1 AdmissionResponse.warnings)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One pinned value that Resize moved: API field (camelCase path), from, to, why."""

    field: str
    old: str
    new: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A change that would be admitted, verified by decide: a sentence and a JSON merge patch on the InferenceDeployment."""

    summary: str
    patch_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Cannot start or serve. Bytes are per GPU; `component` names what broke it; `message` is one sentence.

    `on_the_edge`: at the upper end of the estimate's interval it would do, which is not relied on: it is refused all the same.
    """

    reason: Reason
    message: str
    field: str
    needed_bytes: int | None = None
    available_bytes: int | None = None
    component: str | None = None
    offers: tuple[Offer, ...] = ()
    details: tuple[str, ...] = ()
    on_the_edge: bool = False
    offers_cut: bool = False
    """Looking for offers was stopped before its end: there may be others."""

    @property
    def short_by_bytes(self) -> int | None:
        """needed - available where both are known."""
        if self.needed_bytes is None or self.available_bytes is None:
            return None
        return self.needed_bytes - self.available_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """Not known. Makes no pods and never means "fits". `next_step` says what happens next, `field` what it is about, where one knows."""

    reason: Reason
    message: str
    next_step: str
    field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Fits as asked. `warnings` are one line each, at most MAX_WARNING characters.

    `overridden` is the rejection that a FitPolicy in Warn mode or an authorised bypass has turned into a warning: then it
    does not fit by our figures, and the plan consists of what the user has pinned. `of_now` is that line of the warnings, if any, which
    speaks of GPUs as they are free while this is decided: it holds for nobody who asks later. `on_the_edge`: pinned values that start in
    the middle of the estimate's interval and not at its lower end; one of the warnings says so.
    """

    plan: Plan
    warnings: tuple[str, ...] = ()
    overridden: Reject | None = None
    of_now: str = ""
    on_the_edge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Fits after moving pinned values that the user allowed to move. `overridden`, `of_now` and `on_the_edge` as in Admit."""

    plan: Plan
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    overridden: Reject | None = None
    of_now: str = ""
    on_the_edge: bool = False


Verdict: TypeAlias = Admit | Resize | Reject | Undecided
