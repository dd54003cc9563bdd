"""The overhead of one pipeline stage's ranks, term by term. Called by `estimate` through the package."""

from __future__ import annotations

from typing import NamedTuple

from plimsoll_estimator.overhead.activation import activation_bytes, kept_bytes
from plimsoll_estimator.overhead.communication import budgeted_before_bytes, non_torch_bytes
from plimsoll_estimator.overhead.deep_gemm import kernel_warm_up_bytes
from plimsoll_estimator.overhead.graphs import graph_deducted_bytes, graph_pool_bytes
from plimsoll_estimator.overhead.persistent import persistent_bytes
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.sampler import warm_up_bytes
from plimsoll_estimator.overhead.stated import stated_bytes
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs


class StageOverhead(NamedTuple):
    """Bytes of one rank of one pipeline stage. Charged to the budget are activation, graphs and non-torch.

    `kept_bytes`: what of `activation_bytes` stays allocated after the profile run.
    `warm_up_bytes`: what warming up the sampler needs at once, after the cache is allocated and the profile run's peak is free again.
    `kernel_warm_up_bytes`: what DeepGEMM's kernels need before that, and before graphs are captured.
    `before_bytes`: what of `non_torch_bytes` is in use before the first snapshot, in releases whose budget pays for it all the same.
    `uncounted_bytes`: buffers that are there before the cache and that the budget does not count, in releases that overlook them.
    """

    activation_bytes: int
    kept_bytes: int
    cuda_graph_bytes: int
    cuda_graph_pool_bytes: int
    non_torch_bytes: int
    warm_up_bytes: int
    kernel_warm_up_bytes: int
    uncounted_bytes: int = 0
    before_bytes: int = 0

    @property
    def grown_bytes(self) -> int:
        """What is taken outside torch from the first snapshot on."""
        return max(0, self.non_torch_bytes - self.before_bytes)

    @property
    def freed_bytes(self) -> int:
        """What the profile run's peak gives back before the cache is allocated."""
        return max(0, self.activation_bytes - self.kept_bytes)

    @property
    def charged_bytes(self) -> int:
        """What leaves the budget beside the weights."""
        return self.activation_bytes + self.cuda_graph_bytes + self.non_torch_bytes


def stage_overhead(widths: Widths, resolved: ResolvedArgs, stage: int) -> StageOverhead:
    """The overhead of one rank of pipeline stage `stage`."""
    return stage_overheads(widths, resolved)[stage]


def stage_overheads(widths: Widths, resolved: ResolvedArgs) -> tuple[StageOverhead, ...]:
    """The overhead of one rank of each stage. Graphs and collectives are alike on all; between first and last all is."""
    pool = graph_pool_bytes(widths, resolved)
    deducted = graph_deducted_bytes(pool, widths, resolved)
    before = budgeted_before_bytes(resolved)
    non_torch = non_torch_bytes(widths, resolved) + stated_bytes(widths, resolved) + before
    kept = kept_bytes(widths, resolved)
    kernels = kernel_warm_up_bytes(widths, resolved, kept)
    counts = overhead_rules(resolved.version).budgets_all_buffers

    def stage(*, first: bool, last: bool) -> StageOverhead:
        buffers = persistent_bytes(widths, resolved, last=last)
        return StageOverhead(
            activation_bytes=activation_bytes(widths, resolved, kept, first=first, last=last),
            kept_bytes=kept,
            cuda_graph_bytes=deducted,
            cuda_graph_pool_bytes=pool,
            non_torch_bytes=non_torch + (buffers if counts else 0),
            warm_up_bytes=warm_up_bytes(widths, resolved) if last else 0,
            kernel_warm_up_bytes=kernels,
            uncounted_bytes=0 if counts else buffers,
            before_bytes=before,
        )

    count = resolved.pipeline_parallel_size
    if count == 1:
        return (stage(first=True, last=True),)
    between = (stage(first=False, last=False),) * (count - 2) if count > 2 else ()
    return (stage(first=True, last=False), *between, stage(first=False, last=True))
