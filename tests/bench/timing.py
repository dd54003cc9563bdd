"""How the benchmarks measure and print: CPU time of this process, the median and the least of many rounds, beside a floor.

A floor is work that no implementation could leave out (parsing the model's config, reading the manifest), measured in the same
run. What is held is the ratio of the two, the least of many rounds each: whatever else the machine does only adds, and how fast it is
counts on both sides. Microseconds are printed for who looks, and nothing is held to them.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import forget_pairs
from plimsoll_operator.remembered import forget_everything

FLOOR: Final = "floor"
"""The action that the others are held to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Microseconds of CPU, per call."""

    median: float
    least: float


Row: TypeAlias = tuple[str, Taken, float | None, Taken]
"""What, its time, the most floors that it may take or None, and the floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is timed: `run` makes `calls` calls; `before` it each time, not counted."""

    run: Callable[[], object]
    before: Callable[[], object] = lambda: None
    calls: int = 1


def taken(actions: Mapping[str, Action], rounds: int) -> dict[str, Taken]:
    """Time each of these `rounds` times, one after the other in each round, so that a busy second is everybody's and the floor's too."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            action.before()
            start = time.process_time_ns()
            action.run()
            times[name].append((time.process_time_ns() - start) / 1000 / action.calls)
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
    print(f"\n{title}, microseconds of CPU\n  {'':44s} {'median':>9s} {'least':>9s} {'floors':>9s} {'at most':>9s}")
    for name, time_, most, floor in rows:
        bound = f"{most:9g}" if most is not None else ""
        print(f"  {name:44s} {time_.median:9.1f} {time_.least:9.1f} {time_.least / floor.least:9.1f} {bound}")


def hold(rows: Sequence[Row]) -> None:
    """Every row that may take so many floors takes no more. Each that does not is named, with both figures."""
    slow = [
        f"{name}: {time_.least / floor.least:.1f} floors of {most:g}"
        for name, time_, most, floor in rows
        if most is not None and time_.least > most * floor.least
    ]
    assert not slow
