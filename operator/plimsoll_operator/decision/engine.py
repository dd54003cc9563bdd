"""The estimator as decisions use it: one model and release, every set of arguments worked out once for all budgets.

Shared by decisions on the same shape; estimates are pure, so remembering them changes nothing but time. Refusals are
values, doubt about the model is raised as Unsupported.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import WeightTotals, prepare
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.prepared import Prepared
from plimsoll_estimator.resolve.facts import num_experts, query_heads
from plimsoll_estimator.resolved import Estimate, Gpu
from plimsoll_operator.decision.layouts import Counts
from plimsoll_operator.facts import ModelFacts
from plimsoll_operator.facts import WeightTotals as HeaderTotals

MAX_REMEMBERED: Final = 1024


class Engine:
    """Remembers what it prepared by arguments and GPU; the same question costs a look-up. Bounded: a full memory starts afresh."""

    __slots__ = ("_config", "_memo", "_version", "_weights", "counts")

    def __init__(self, config: HfConfig, weights: HeaderTotals | None, version: EngineVersion) -> None:
        self._config = config
        self._version = version
        self._weights = WeightTotals(total_bytes=weights.total_bytes, bytes_by_dtype=dict(weights.bytes_by_dtype)) if weights else None
        self._memo: dict[tuple[EngineArgs, Gpu], Prepared | Estimate] = {}
        layers = config.text.int_or_none("num_hidden_layers", "n_layer", "n_layers", "num_layers")
        self.counts = Counts(layers=layers, heads=query_heads(config), has_experts=num_experts(config) > 0)

    def prepare(self, args: EngineArgs, gpu: Gpu) -> Prepared | Estimate:
        """The replica before its budget is chosen, or vLLM's refusal of these arguments.

        Raises Unsupported (no rule) and InvalidInput (bad value).
        """
        if args.limit_mm_per_prompt is not None:  # a mapping: cannot be a key
            return self._ask(args, gpu)
        key = (args, gpu)
        found = self._memo.get(key)
        if found is None:
            found = self._ask(args, gpu)
            if len(self._memo) >= MAX_REMEMBERED:
                self._memo.clear()
            self._memo[key] = found
        return found

    def _ask(self, args: EngineArgs, gpu: Gpu) -> Prepared | Estimate:
        return prepare(self._config, args, gpu, self._version, weights=self._weights)


def engine_for(model: ModelFacts, version: EngineVersion) -> Engine:
    """The engine of a shape; the same one for the same config object, totals and release."""
    return _engine(model.config, model.weights, version)


@lru_cache(maxsize=64)
def _engine(config: HfConfig, weights: HeaderTotals | None, version: EngineVersion) -> Engine:
    return Engine(config, weights, version)
