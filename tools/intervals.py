"""Calibrates the intervals of the KV pool on starts that were logged, and writes data/intervals.json, which the estimator ships.

    python -m tools.intervals            calibrate and write the constants
    python -m tools.intervals --refit    first refit the constants of overheads.json without each source (minutes), for the residuals

A residual is what was predicted less what was logged, from an estimator that had not the row's source:

    main table      the constants refitted without the source (`blind_residuals.json`)
    batches         two: what was predicted when the batch was first scored (unseen/first_answers.json), and what is predicted today. No
                    constant is fitted to a batch, but rules were mended for what batches showed: today's residual is what the
                    mended estimator does, the first one what the estimator of that hour did with starts nobody had looked at

Half of an interval is a factor times a scale (`BASE_GIB` and a share of what is estimated beside the weights), beside what is doubted
openly. Each cause of doubt (`plimsoll_estimator.overhead.intervals.CAUSES`) has its factor: the quantile `LEVEL` of its
residuals of today. What is said to users is the share of first answers that such intervals hold, which no row that it counts can
have improved: a start that is new today may expect that or better.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools import unseen
from tools.measured_starts import GIB, ROOT, ROUNDING_GIB, blind_errors, case_of, representatives

from plimsoll_estimator.cases import prepared_case
from plimsoll_estimator.overhead.intervals import CAUSES, Cause
from plimsoll_estimator.overhead.uncertainty import doubt_of, label_bytes
from plimsoll_estimator.resolved import Estimate

OUT = ROOT / "estimator" / "plimsoll_estimator" / "data" / "intervals.json"
BLIND = ROOT / "tests" / "data" / "blind_residuals.json"
BASE_GIB: Final = 0.3
SHARE_OF_OVERHEAD: Final = 0.2
"""The scale: chosen once, the factors are what is calibrated."""
LEVEL: Final = 0.93
LEAST_FACTOR: Final = 0.9
"""Starts that nobody had looked at kept within it: below, causes whose few logged starts lie close promise what new ones do not hold."""
ALL: Final = "all logged starts"
FIRST: Final = "starts when they were first scored"
NEW: Final = "release or GPU never measured elsewhere"
TITLES: Final[Mapping[Cause, str]] = {
    "experts": "a mixture of experts",
    "delta_net": "Gated DeltaNet",
    "encoder": "a vision encoder",
    "several_gpus": "several GPUs",
    "v2_cold": "V2 runner, may compile",
    "v2": "V2 runner, finds its graphs compiled or is eager",
    "v1_cold": "V1 runner, may compile",
    "v1": "V1 runner, finds its graphs compiled, is eager, or copies nothing",
}


@dataclass(frozen=True, slots=True)
class Logged:
    """One measurement: its residuals (GiB, predicted less logged), the scale of its interval, what is doubted openly on either side."""

    source: str
    release: str
    gpu: str
    cause: Cause
    scale_gib: float
    below_gib: float
    above_gib: float
    blind: float
    """Of an estimator without its source: refitted, or today's where no constant was fitted to it."""
    first: float | None
    """Of a batch: when it was first scored."""

    def score(self, error: float) -> float:
        """How often the scale the half-width must be to hold this error."""
        beyond = error - self.below_gib if error > 0 else -error - self.above_gib
        return max(0.0, beyond - ROUNDING_GIB) / self.scale_gib

    def half_gib(self, factor: float) -> tuple[float, float]:
        """Both halves."""
        return factor * self.scale_gib + self.below_gib, factor * self.scale_gib + self.above_gib


def logged_starts() -> list[Logged]:
    """Every measurement whose pool was logged and is judged: the main table's, once each, and the batches'."""
    blind = json.loads(BLIND.read_text(encoding="utf-8"))["residuals"]
    found = [one for row, case in representatives() if (one := _logged(row, case, row["source"], blind.get(row["id"]), None))]
    for file, first in unseen.first_answers().items():
        for result in unseen.batch(unseen.FOLDER / file):
            row, today = result.row, unseen.pool_error(result)
            answer = first.get(row["id"])
            if answer is not None and today is not None:
                one = _logged(row, case_of(row), source_of(row["url"]), today, answer - row["observed"]["pool"])
                found += [one] if one else []
    return found


def _logged(row: Mapping[str, Any], case: Mapping[str, Any], source: str, blind: float | None, first: float | None) -> Logged | None:
    built = prepared_case(case, lambda _: None)
    if isinstance(built, Estimate) or blind is None:
        return None
    doubt, (below, above) = doubt_of(built.widths, built.resolved), label_bytes(built.resolved)
    assert doubt.cause is not None, row["id"]
    return Logged(
        source=source,
        release=".".join(case["engine_version"].split(".")[:2]),
        gpu=str(case["gpu"].get("product")),
        cause=doubt.cause,
        scale_gib=BASE_GIB + SHARE_OF_OVERHEAD * built.overheads[0].charged_bytes / GIB,
        below_gib=(below + doubt.below) / GIB,
        above_gib=(above + doubt.above) / GIB,
        blind=blind,
        first=first,
    )


def source_of(url: str) -> str:
    """The repository, or the page, that an address is of."""
    words = url.removeprefix("https://").split(" ")[0]
    return "/".join(words.split("/")[:3]) if words.startswith("github.com/") else words


def factors_of(starts: Iterable[Logged]) -> dict[str, float]:
    """The factor of each cause: the quantile `LEVEL` of its scores, the one above where it falls between two."""
    scores: dict[str, list[float]] = defaultdict(list)
    for start in starts:
        scores[start.cause].append(start.score(start.blind))
    every = sorted(score for some in scores.values() for score in some)
    return {cause: round(max(LEAST_FACTOR, quantile(scores.get(cause) or every)), 2) for cause in CAUSES}


def quantile(scores: Sequence[float]) -> float:
    """The conformal quantile: of n scores the one that LEVEL x (n + 1) are at or below, the largest where there are too few."""
    return sorted(scores)[min(len(scores), math.ceil(LEVEL * (len(scores) + 1))) - 1]


def left_out(starts: Sequence[Logged]) -> list[tuple[Logged, float]]:
    """Each start with the factor that all other sources give it."""
    found = []
    for source in sorted({start.source for start in starts}):
        factors = factors_of(start for start in starts if start.source != source)
        found += [(start, factors[start.cause]) for start in starts if start.source == source]
    return found


def held(pairs: Iterable[tuple[Logged, float]], error: Callable[[Logged], float | None]) -> tuple[int, int]:
    """(inside, of): how many starts' errors their interval holds."""
    found = [start.score(one) <= factor for start, factor in pairs if (one := error(start)) is not None]
    return sum(found), len(found)


def coverage(starts: Sequence[Logged]) -> dict[str, list[int]]:
    """What is measured of the intervals, always with the start's own source left out: [inside, of]."""
    pairs = left_out(starts)
    measured = {(s.release, s.gpu, s.source) for s in starts}
    rows: dict[str, tuple[int, int]] = {ALL: held(pairs, lambda s: s.blind)}
    rows[FIRST] = held(pairs, lambda s: s.first)
    for cause in CAUSES:
        rows[cause] = held([p for p in pairs if p[0].cause == cause], lambda s: s.blind)
    rows[NEW] = held([p for p in pairs if _new(p[0], measured)], lambda s: s.blind)
    return {name: list(pair) for name, pair in rows.items()}


def _new(start: Logged, measured: Iterable[tuple[str, str, str]]) -> bool:
    others = [(release, gpu) for release, gpu, source in measured if source != start.source]
    return start.release not in {release for release, _ in others} or start.gpu not in {gpu for _, gpu in others}


def calibrated(starts: Sequence[Logged]) -> dict[str, Any]:
    """data/intervals.json."""
    factors, found = factors_of(starts), coverage(starts)
    inside, of = found[FIRST]
    return {
        "about": "Written by tools/intervals.py from logged starts (docs/accuracy.md: Intervals). Half of an interval is the factor of the "
        "start's cause times (base_gib + share_of_overhead x what is estimated beside the weights), beside what is doubted openly.",
        "base_gib": BASE_GIB,
        "share_of_overhead": SHARE_OF_OVERHEAD,
        "factors": factors,
        "covered_percent": 100 * inside // of,
        "coverage": found,
        "median_width_gib": round(statistics.median(sum(s.half_gib(factors[s.cause])) for s in starts), 2),
    }


def page_rows(shipped: Path = OUT) -> Iterator[tuple[str, str, str]]:
    """The table of docs/accuracy.md: every cause with its factor and what its intervals hold."""
    found = json.loads(shipped.read_text(encoding="utf-8"))
    for cause in CAUSES:
        yield TITLES[cause], f"{found['factors'][cause]:.2f}", "{} of {}".format(*found["coverage"][cause])
    yield f"any of them: {NEW}", "", "{} of {}".format(*found["coverage"][NEW])


def refit() -> None:
    """Write the main table's residuals with the constants refitted without each source."""
    document = json.loads(BLIND.read_text(encoding="utf-8"))
    document["residuals"] = {name: round(error, 3) for name, error in sorted(blind_errors().items())}
    BLIND.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Calibrate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refit", action="store_true", help="refit the constants without each source first")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if options.refit:
        refit()
    found = calibrated(logged_starts())
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: found[key] for key in ("factors", "covered_percent", "coverage", "median_width_gib")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
