"""What the controller says of itself: its series when they are scraped, and whether it is ready and healthy.

Reads what the others keep, each call a snapshot; changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.cluster.informer import Informer
from plimsoll_operator.controller.loops.work_queue import WorkQueue
from plimsoll_operator.controller.records import Records
from plimsoll_operator.metrics import DeploymentSeries, PoolSeries
from plimsoll_operator.ports import Key
from plimsoll_operator.reflector import STALE_SECONDS

DEAD_WATCH_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """metrics.SeriesSource. `informers` is asked for at each call, as they are made last; `busy_since` are keys that workers are at."""

    records: Records
    ledger: Ledger
    queue: WorkQueue[Key]
    informers: Callable[[], Sequence[Informer]]
    busy_since: Mapping[Key, float]
    clock: Callable[[], float]

    def deployments(self) -> Iterable[DeploymentSeries]:
        """See metrics.SeriesSource."""
        return self.records.deployments()

    def pools(self) -> Iterable[PoolSeries]:
        """See metrics.SeriesSource."""
        return [
            PoolSeries(
                pool=pool.name,
                gpus=(("total", pool.gpus), ("booked", pool.booked_gpus), *((("free", pool.free_gpus),) if pool.free_is_known else ())),
                gpu_memory_bytes=pool.key.usable_memory_bytes,
                problem_nodes=pool.nodes_by_problem,
            )
            for pool in self.ledger.pools()
        ]

    def queue_depth(self) -> int:
        """See metrics.SeriesSource."""
        return self.queue.depth()

    def watch_ages(self) -> Mapping[str, float]:
        """See metrics.SeriesSource."""
        ages: dict[str, float] = {}
        for informer in self.informers():
            ages[informer.resource.kind] = max(informer.age(), ages.get(informer.resource.kind, 0.0))
        return ages

    def unready(self) -> str:
        """Which caches are not filled yet, or have heard nothing for too long; empty when ready."""
        waiting = [informer.resource.plural for informer in self.informers() if not informer.synced.is_set()]
        if waiting:
            return f"waiting for {', '.join(waiting)}"
        stale = [f"{kind} ({age:.0f} s)" for kind, age in self.watch_ages().items() if age > STALE_SECONDS]
        return f"no news from the API server about {', '.join(stale)}" if stale else ""

    def unhealthy(self) -> str:
        """Which part has stood still for too long to be waited for; empty when healthy."""
        dead = [kind for kind, age in self.watch_ages().items() if age > DEAD_WATCH_SECONDS]
        if dead:
            return f"no word from the API server about {', '.join(dead)}"
        now = self.clock()
        stuck = [key for key, since in tuple(self.busy_since.items()) if now - since > DEAD_WATCH_SECONDS]
        return f"a worker stands still at {'/'.join(stuck[0])}" if stuck else ""
