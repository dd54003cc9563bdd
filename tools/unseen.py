"""Scores a batch of starts that nobody had looked at, before it is used: the figure that a batch of rows is worth.

    python -m tools.unseen BATCH.jsonl             every start, and the figures of the batch
    python -m tools.unseen BATCH.jsonl --first     and writes them down as its first score, once, with today's date, and each pool

A batch is JSON Lines, one start a line:

    id         unlike any other of the batch
    url        where it was published
    case       the batch door's case without its id; `model` of the catalogue, or `model_config`
    config_patch, config_drop    as in startups.jsonl: what the model's file has otherwise, what it has not (both may be left out)
    observed   what vLLM logged, GiB on rank 0: weights, activation, non_torch, graph_pool, pool; tokens; concurrency (any may be left out)
    outcome    `started`, or a word for how it ended
    judged     of `pool` and `verdict` those that the source gives ground for
    assumed    what the source does not state, by name, and why it is believed; empty when every argument is stated

The batches are tests/data/unseen/*.jsonl, their first scores tests/data/unseen/first_scores.json. A first score is never changed: what
is learned from a batch shows in the row `today` of docs/accuracy.md, which accuracy.py writes with what is here. Starts on AMD GPUs
have the same form, judge nothing, and are tests/data/rocm_starts.jsonl.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.measured_starts import GIB, ROOT, ROUNDING_GIB, Measured, case_of

from plimsoll_estimator.cases import answer_case

FOLDER = ROOT / "tests" / "data" / "unseen"
ROCM = ROOT / "tests" / "data" / "rocm_starts.jsonl"
FIRST = FOLDER / "first_scores.json"
ANSWERS = FOLDER / "first_answers.json"
KEYS = frozenset({"id", "url", "case", "config_patch", "config_drop", "observed", "outcome", "judged", "assumed", "remark"})


def batch(path: Path) -> list[Measured]:
    """The starts of a batch and what is answered to them. Raises ValueError for a row that is not of the form above."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if not set(row) <= KEYS or not row["url"] or not set(row["judged"]) <= {"pool", "verdict"}:
            raise ValueError(f"{path.name}: {row['id']} is not a row of a batch")
        if "pool" in row["judged"] and "pool" not in row["observed"]:
            raise ValueError(f"{path.name}: {row['id']} has no pool to judge")
    if len({row["id"] for row in rows}) != len(rows):
        raise ValueError(f"{path.name}: an id twice")
    return [Measured(row, answer_case(case_of(row), lambda _: None)) for row in rows]


def verdict(result: Measured) -> str | None:
    """`right`, `false accept`, `false refusal`, `silent` (unsupported); None where the source gives no ground to judge."""
    if "verdict" not in result.row["judged"]:
        return None
    said, started = result.reply["verdict"], result.row["outcome"] == "started"
    if said == "unsupported":
        return "silent"
    if (said == "starts") == started:
        return "right"
    return "false accept" if said == "starts" else "false refusal"


def pool_error(result: Measured) -> float | None:
    """Predicted less logged, GiB; None where it is not judged or not answered."""
    return result.pool_error if "pool" in result.row["judged"] else None


def inside(result: Measured) -> bool | None:
    """Whether the logged pool lies in the interval, widened by the log's rounding."""
    interval = result.reply.get("interval")
    if pool_error(result) is None or not interval:
        return None
    low, high = interval["available_kv_cache_bytes"]
    return bool(low / GIB - ROUNDING_GIB <= result.row["observed"]["pool"] <= high / GIB + ROUNDING_GIB)


def figures(results: Sequence[Measured]) -> dict[str, Any]:
    """What a batch is worth: counts, and GiB."""
    verdicts = Counter(verdict(result) for result in results)
    errors = [error for result in results if (error := pool_error(result)) is not None]
    bands = [band for result in results if (band := inside(result)) is not None]
    return {
        "starts": len(results),
        "verdicts": len(results) - verdicts[None],
        "right": verdicts["right"],
        "false_accepts": verdicts["false accept"],
        "false_refusals": verdicts["false refusal"],
        "pools": len(errors),
        "pool_error_gib": round(statistics.fmean(map(abs, errors)), 2) if errors else None,
        "inside": sum(bands),
    }


def first_scores(kept: Path = FIRST) -> list[dict[str, Any]]:
    """Every batch, the first scored first: file, name, date, figures then, whether its rows were looked at since."""
    scores: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8"))["batches"]
    return scores


def first_answers(kept: Path = ANSWERS) -> dict[str, dict[str, float]]:
    """By batch and start: the pool (GiB) that was predicted when the batch was first scored."""
    answers: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8"))["batches"]
    return answers


def page_rows() -> Iterator[tuple[str, ...]]:
    """Two rows a batch: as first scored, and today."""
    for score in first_scores():
        today = figures(batch(FOLDER / score["file"]))
        yield (score["name"], score["scored"], *cells(score["first"]))
        yield ("", "today" + (", looked at since" if score["looked_at_since"] else ""), *cells(today))


def cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The figures as they stand on the page; `-` for what was not counted then."""
    refusals = "-" if found["false_refusals"] is None else str(found["false_refusals"])
    return (
        str(found["starts"]),
        f"{found['right']} of {found['verdicts']}",
        str(found["false_accepts"]),
        refusals,
        f"{found['pool_error_gib']:.2f} GiB of {found['pools']}",
        f"{found['inside']} of {found['pools']}",
    )


def lines(results: Iterable[Measured]) -> Iterator[str]:
    """One line a start, the wrong ones first."""
    order = ("false accept", "false refusal", "silent", "right", None)
    for result in sorted(results, key=lambda r: (order.index(verdict(r)), -abs(pool_error(r) or 0))):
        error = pool_error(result)
        pool = "" if error is None else f"pool {error:+.2f} GiB{'' if inside(result) else ' OUTSIDE'}"
        edge = "on the edge" if result.reply.get("on_the_edge") else ""
        said = " ".join(filter(None, (result.reply["verdict"], result.reply.get("reason"), edge)))
        yield f"{result.row['id']:44} {verdict(result) or '':14} {result.row['outcome']:20} said {said}; {pool}".rstrip("; ")


def write_first(path: Path, found: Mapping[str, Any], name: str, today: str, kept: Path = FIRST) -> None:
    """Write down a batch's first score. Raises ValueError when it has one."""
    document = json.loads(kept.read_text(encoding="utf-8"))
    if any(score["file"] == path.name for score in document["batches"]):
        raise ValueError(f"{path.name} has its first score already")
    document["batches"].append({"file": path.name, "name": name, "scored": today, "looked_at_since": False, "first": dict(found)})
    kept.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def write_answers(path: Path, results: Iterable[Measured], kept: Path = ANSWERS) -> None:
    """Write down the pools that the first score is of."""
    document = json.loads(kept.read_text(encoding="utf-8"))
    pools = {r.row["id"]: r.predicted("available_kv_cache_bytes") for r in results if pool_error(r) is not None}
    document["batches"][path.name] = {name: round(pool, 3) for name, pool in sorted(pools.items()) if pool is not None}
    kept.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Score one batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("batch", type=Path)
    parser.add_argument("--first", metavar="NAME", help="write the figures down as the batch's first score, under this name")
    options = parser.parse_args()
    results = batch(options.batch)
    found = figures(results)
    if options.first:
        write_first(options.batch, found, options.first, datetime.datetime.now(datetime.UTC).date().isoformat())
        write_answers(options.batch, results)
    print("\n".join(lines(results)))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
