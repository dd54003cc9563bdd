"""The overhead of one pipeline stage's ranks, term by term. Called by `estimate` through the package."""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.overhead.activation import activation_bytes
from plimsoll_estimator.overhead.communication import non_torch_bytes
from plimsoll_estimator.overhead.graphs import graph_deducted_bytes, graph_pool_bytes
from plimsoll_estimator.overhead.persistent import persistent_bytes
from plimsoll_estimator.overhead.shape import ModelShape
from plimsoll_estimator.resolved import ResolvedArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOverhead:
    """Bytes of one rank of one pipeline stage. All but `cuda_graph_pool_bytes` are charged to the budget."""

    activation_bytes: int
    cuda_graph_bytes: int
    cuda_graph_pool_bytes: int
    non_torch_bytes: int

    @property
    def charged_bytes(self) -> int:
        """What leaves the budget beside the weights."""
        return self.activation_bytes + self.cuda_graph_bytes + self.non_torch_bytes


def stage_overhead(shape: ModelShape, resolved: ResolvedArgs, stage: int) -> StageOverhead:
    """The overhead of one rank of pipeline stage `stage`."""
    last = stage == resolved.pipeline_parallel_size - 1
    pool = graph_pool_bytes(shape, resolved)
    return StageOverhead(
        activation_bytes=activation_bytes(shape, resolved, first=stage == 0, last=last),
        cuda_graph_bytes=graph_deducted_bytes(pool, shape, resolved),
        cuda_graph_pool_bytes=pool,
        non_torch_bytes=non_torch_bytes(shape, resolved) + persistent_bytes(shape, resolved, last=last),
    )


def stage_overheads(shape: ModelShape, resolved: ResolvedArgs) -> tuple[StageOverhead, ...]:
    """The overheads of all stages: what lies between the first and the last is alike."""
    n_stages = resolved.pipeline_parallel_size
    first = stage_overhead(shape, resolved, 0)
    if n_stages == 1:
        return (first,)
    between = (stage_overhead(shape, resolved, 1),) * (n_stages - 2) if n_stages > 2 else ()
    return (first, *between, stage_overhead(shape, resolved, n_stages - 1))
