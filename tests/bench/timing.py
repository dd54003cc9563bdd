"""How the benchmarks measure and print: CPU time of this process, the median and the least of many rounds, beside a floor.

A floor is work that no implementation could leave out (parsing the model's config, reading the manifest), measured in the same
run: its ratio is what to compare between machines and between days.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import forget_pairs
from plimsoll_operator.remembered import forget_everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Microseconds of CPU, per call."""

    median: float
    least: float


Row: TypeAlias = tuple[str, Taken, float | None, Taken]
"""What, its time, the target in microseconds or None, and the floor."""


def taken(action: Callable[[], object], rounds: int, *, before: Callable[[], object] = lambda: None, calls: int = 1) -> Taken:
    """Time `action`, which makes `calls` calls, `rounds` times; `before` each time is not counted."""
    times = []
    for _ in range(rounds):
        before()
        start = time.process_time_ns()
        action()
        times.append((time.process_time_ns() - start) / 1000 / calls)
    return Taken(median=statistics.median(times), least=min(times))


def least_of(actions: Mapping[str, Callable[[], object]], rounds: int, *, calls: int = 1) -> dict[str, Taken]:
    """Time each of these `rounds` times, one after the other in each round, so that a busy second is everybody's."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(taken(action, 1, calls=calls).least)
    return {name: Taken(median=statistics.median(found), least=min(found)) for name, found in times.items()}


def forget(*configs: HfConfig) -> None:
    """Empty every bounded memory of the two packages, as in a process that has just read its tables. The tables stay.

    What was worked out from a config lives with it: the configs that a measurement holds are to be named.
    """
    for config in configs:
        config.kept.clear()
        config.text.kept.clear()
    forget_pairs()
    forget_everything()
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("plimsoll_estimator", "plimsoll_operator"):
            for value in vars(module).values():
                parameters = getattr(value, "cache_parameters", None)
                if parameters is not None and parameters()["maxsize"] is not None:
                    value.cache_clear()


def show(title: str, rows: Sequence[Row]) -> None:
    """A table of them."""
    print(f"\n{title}, microseconds of CPU\n  {'':44s} {'median':>9s} {'least':>9s} {'target':>9s}   {'x floor':>8s}")
    for name, time_, target, floor in rows:
        wanted = f"{target:9.0f}" if target is not None else " " * 9
        print(f"  {name:44s} {time_.median:9.1f} {time_.least:9.1f} {wanted}   {time_.least / floor.least:8.1f}")


def hold(rows: Sequence[Row]) -> None:
    """Every row with a target is within it."""
    for name, time_, target, _ in rows:
        assert target is None or time_.median <= target, name
