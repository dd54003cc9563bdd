"""What the calibration would have learned from the logged starts that we keep, and what that does to others. Prints; writes nothing.

    python -m tools.learning     before and after, with each start's own source left out, then with its own model left out

A source (a repository, a page) stands for a namespace: it is who logged the start. The residuals are those of the intervals
(tools.intervals): of an estimator that had not the row's source, without any correction. Nothing is fitted to the result.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tools import unseen
from tools.intervals import BLIND, source_of
from tools.measured_starts import GIB, case_of, representatives

from plimsoll_estimator.cases import prepared_case
from plimsoll_estimator.resolved import Estimate
from plimsoll_operator.learning import Kind, Seen, kind_of, learn

PREDICTED: Final = 4 * GIB
"""Stands for what was predicted beside weights and cache: only the residual is learned from, and it is what is known of a row."""


def kept_starts() -> list[Seen]:
    """Every measurement whose pool was logged and is judged, with its residual, as a start of its source."""
    blind = json.loads(BLIND.read_text(encoding="utf-8"))["residuals"]
    found = [_seen(row, case, row["source"], blind.get(row["id"])) for row, case in representatives()]
    for file, first in unseen.first_answers().items():
        for result in unseen.batch(unseen.FOLDER / file):
            if result.row["id"] in first:
                found.append(_seen(result.row, case_of(result.row), source_of(result.row["url"]), unseen.pool_error(result)))
    return [start for start in found if start is not None]


def _seen(row: Mapping[str, Any], case: Mapping[str, Any], source: str, residual: float | None) -> Seen | None:
    built = prepared_case(case, lambda _: None)
    if isinstance(built, Estimate) or residual is None:
        return None
    resolved = built.resolved
    several = resolved.tensor_parallel_size * resolved.pipeline_parallel_size > 1
    kind = Kind(
        engine_minor=f"{resolved.version.major}.{resolved.version.minor}",
        product=resolved.gpu.product,
        interconnect=resolved.gpu.interconnect if several else "none",
        cause=built.cause,
    )
    model = str(case.get("model") or row["id"])
    return Seen(kind=kind, model=model, namespace=source, predicted_bytes=PREDICTED, observed_bytes=PREDICTED + int(residual * GIB))


def corrected(starts: Sequence[Seen], same: Callable[[Seen], str]) -> Iterator[tuple[Seen, int]]:
    """Each start with what all that is not `same` teaches of its kind, in bytes; 0 where that is nothing."""
    for name in sorted({same(start) for start in starts}):
        learned = learn((), [start for start in starts if same(start) != name])
        added = {kind_of(row): row.add_bytes for row in learned.corrections}
        yield from ((start, added.get(start.kind, 0)) for start in starts if same(start) == name)


def lines(title: str, pairs: Sequence[tuple[Seen, int]]) -> Iterator[str]:
    """Errors before and after, of all starts and of those that something was learned for."""
    moved = [(start, add) for start, add in pairs if add]
    yield f"{title}: {len(pairs)} starts, something is learned for {len(moved)} of them"
    for name, some in (("all", pairs), ("those", moved)):
        if some:
            before = sorted(abs(start.residual_bytes) / GIB for start, _ in some)
            after = sorted(abs(start.residual_bytes - add) / GIB for start, add in some)
            yield f"  {name}: median error {_figures(before)} before, {_figures(after)} after"
    for start, add in moved:
        now = (start.residual_bytes - add) / GIB
        yield f"    {start.kind}: {start.model}: {start.residual_bytes / GIB:+.2f} before, {now:+.2f} after"


def _source(start: Seen) -> str:
    return start.namespace


def _figures(errors: Sequence[float]) -> str:
    return f"{statistics.median(errors):.2f} GiB (nine of ten within {errors[int(0.9 * (len(errors) - 1))]:.2f}, worst {errors[-1]:.2f})"


def as_one_cluster(starts: Sequence[Seen], more_gib: float) -> list[Seen]:
    """The same residuals as if all had run on one release and GPU, where every engine takes so much more: only the cause tells kinds apart.

    What is invented is the shift; how starts of one kind differ among themselves is as it was logged, and more, since they are of many.
    """
    more = int(more_gib * GIB)
    return [
        replace(
            start,
            kind=replace(start.kind, engine_minor="0.0", product="any", interconnect="none"),
            observed_bytes=start.observed_bytes + more,
        )
        for start in starts
    ]


def main() -> int:
    """Print both."""
    starts = kept_starts()
    print("\n".join(lines("source left out", list(corrected(starts, _source)))))
    print("\n".join(lines("model left out", list(corrected(starts, lambda start: start.model)))))
    for more_gib in (0.0, 1.0):
        title = f"as one cluster that takes {more_gib:.1f} GiB more, source left out"
        print("\n".join(line for line in lines(title, list(corrected(as_one_cluster(starts, more_gib), _source))) if line[:4] != "    "))
    learned = [row for row in learn((), starts).corrections if row.add_bytes]
    print(f"of all starts together: {len(learned)} corrections of {len({start.kind for start in starts})} kinds")
    for row in learned:
        print(f"    {kind_of(row)}: {row.add_bytes / GIB:+.2f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
