"""The estimator as decisions use it: one model and release, every estimate made once.

Shared by decisions on the same shape; estimates are pure, so remembering them changes nothing but time. Refusals are
values, doubt about the model is raised as Unsupported.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import WeightTotals, estimate
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import KvCacheLayout, kv_cache_layout
from plimsoll_estimator.resolved import Estimate, Gpu, ResolvedArgs
from plimsoll_operator.facts import ModelFacts
from plimsoll_operator.facts import WeightTotals as HeaderTotals

MAX_REMEMBERED: Final = 4096


class Engine:
    """Remembers estimates by arguments and GPU; the same question costs a look-up. Bounded: a full memory starts afresh."""

    __slots__ = ("_config", "_layouts", "_memo", "_version", "_weights", "probes")

    def __init__(self, config: HfConfig, weights: HeaderTotals | None, version: EngineVersion) -> None:
        self._config = config
        self._version = version
        self._weights = WeightTotals(total_bytes=weights.total_bytes, bytes_by_dtype=dict(weights.bytes_by_dtype)) if weights else None
        self._memo: dict[tuple[EngineArgs, Gpu, int | None], Estimate] = {}
        self._layouts: dict[tuple[EngineArgs, Gpu], KvCacheLayout] = {}
        # The utilisation computed last for a GPU and tensor parallel size: a probe that guesses it saves the second estimate.
        self.probes: dict[tuple[Gpu, int | None], int] = {}

    def estimate(self, args: EngineArgs, gpu: Gpu) -> Estimate:
        """The estimate at these arguments. Raises Unsupported (no rule) and InvalidInput (bad value)."""
        return self._estimate(args, gpu, None)

    def estimate_with_pool(self, args: EngineArgs, gpu: Gpu, available_kv_cache_bytes: int) -> Estimate:
        """The same with the KV pool given instead of predicted."""
        return self._estimate(args, gpu, max(0, available_kv_cache_bytes))

    def kv_layout(self, resolved: ResolvedArgs) -> KvCacheLayout:
        """How the KV cache is cut into groups and blocks; the same at every utilisation."""
        given = replace(resolved.given, gpu_memory_utilization=None)
        if given.limit_mm_per_prompt is not None:  # a mapping: cannot be a key
            return kv_cache_layout(self._config, resolved)
        found = self._layouts.get((given, resolved.gpu))
        if found is None:
            if len(self._layouts) >= MAX_REMEMBERED:
                self._layouts.clear()
            found = self._layouts[given, resolved.gpu] = kv_cache_layout(self._config, resolved)
        return found

    def _estimate(self, args: EngineArgs, gpu: Gpu, pool: int | None) -> Estimate:
        if args.limit_mm_per_prompt is not None:  # a mapping: cannot be a key
            return self._ask(args, gpu, pool)
        key = (args, gpu, pool)
        found = self._memo.get(key)
        if found is None:
            if len(self._memo) >= MAX_REMEMBERED:
                self._memo.clear()
            found = self._memo[key] = self._ask(args, gpu, pool)
        return found

    def _ask(self, args: EngineArgs, gpu: Gpu, pool: int | None) -> Estimate:
        return estimate(self._config, args, gpu, self._version, weights=self._weights, available_kv_cache_bytes=pool)


def engine_for(model: ModelFacts, version: EngineVersion) -> Engine:
    """The engine of a shape; the same one for the same config object, totals and release."""
    return _engine(model.config, model.weights, version)


@lru_cache(maxsize=64)
def _engine(config: HfConfig, weights: HeaderTotals | None, version: EngineVersion) -> Engine:
    return Engine(config, weights, version)
