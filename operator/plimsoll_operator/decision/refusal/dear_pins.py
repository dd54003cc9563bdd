"""Whether what is pinned moves a plan to dearer GPUs: the same request without these pins, searched beside it. Called by `steps`.

Only of pins that Plimsoll would work out itself, and that cost nobody anything when they go. Knows no prices but the preference's.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.decision.request.fields import engine_field
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Candidate, Found
from plimsoll_operator.decision.search.candidates import order
from plimsoll_operator.decision.search.moves import Mover

_WORKED_OUT: Final = ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")


def dearer_for_pins(mover: Mover, request: DeploymentRequest, found: Found) -> str | None:
    """A sentence naming the pins without which fewer or cheaper GPUs, free just as well, would do; else None.

    `mover` must not hold an applied plan, which would be found again whatever it costs.
    """
    pins = [name for name in _WORKED_OUT if getattr(request.args, name) is not None]
    if not pins:
        return None
    free = mover.search(request.with_args(**dict.fromkeys(pins)))
    if not isinstance(free, Found) or _gpus(free.candidate) == _gpus(found.candidate):
        return None
    if order(free.candidate) >= order(found.candidate):
        return None
    said = " and ".join(f"engine.{engine_field(name)} {getattr(request.args, name)}" for name in pins)
    without = "it" if len(pins) == 1 else "them"
    context = free.fit.estimate.resolved.max_model_len if free.fit.estimate.resolved is not None else 0
    return (
        f"Pinned {said} take{'s' * (len(pins) == 1)} {_gpus(found.candidate)} per replica: "
        f"without {without} {_gpus(free.candidate)} would do, with a context of {context} tokens."
    )


def _gpus(candidate: Candidate) -> str:
    return f"{candidate.layout.gpus} x {candidate.name.replace(',', ', ')}"
