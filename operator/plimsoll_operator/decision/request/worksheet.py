"""The capacity worksheet: from request classes to what one engine must hold. Pure integer arithmetic, needs rounded up.

Read from `spec.workload` by `request`, laid out in blocks by `fit`. Knows requests and tokens; refuses to know GPUs, models and
prices. `docs/workload.md` has every formula and the reason for every number of the presets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from plimsoll_estimator import Requests, ceil_div
from plimsoll_operator.api import RequestClass, WorkloadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One request class: `in_flight` requests over all replicas at the peak, each of `tokens`, `shared_tokens` of them common."""

    name: str
    tokens: int
    in_flight: int
    shared_tokens: int
    percentile: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraffic:
    """What one engine must hold at the peak: its requests, and the headroom on the KV cache they need."""

    requests: tuple[Requests, ...]
    headroom_percent: int

    @property
    def in_flight(self) -> int:
        """Requests that run at the same time: max_num_seqs."""
        return sum(requests.count for requests in self.requests)

    @property
    def kv_tokens(self) -> int:
        """Tokens in the cache, each counted once, headroom added. Blocks, windows and recurrent state are the layout's business."""
        held = sum(r.count * (r.tokens - r.shared_tokens) + (r.shared_tokens if r.count else 0) for r in self.requests)
        return self.with_headroom(held)

    def with_headroom(self, need: int) -> int:
        """The need, in tokens or blocks, with the headroom on top."""
        return ceil_div(need * (100 + self.headroom_percent), 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worksheet:
    """What the whole deployment must serve."""

    loads: tuple[Load, ...]
    headroom_percent: int

    @property
    def longest(self) -> Load:
        """The class with the longest requests; of several, the first by name."""
        return min(self.loads, key=lambda load: (-load.tokens, load.name))

    @property
    def max_model_len(self) -> int:
        """The context that the longest class needs, in tokens."""
        return self.longest.tokens

    @property
    def in_flight(self) -> int:
        """Requests of all classes at the peak."""
        return sum(load.in_flight for load in self.loads)

    def per_engine(self, engines: int) -> EngineTraffic:
        """The part of each of `engines` engines among which requests are spread evenly: every class rounds up."""
        return EngineTraffic(
            requests=tuple(
                Requests(count=ceil_div(load.in_flight, max(1, engines)), tokens=load.tokens, shared_tokens=load.shared_tokens)
                for load in self.loads
            ),
            headroom_percent=self.headroom_percent,
        )

    def split(self) -> tuple[Worksheet, Worksheet] | None:
        """The longest class alone and all the others; None with one class."""
        if len(self.loads) < 2:
            return None
        longest = self.longest
        rest = tuple(load for load in self.loads if load is not longest)
        return replace(self, loads=(longest,)), replace(self, loads=rest)


def worksheet_of(workload: WorkloadSpec | None) -> Worksheet | None:
    """Read the API's worksheet, a use case by its preset; None without one."""
    if workload is None:
        return None
    classes = workload.request_classes if workload.use_case is None else PRESETS[workload.use_case]
    return Worksheet(loads=tuple(_load(entry) for entry in classes), headroom_percent=workload.headroom_percent)


def _load(entry: RequestClass) -> Load:
    # The written decimal, not its binary neighbour: 10 requests at burst 1.1 are 11, not 12.
    peak = math.ceil(entry.concurrency * Fraction(str(entry.burst)))
    return Load(
        name=entry.name,
        tokens=entry.prompt_tokens + entry.output_tokens,
        in_flight=peak,
        shared_tokens=entry.prompt_tokens * entry.prefix_cache_hit_percent // 100,
        percentile=entry.percentile,
    )


def least_replicas(holds: Callable[[int], bool], above: int, most: int, hint: int = 0) -> int | None:
    """The least number in (above, most] that holds, where more replicas never hold less; None when not even `most` does.

    A `hint` near the answer saves most of the looks.
    """
    low, high = above, most + 1
    probe, step = min(max(hint or most, above + 1), most), 1
    while low < probe < high:
        if holds(probe):
            high, probe = probe, probe - step
        else:
            low, probe = probe, min(probe + step, most)
        step *= 2
    if high > most:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _preset(name: str, prompt: int, output: int, concurrency: int, burst: float, shared_percent: int) -> tuple[RequestClass, ...]:
    return (
        RequestClass(
            name=name,
            prompt_tokens=prompt,
            output_tokens=output,
            concurrency=concurrency,
            burst=burst,
            prefix_cache_hit_percent=shared_percent,
        ),
    )


PRESETS: Final[Mapping[str, tuple[RequestClass, ...]]] = MappingProxyType(
    {
        "chat": _preset("chat", 8192, 1024, 32, 1.5, 5),
        "rag": _preset("rag", 8192, 512, 16, 1.5, 10),
        "agents": _preset("agents", 32768, 2048, 8, 2.0, 25),
        "batch": _preset("batch", 4096, 512, 256, 1.0, 10),
    }
)
"""The use cases as request classes, lengths at the 95th percentile. docs/workload.md gives the reason and source of each number."""
