"""The longest request that fits is found where a need grows evenly, in steps, or stops growing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from plimsoll_estimator.kv_cache.layout import _longest_within

steps = st.tuples(st.integers(1, 64), st.integers(0, 9), st.integers(0, 500), st.integers(0, 20))


@given(st.lists(steps, min_size=1, max_size=3), st.integers(-5, 4000), st.integers(1, 400), st.sampled_from((1, 16, 64, 256)))
@example([(16, 1, 500, 0)], 10, 400, 16)
def test_it_is_the_last_length_that_needs_no_more(layers: list[tuple[int, int, int, int]], limit: int, upper: int, block: int) -> None:
    def needed(length: int) -> int:
        return sum(count * (-(-min(window, length) // size) + more) for size, count, window, more in layers)

    fitting = [length for length in range(1, upper + 1) if needed(length) <= limit]
    assert _longest_within(limit, needed, upper, block) == max(fitting, default=0)
