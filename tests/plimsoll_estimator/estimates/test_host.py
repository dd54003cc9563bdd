"""Load time: ranges that order as storage does, and start-up terms that eager engines skip."""

from __future__ import annotations

from plimsoll_estimator.host import checkpoint_bytes, load_times, phase_times


def test_load_time_is_bytes_over_bandwidth_plus_start_up() -> None:
    disk, volume, hub = load_times(60 * 10**9)
    assert (disk.at_best_seconds, disk.at_worst_seconds) == (25 + 10, 195 + 30)
    assert disk.at_worst_seconds < volume.at_worst_seconds < hub.at_worst_seconds
    assert all(time.at_best_seconds < time.at_worst_seconds for time in (disk, volume, hub))


def test_eager_engines_neither_compile_nor_capture() -> None:
    eager, graphs = load_times(10**9, enforce_eager=True)[0], load_times(10**9)[0]
    assert eager.at_worst_seconds == graphs.at_worst_seconds - 150


def test_bytes_to_read_are_all_ranks_together() -> None:
    assert checkpoint_bytes((10, 12), 2) == 44


def test_phases_are_what_the_whole_is_made_of_and_eager_engines_read_alone() -> None:
    """Beside imports and CUDA, which no engine logs."""
    disk, _, hub = load_times(60 * 10**9)
    phases = phase_times(60 * 10**9)
    assert [row.phase for row in phases] == ["read_seconds", "compile_seconds", "capture_seconds"]
    assert sum(row.at_best_seconds for row in phases) == disk.at_best_seconds - 15
    assert sum(row.at_worst_seconds for row in phases) == hub.at_worst_seconds - 45
    assert phase_times(60 * 10**9, enforce_eager=True) == phases[:1]
