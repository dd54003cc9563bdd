"""How long a pod may take to start and to end, from what it loads and from the longest request. Called by the search for what fits.

Times are bounds and no predictions: the kubelet begins a start again when the first has passed, which must not happen to a pod that
loads. Knows no probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import Estimate, Gpu, ceil_div, load_times, round_up
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.host import loaded_bytes
from plimsoll_operator.decision.request.request import DeploymentRequest

# The predicted worst, and as much again: several pods may read one volume or share one link, and kernels are compiled where none are.
_TIMES_THE_WORST: Final = 2
_LEAST_START_SECONDS: Final = 15 * 60
# Pods of a group wait for one another, and the last of them for its image.
_GROUP_SECONDS: Final = 30 * 60
_MOST_START_SECONDS: Final = 24 * 3600
# Slower than any engine that people would keep: what one request is sure to be answered at, on a full engine.
_TOKENS_PER_SECOND: Final = 20
_BESIDE_SECONDS: Final = 30
_LEAST_END_SECONDS: Final = 60
# The cluster autoscaler waits no longer for a pod that it evicts (its flag max-graceful-termination-sec).
_MOST_END_SECONDS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Seconds of one pod: to be ready after its container has started, and from the request that it end to its end."""

    start_seconds: int
    end_seconds: int


def life_of(request: DeploymentRequest, engine: Engine, estimate: Estimate, gpu: Gpu, nodes: int) -> Life:
    """Both times, for a replica over so many nodes."""
    return Life(start_seconds=_start(request, engine, estimate, gpu, nodes), end_seconds=_end(request, estimate))


def _start(request: DeploymentRequest, engine: Engine, estimate: Estimate, gpu: Gpu, nodes: int) -> int:
    """Twice the slowest load of its kind of storage, a quarter of an hour at least, in whole minutes."""
    resolved = estimate.resolved
    _, volume, download = load_times(loaded_bytes(engine, estimate, gpu), enforce_eager=resolved is not None and resolved.enforce_eager)
    worst = (download if request.disk.weights or request.disk.streamed else volume).at_worst_seconds
    seconds = max(_LEAST_START_SECONDS, _TIMES_THE_WORST * worst) + (_GROUP_SECONDS if nodes > 1 else 0)
    return min(_MOST_START_SECONDS, round_up(seconds, 60))


def _end(request: DeploymentRequest, estimate: Estimate) -> int:
    """Long enough for the longest request of the worksheet, else of the context; no longer than nodes are waited for."""
    resolved = estimate.resolved
    tokens = request.worksheet.max_model_len if request.worksheet is not None else resolved.max_model_len if resolved is not None else 0
    seconds = _BESIDE_SECONDS + ceil_div(tokens, _TOKENS_PER_SECOND)
    return min(_MOST_END_SECONDS, max(_LEAST_END_SECONDS, round_up(seconds, 10)))
