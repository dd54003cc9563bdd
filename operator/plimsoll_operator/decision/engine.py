"""The estimator as one decision uses it: one model and release, every estimate made once.

Made per decision (or shared by decisions on the same model); refusals are values, doubt about the model is raised as Unsupported.
"""

from __future__ import annotations

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import WeightTotals, estimate
from plimsoll_estimator.resolved import Estimate, Gpu
from plimsoll_operator.facts import ModelFacts


class Engine:
    """Remembers estimates by arguments and GPU; the same question within one decision costs a look-up."""

    __slots__ = ("_config", "_memo", "_version", "_weights")

    def __init__(self, model: ModelFacts, version: EngineVersion) -> None:
        self._config = model.config
        totals = model.weights
        self._weights = WeightTotals(total_bytes=totals.total_bytes, bytes_by_dtype=dict(totals.bytes_by_dtype)) if totals else None
        self._version = version
        self._memo: dict[tuple[EngineArgs, Gpu, int | None], Estimate] = {}

    def estimate(self, args: EngineArgs, gpu: Gpu) -> Estimate:
        """The estimate at these arguments. Raises Unsupported (no rule) and InvalidInput (bad value)."""
        return self._estimate(args, gpu, None)

    def estimate_with_pool(self, args: EngineArgs, gpu: Gpu, available_kv_cache_bytes: int) -> Estimate:
        """The same with the KV pool given instead of predicted."""
        return self._estimate(args, gpu, max(0, available_kv_cache_bytes))

    def _estimate(self, args: EngineArgs, gpu: Gpu, pool: int | None) -> Estimate:
        if args.limit_mm_per_prompt is not None:  # a mapping: cannot be a key
            return self._ask(args, gpu, pool)
        key = (args, gpu, pool)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._ask(args, gpu, pool)
        return found

    def _ask(self, args: EngineArgs, gpu: Gpu, pool: int | None) -> Estimate:
        return estimate(self._config, args, gpu, self._version, weights=self._weights, available_kv_cache_bytes=pool)
