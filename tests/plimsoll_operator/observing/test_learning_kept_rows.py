"""What the calibration would have made of the logged starts that we keep, each source's own left out."""

from functools import cache

import pytest
from tools.learning import as_one_cluster, corrected, kept_starts

from plimsoll_estimator import GIB
from plimsoll_operator.learning import Seen, learn

pytestmark = pytest.mark.thorough


@cache
def starts() -> tuple[Seen, ...]:
    return tuple(kept_starts())


def errors(shift_gib: float) -> tuple[list[int], list[int]]:
    """Of every start, before and after what the other sources teach, smallest first."""
    pairs = list(corrected(as_one_cluster(starts(), shift_gib), lambda start: start.namespace))
    return sorted(abs(start.residual_bytes) for start, _ in pairs), sorted(abs(start.residual_bytes - add) for start, add in pairs)


def test_starts_that_need_no_correction_teach_none() -> None:
    """Of public rows hardly two sources have logged the same release on the same GPU: nothing is learned, and nothing made worse."""
    assert len(starts()) > 200
    assert [row.add_bytes for row in learn((), starts()).corrections if row.add_bytes] == []
    before, after = errors(0.0)
    assert before == after


def test_what_all_engines_of_a_cluster_take_more_is_learned_from_the_others() -> None:
    before, after = errors(1.0)
    middle = len(before) // 2
    assert before[middle] > 0.9 * GIB
    assert after[middle] < 0.3 * GIB
