"""Moving pinned values, in the user's order and by the smallest step that fits. Called by `steps` and by `changes`.

A move ends in an Ask with the new value pinned, and the plan is what a search with that Ask finds: deciding a resized spec
again therefore gives the same plan. Knows the steps of each field; makes no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from plimsoll_estimator import round_up
from plimsoll_operator.api.inference_deployment import MOVABLE_FIELDS
from plimsoll_operator.decision.fit import utilisation
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.fit import CONTEXT_STEP, Look, longest_context
from plimsoll_operator.decision.fit.workload import least_values
from plimsoll_operator.decision.request.fields import FIELD_OF, engine_field
from plimsoll_operator.decision.request.request import Ask
from plimsoll_operator.decision.search.candidate import Candidate, Found, Missed
from plimsoll_operator.decision.search.candidates import candidates
from plimsoll_operator.decision.search.evaluate import evaluate
from plimsoll_operator.decision.search.products import Product
from plimsoll_operator.decision.search.search import search
from plimsoll_operator.verdict import Change, Plan

_STEP: Final = {"maxModelLen": CONTEXT_STEP, "maxNumSeqs": 1, "maxNumBatchedTokens": 64}
_ARGUMENT: Final = {engine_field(name): name for name in FIELD_OF if engine_field(name) in MOVABLE_FIELDS}
_LARGEST_SIZE: Final = 64  # the API's bound on each parallel size
_LEAST_SEQS: Final = 16
_LEAST_TOKENS: Final = 512
FP8: Final = "fp8"


class Mover:
    """Moves of one decision: the same engine, products and applied plan for all of them."""

    def __init__(self, engine: Engine, products: tuple[Product, ...], applied: Plan | None) -> None:
        self._engine = engine
        self._products = products
        self._applied = applied

    def search(self, ask: Ask) -> Found | tuple[Missed, ...]:
        """The plan at these pinned values, or the misses."""
        return search(self._engine, ask, self._products, self._applied)

    def resize(self, ask: Ask, why: str) -> tuple[Found, tuple[Change, ...]] | None:
        """One field after the other alone, then the first two together, the first three, and so on; None when nothing helps."""
        fields = [field for field in ask.may_change if pinned(ask, field) is not None]
        for count in range(1, len(fields) + 1):
            for group in [[field] for field in fields] if count == 1 else [fields[:count]]:
                settled = self._settled(ask, group)
                if settled is not None:
                    found, moved = settled
                    return found, _changes(ask, moved, group, why)
        return None

    def _settled(self, ask: Ask, fields: list[str]) -> tuple[Found, Ask] | None:
        """The fields moved together, and what a search finds with exactly these values pinned: deciding again finds the same."""
        moved = self._move_together(replace(ask, stages=ask.args.tensor_parallel_size is None), fields)
        found = self.search(moved) if moved is not None else None
        if moved is None or not isinstance(found, Found):
            return None
        filled = _filled(moved, fields, found)
        again = self.search(filled) if filled != moved else found
        return (again, filled) if isinstance(again, Found) else None

    def _move_together(self, ask: Ask, fields: list[str]) -> Ask | None:
        """All but the last as far as they go, the last by its smallest step; then each of the others back as far as it can."""
        moved = ask
        for field in fields[:-1]:
            moved = self._furthest(moved, field)
        settled = self.settle(moved, fields[-1])
        if settled is None:
            return None
        for field in fields[:-1]:
            undone = settled.with_args(**{_ARGUMENT[field]: pinned(ask, field)})
            settled = undone if isinstance(self.search(undone), Found) else self.settle(undone, field) or settled
        return settled

    def _furthest(self, ask: Ask, field: str) -> Ask:
        """Parallel sizes and utilisation are left to the search."""
        served = least_values(ask)
        seqs = ask.args.max_num_seqs or _LEAST_SEQS
        furthest: dict[str, Any] = {
            "maxModelLen": max(ask.min_max_model_len, served.get("maxModelLen", 0)),
            "maxNumSeqs": max(min(_LEAST_SEQS, seqs), served.get("maxNumSeqs", 0)),
            "maxNumBatchedTokens": min(ask.args.max_num_batched_tokens or 1 << 30, max(_LEAST_TOKENS, seqs)),
            "kvCacheDtype": FP8,
        }
        return ask.with_args(**{_ARGUMENT[field]: furthest.get(field)})

    def settle(self, ask: Ask, field: str) -> Ask | None:
        """The ask with `field` moved by the smallest step that fits, None when no step does.

        A number we choose holds at the lower end of the estimate's interval; only where none does, the middle decides.
        """
        if field in _STEP:
            if pinned(ask, field) is not None and pinned(ask, field) < least_values(ask).get(field, 0):
                return self._raise(ask, field)
            return self._lower(ask, field)
        for value in self._alternatives(ask, field):
            tried = ask.with_args(**{_ARGUMENT[field]: value})
            found = self.search(tried)
            if isinstance(found, Found):
                exact = value if value is not None else utilisation.fraction(found.fit.thousandths)
                return ask.with_args(**{_ARGUMENT[field]: exact})
        return None

    def _alternatives(self, ask: Ask, field: str) -> Iterator[Any]:
        """Other values, the nearest first: parallel sizes upward, then downward."""
        value = pinned(ask, field)
        if field == "gpuMemoryUtilization":
            yield None
        elif field == "kvCacheDtype":
            if value is None or not str(value).startswith(FP8):
                yield FP8
        else:
            gpus = max((pool.gpus_per_node for product in self._products for pool in product.pools), default=0)
            most = min(ask.max_nodes * gpus, _LARGEST_SIZE)
            size = int(value or 1)
            yield from range(size + 1, most + 1)
            yield from range(min(size - 1, most), 0, -1)

    def _raise(self, ask: Ask, field: str) -> Ask | None:
        """A value below what the worksheet's requests need goes up to just that."""
        raised = ask.with_args(**{_ARGUMENT[field]: least_values(ask)[field]})
        return raised if isinstance(self.search(raised), Found) else None

    def _lower(self, ask: Ask, field: str) -> Ask | None:
        """The largest lower value at which some candidate surely fits, else at which one fits: each candidate's own, by bisection."""
        name, step = _ARGUMENT[field], _STEP[field]
        high = pinned(ask, field)
        low = self._least(ask, field, high)
        if high is not None and int(high) <= low:
            return None
        hopeful = self._fitting(ask.with_args(**{name: low}))
        for judged in (ask,) if ask.sure else (replace(ask, sure=True), ask):
            best = 0
            for candidate in hopeful:
                if best and self._fits(judged.with_args(**{name: best + step}), candidate) is None:
                    continue
                best = max(best, self._largest(judged, candidate, name, (max(low, best), int(high or 0), step)))
            if best:
                return ask.with_args(**{name: best})
        return None

    def _fitting(self, ask: Ask) -> list[Candidate]:
        """The candidates that fit this ask: what does not at the lowest value fits at no higher one."""
        found: list[Candidate] = []
        refused: set[str] = set()
        for candidate in candidates(self._engine, ask, self._products):
            if candidate.name in refused:
                continue
            result = evaluate(self._engine, ask, candidate)
            if isinstance(result, Found):
                found.append(candidate)
            elif result.miss.whatever_the_layout:
                refused.add(candidate.name)
        return found

    def _largest(self, ask: Ask, candidate: Candidate, name: str, bounds: tuple[int, int, int]) -> int:
        below, above, step = bounds

        def look(value: int) -> Look:
            found = evaluate(self._engine, ask.with_args(**{name: value}), candidate)
            return Look.at(found.fit if isinstance(found, Found) else found.miss)

        if name == "max_model_len":
            return longest_context(look, below, above, self._hint(ask, candidate))
        return bisect(below, above, step, lambda value: look(value).fits) if look(below).fits else 0

    def _fits(self, ask: Ask, candidate: Candidate) -> Found | None:
        found = evaluate(self._engine, ask, candidate)
        return found if isinstance(found, Found) else None

    def _hint(self, ask: Ask, candidate: Candidate) -> int | None:
        found = evaluate(self._engine, ask, candidate)
        return found.miss.estimated_max_model_len if isinstance(found, Missed) else None

    @staticmethod
    def _least(ask: Ask, field: str, high: Any) -> int:
        if field == "maxModelLen":
            return ask.min_max_model_len
        if field == "maxNumSeqs":
            return max(min(_LEAST_SEQS, int(high or 1)), least_values(ask).get(field, 0))
        return max(_LEAST_TOKENS, ask.args.max_num_seqs or 0)


def bisect(below: int, above: int, step: int, fits: Callable[[int], bool]) -> int:
    """The largest multiple of `step` in (below, above) that fits, or `below`, which is known to."""
    above = round_up(above, step)
    while (middle := (below + above) // 2 // step * step) > below:
        if fits(middle):
            below = middle
        else:
            above = middle
    return below


def pinned(ask: Ask, field: str) -> Any:
    """The pinned value of an API field, None when it is computed."""
    return getattr(ask.args, _ARGUMENT[field])


def _filled(ask: Ask, fields: list[str], found: Found) -> Ask:
    """Fields that were left to the search take the values it found."""
    open_fields = [_ARGUMENT[field] for field in fields if pinned(ask, field) is None]
    return ask.with_args(**{name: getattr(found.fit.args, name) for name in open_fields})


def _changes(ask: Ask, moved: Ask, fields: list[str], why: str) -> tuple[Change, ...]:
    pairs = [(field, pinned(ask, field), pinned(moved, field)) for field in fields]
    return tuple(Change(field=f"spec.engine.{field}", old=str(old), new=str(new), why=why) for field, old, new in pairs if old != new)
