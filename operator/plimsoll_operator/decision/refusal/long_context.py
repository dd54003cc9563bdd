"""Whether the longest request class deserves a deployment of its own: the GPUs of both ways, counted. Called by `steps`.

One context and one layout hold for every replica, so a few long requests can make all of them large. Compares what the
search finds; knows no prices.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.request.worksheet import least_replicas
from plimsoll_operator.decision.search.candidate import Found
from plimsoll_operator.decision.search.moves import Mover

_LONGER: int = 2


def own_pool(mover: Mover, request: DeploymentRequest, found: Found) -> str | None:
    """A sentence with the arithmetic where the longest class apart takes fewer GPUs in all, else None.

    `mover` must not hold an applied plan: what is compared does not exist yet. A pinned context is the user's own answer.
    """
    worksheet = request.worksheet
    parts = worksheet.split() if worksheet is not None and request.args.max_model_len is None else None
    if parts is None or found.candidate.layout.gpus == 1:
        return None
    long, rest = parts
    if long.max_model_len < _LONGER * rest.max_model_len or request.min_max_model_len > long.max_model_len:
        return None
    alone = request.with_worksheet(long)
    replicas = least_replicas(lambda count: _gpus(mover, replace(alone, replicas=count)) > 0, 0, max(1, request.replicas), hint=1)
    short_gpus = _gpus(mover, request.with_worksheet(rest))
    if replicas is None or not short_gpus:
        return None
    long_gpus = _gpus(mover, replace(alone, replicas=replicas))
    count, gpus = max(1, request.replicas), found.candidate.layout.gpus
    together, apart = count * gpus, count * short_gpus + replicas * long_gpus
    if apart >= together:
        return None
    load = long.longest
    return (
        f"Request class {load.name} ({load.tokens} tokens, {load.in_flight} in flight) deserves a deployment of its own: "
        f"together {count} x {gpus} = {together} GPUs, apart {count} x {short_gpus} and {replicas} x {long_gpus} = {apart}."
    )


def _gpus(mover: Mover, request: DeploymentRequest) -> int:
    """GPUs of one replica, 0 where nothing fits."""
    found = mover.search(request)
    return found.candidate.layout.gpus if isinstance(found, Found) else 0
