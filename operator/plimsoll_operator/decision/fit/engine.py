"""The estimator as decisions use it: one model and release, every set of arguments worked out once for all budgets.

What is known of a shape is shared by decisions on it; estimates are pure, so remembering them changes nothing but time. What a
decision may ask is its own: its effort is spent by every question, remembered or not. Refusals are values, doubt about the model is
raised as Unsupported.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator import (
    Corrections,
    EngineArgs,
    EngineVersion,
    Estimate,
    Gpu,
    HfConfig,
    LayoutBounds,
    Prepared,
    WeightTotals,
    answers_bytes,
    layout_bounds,
    prepare,
    read_bytes,
)
from plimsoll_operator.decision.effort import Effort
from plimsoll_operator.facts import AppliedCorrection, ModelFacts
from plimsoll_operator.gather import config_bytes
from plimsoll_operator.remembered import Remembered

MAX_REMEMBERED: Final = 1024
"""Arguments and GPUs of one shape: a refusal on every layout of five cards takes about 200."""
_PREPARED_BYTES: Final = 6 << 10
"""What one of them keeps, its arguments included; measured, rounded up."""
_BYTES_OF: Final = {
    "weights": "weights_bytes", "activation": "activation_bytes", "cudaGraphs": "cuda_graph_bytes", "nonTorch": "non_torch_bytes",
    "outsideBudget": "outside_budget_bytes", "ownStarts": "non_torch_bytes",
}  # fmt: skip


class _Shape:
    """Remembers what it prepared by arguments and GPU; the same question costs a look-up. Bounded: a full memory starts afresh."""

    __slots__ = ("_checkpoints", "_config", "_corrections", "_memo", "_of_configs_bytes", "_version", "_weights", "counts")

    def __init__(
        self,
        config: HfConfig,
        weights: WeightTotals | None,
        version: EngineVersion,
        corrections: tuple[AppliedCorrection, ...],
        of_configs_bytes: int,
    ) -> None:
        self._config = config
        self._of_configs_bytes = of_configs_bytes
        self._corrections = corrections
        self._version = version
        self._weights = weights
        self._checkpoints: dict[Gpu, int | None] = {}
        self._memo: dict[tuple[EngineArgs, Gpu], Prepared | Estimate] = {}
        self.counts = layout_bounds(config)

    @property
    def kept_bytes(self) -> int:
        """What it keeps alive: the configs with what was worked out from the target's, and what it has prepared so far."""
        return self._of_configs_bytes + answers_bytes(self._config) + _PREPARED_BYTES * (len(self._memo) + len(self._checkpoints))

    def prepare(self, args: EngineArgs, gpu: Gpu) -> Prepared | Estimate:
        """The replica before its budget is chosen, or vLLM's refusal of these arguments.

        Raises Unsupported (no rule) and InvalidInput (bad value).
        """
        if not args.hashable:
            return self._ask(args, gpu)
        key = (args, gpu)
        found = self._memo.get(key)
        if found is None:
            found = self._ask(args, gpu)
            if len(self._memo) >= MAX_REMEMBERED:
                self._memo.clear()
            self._memo[key] = found
        return found

    def checkpoint_bytes(self, gpu: Gpu) -> int | None:
        """The checkpoint's files; None where that has no rule (`read_bytes`)."""
        if gpu not in self._checkpoints:
            self._checkpoints[gpu] = read_bytes(self._config, gpu, self._version, self._weights)
        return self._checkpoints[gpu]

    def _ask(self, args: EngineArgs, gpu: Gpu) -> Prepared | Estimate:
        prepared = prepare(self._config, args, gpu, self._version, weights=self._weights)
        if isinstance(prepared, Estimate) or not self._corrections:
            return prepared
        counted = corrections_for(self._corrections, prepared)
        added = dict.fromkeys((_BYTES_OF[row.component] for row in counted), 0)
        for row in counted:
            added[_BYTES_OF[row.component]] += row.add_bytes
        return prepared.corrected(Corrections(**added)) if counted else prepared


class Engine:
    """One decision's questions about a shape."""

    __slots__ = ("_effort", "_shape")

    def __init__(self, shape: _Shape, effort: Effort) -> None:
        self._shape = shape
        self._effort = effort

    @property
    def counts(self) -> LayoutBounds:
        """What of the model bounds its layouts."""
        return self._shape.counts

    def look(self) -> None:
        """Spend one look on work that is no estimate."""
        self._effort.look()

    def prepare(self, args: EngineArgs, gpu: Gpu) -> Prepared | Estimate:
        """The replica before its budget is chosen, or vLLM's refusal of these arguments.

        Raises Unsupported (no rule), InvalidInput (bad value), and what ends the decision's effort.
        """
        self._effort.look()
        return self._shape.prepare(args, gpu)

    def checkpoint_bytes(self, gpu: Gpu) -> int | None:
        """The checkpoint's files on the disk; None where that has no rule."""
        self._effort.look()
        return self._shape.checkpoint_bytes(gpu)


def corrections_for(corrections: tuple[AppliedCorrection, ...], prepared: Prepared) -> tuple[AppliedCorrection, ...]:
    """Those of the release's minor that hold for such an estimate, one a component: the narrowest, that of the product itself first."""
    resolved = prepared.resolved
    version, gpu = resolved.version, resolved.gpu
    connected = gpu.interconnect if resolved.tensor_parallel_size * resolved.pipeline_parallel_size > 1 else "none"
    asked = ((gpu.product, "product"), (connected, "interconnect"), (prepared.cause, "cause_of_doubt"))
    minor = [row for row in corrections if row.engine_minor == f"{version.major}.{version.minor}"]
    holding = [row for row in minor if all(getattr(row, name) in (None, value) for value, name in asked)]
    found = {row.component: row for row in sorted(holding, key=lambda row: row.narrowness)}
    return tuple(found[component] for component in sorted(found))


_SHAPES: Final[Remembered[tuple[object, ...], _Shape]] = Remembered("engines", 32 << 20, lambda shape: shape.kept_bytes)


def engine_for(
    model: ModelFacts,
    version: EngineVersion,
    corrections: tuple[AppliedCorrection, ...] = (),
    effort: Effort | None = None,
    draft: HfConfig | None = None,
) -> Engine:
    """The engine of a shape, on this decision's effort; what is remembered is shared by the same config, totals, release, corrections.

    And by the same draft model: what is prepared keeps it alive, and a popular model must not keep everybody's drafts.
    """
    key = (model.config, model.weights, version, corrections, draft)

    def make() -> _Shape:
        kept = sum(config_bytes(config) for config in (model.config, draft) if config is not None)
        return _Shape(model.config, model.weights, version, corrections, kept)

    shape = _SHAPES.ask(key, make)
    _SHAPES.keep(key, shape)  # it has grown since it was asked last
    return Engine(shape, effort or Effort())
