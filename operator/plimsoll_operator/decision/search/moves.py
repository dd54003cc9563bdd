"""Moving pinned values, in the user's order and by the smallest step that fits. Called by `steps` and by `changes`.

A move ends in a request with the new value pinned, and the plan is what a search with that request finds: deciding a resized spec
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
from plimsoll_operator.decision.request.request import DeploymentRequest
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

    def search(self, request: DeploymentRequest) -> Found | tuple[Missed, ...]:
        """The plan at these pinned values, or the misses."""
        return search(self._engine, request, self._products, self._applied)

    def resize(self, request: DeploymentRequest, why: str) -> tuple[Found, tuple[Change, ...]] | None:
        """One field after the other alone, then the first two together, the first three, and so on; None when nothing helps."""
        fields = [field for field in request.may_change if pinned(request, field) is not None]
        for count in range(1, len(fields) + 1):
            for group in [[field] for field in fields] if count == 1 else [fields[:count]]:
                settled = self._settled(request, group)
                if settled is not None:
                    found, moved = settled
                    return found, _changes(request, moved, group, why)
        return None

    def _settled(self, request: DeploymentRequest, fields: list[str]) -> tuple[Found, DeploymentRequest] | None:
        """The fields moved together, and what a search finds with exactly these values pinned: deciding again finds the same."""
        moved = self._move_together(replace(request, stages=request.args.tensor_parallel_size is None), fields)
        found = self.search(moved) if moved is not None else None
        if moved is None or not isinstance(found, Found):
            return None
        filled = _filled(moved, fields, found)
        again = self.search(filled) if filled != moved else found
        return (again, filled) if isinstance(again, Found) else None

    def _move_together(self, request: DeploymentRequest, fields: list[str]) -> DeploymentRequest | None:
        """All but the last as far as they go, the last by its smallest step; then each of the others back as far as it can."""
        moved = request
        for field in fields[:-1]:
            moved = self._furthest(moved, field)
        settled = self.settle(moved, fields[-1])
        if settled is None:
            return None
        for field in fields[:-1]:
            undone = settled.with_args(**{_ARGUMENT[field]: pinned(request, field)})
            settled = undone if isinstance(self.search(undone), Found) else self.settle(undone, field) or settled
        return settled

    def _furthest(self, request: DeploymentRequest, field: str) -> DeploymentRequest:
        """Parallel sizes and utilisation are left to the search."""
        served = least_values(request)
        seqs = request.args.max_num_seqs or _LEAST_SEQS
        furthest: dict[str, Any] = {
            "maxModelLen": max(request.min_max_model_len, served.get("maxModelLen", 0)),
            "maxNumSeqs": max(min(_LEAST_SEQS, seqs), served.get("maxNumSeqs", 0)),
            "maxNumBatchedTokens": min(request.args.max_num_batched_tokens or 1 << 30, max(_LEAST_TOKENS, seqs)),
            "kvCacheDtype": FP8,
        }
        return request.with_args(**{_ARGUMENT[field]: furthest.get(field)})

    def settle(self, request: DeploymentRequest, field: str) -> DeploymentRequest | None:
        """The request with `field` moved by the smallest step that fits, None when no step does.

        A number we choose holds at the lower end of the estimate's interval; only where none does, the middle decides.
        """
        if field in _STEP:
            if pinned(request, field) is not None and pinned(request, field) < least_values(request).get(field, 0):
                return self._raise(request, field)
            return self._lower(request, field)
        for value in self._alternatives(request, field):
            tried = request.with_args(**{_ARGUMENT[field]: value})
            found = self.search(tried)
            if isinstance(found, Found):
                exact = value if value is not None else utilisation.fraction(found.fit.thousandths)
                return request.with_args(**{_ARGUMENT[field]: exact})
        return None

    def _alternatives(self, request: DeploymentRequest, field: str) -> Iterator[Any]:
        """Other values, the nearest first: parallel sizes upward, then downward."""
        value = pinned(request, field)
        if field == "gpuMemoryUtilization":
            yield None
        elif field == "kvCacheDtype":
            if value is None or not str(value).startswith(FP8):
                yield FP8
        else:
            gpus = max((pool.gpus_per_node for product in self._products for pool in product.pools), default=0)
            most = min(request.max_nodes * gpus, _LARGEST_SIZE)
            size = int(value or 1)
            yield from range(size + 1, most + 1)
            yield from range(min(size - 1, most), 0, -1)

    def _raise(self, request: DeploymentRequest, field: str) -> DeploymentRequest | None:
        """A value below what the worksheet's requests need goes up to just that."""
        raised = request.with_args(**{_ARGUMENT[field]: least_values(request)[field]})
        return raised if isinstance(self.search(raised), Found) else None

    def _lower(self, request: DeploymentRequest, field: str) -> DeploymentRequest | None:
        """The largest lower value at which some candidate surely fits, else at which one fits: each candidate's own, by bisection."""
        name, step = _ARGUMENT[field], _STEP[field]
        high = pinned(request, field)
        low = self._least(request, field, high)
        if high is not None and int(high) <= low:
            return None
        hopeful = self._fitting(request.with_args(**{name: low}))
        for judged in (request,) if request.sure else (replace(request, sure=True), request):
            best = 0
            for candidate in hopeful:
                if best and self._fits(judged.with_args(**{name: best + step}), candidate) is None:
                    continue
                best = max(best, self._largest(judged, candidate, name, (max(low, best), int(high or 0), step)))
            if best:
                return request.with_args(**{name: best})
        return None

    def _fitting(self, request: DeploymentRequest) -> list[Candidate]:
        """The candidates that fit this request: what does not at the lowest value fits at no higher one."""
        found: list[Candidate] = []
        refused: set[str] = set()
        for candidate in candidates(self._engine, request, self._products):
            if candidate.name in refused:
                continue
            result = evaluate(self._engine, request, candidate)
            if isinstance(result, Found):
                found.append(candidate)
            elif result.miss.whatever_the_layout:
                refused.add(candidate.name)
        return found

    def _largest(self, request: DeploymentRequest, candidate: Candidate, name: str, bounds: tuple[int, int, int]) -> int:
        below, above, step = bounds

        def look(value: int) -> Look:
            found = evaluate(self._engine, request.with_args(**{name: value}), candidate)
            return Look.at(found.fit if isinstance(found, Found) else found.miss)

        if name == "max_model_len":
            return longest_context(look, below, above, self._hint(request, candidate))
        return bisect(below, above, step, lambda value: look(value).fits) if look(below).fits else 0

    def _fits(self, request: DeploymentRequest, candidate: Candidate) -> Found | None:
        found = evaluate(self._engine, request, candidate)
        return found if isinstance(found, Found) else None

    def _hint(self, request: DeploymentRequest, candidate: Candidate) -> int | None:
        found = evaluate(self._engine, request, candidate)
        return found.miss.estimated_max_model_len if isinstance(found, Missed) else None

    @staticmethod
    def _least(request: DeploymentRequest, field: str, high: Any) -> int:
        if field == "maxModelLen":
            return request.min_max_model_len
        if field == "maxNumSeqs":
            return max(min(_LEAST_SEQS, int(high or 1)), least_values(request).get(field, 0))
        return max(_LEAST_TOKENS, request.args.max_num_seqs or 0)


def bisect(below: int, above: int, step: int, fits: Callable[[int], bool]) -> int:
    """The largest multiple of `step` in (below, above) that fits, or `below`, which is known to."""
    above = round_up(above, step)
    while (middle := (below + above) // 2 // step * step) > below:
        if fits(middle):
            below = middle
        else:
            above = middle
    return below


def pinned(request: DeploymentRequest, field: str) -> Any:
    """The pinned value of an API field, None when it is computed."""
    return getattr(request.args, _ARGUMENT[field])


def _filled(request: DeploymentRequest, fields: list[str], found: Found) -> DeploymentRequest:
    """Fields that were left to the search take the values it found."""
    open_fields = [_ARGUMENT[field] for field in fields if pinned(request, field) is None]
    return request.with_args(**{name: getattr(found.fit.args, name) for name in open_fields})


def _changes(request: DeploymentRequest, moved: DeploymentRequest, fields: list[str], why: str) -> tuple[Change, ...]:
    pairs = [(field, pinned(request, field), pinned(moved, field)) for field in fields]
    return tuple(Change(field=f"spec.engine.{field}", old=str(old), new=str(new), why=why) for field, old, new in pairs if old != new)
