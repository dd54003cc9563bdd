"""Writes docs/accuracy.md: the estimator against measured starts, by component, release, GPU, family and source.

    python -m tools.accuracy [--fast] [OUT]

Nothing is fitted here but the leave-one-source-out figures, where constants are refitted without the source (`--fast` leaves
them out). Definitions stand on the page itself.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tools import intervals, unseen
from tools.measured_starts import COMPONENTS, ROOT, Measured, headline, leave_one_source_out, mean_abs, measure, pool_errors, unique

OUT = ROOT / "docs" / "accuracy.md"

HEADLINES = (  # key of headline(), title, how it reads, what the project holds itself to
    ("answered", "starts answered", "{:.1%}", "at least 98 %"),
    ("pool_error_gib", "KV pool, mean absolute error", "{:.2f} GiB", "at most 0.40 GiB"),
    ("pool_error_share", "KV pool, mean absolute error of the GPU's total", "{:.2%}", "at most 1 %"),
    ("pool_over_promised", "KV pool over-promised by more than 0.5 GiB", "{:.1%}", "at most 3 %"),
    ("cell_error_gib", "KV pool, mean over (release, GPU) cells", "{:.2f} GiB", "at most 0.60 GiB"),
    ("worst_cell_gib", "KV pool, worst cell of three or more", "{:.2f} GiB", "at most 1 GiB"),
    ("weights_error_share", "weights, mean absolute error", "{:.2%}", "at most 0.5 %"),
    ("concurrency_error_share", "maximum concurrency, mean absolute error", "{:.2%}", "at most 2 %"),
    ("false_accepts", "failed starts called good", "{:d}", "0"),
    ("false_refusals", "good starts refused", "{:d}", "0"),
    ("coverage", "measurements inside the interval", "{:.1%}", "at least 85 %"),
)
OTHER_TABLES = (
    ("assumed", "some argument, the release or the GPU is the collector's assumption"),
    ("unified", "GPUs that share memory with the host: free memory follows the page cache"),
    ("v0", "the V0 engine, which has no rules here"),
)
UNSEEN_HEADS = (
    "batch",
    "scored",
    "starts",
    "verdicts right",
    "false accepts",
    "false refusals",
    "KV pool, mean absolute",
    "inside the interval",
)
PREAMBLE = """# Accuracy

Made by `make accuracy` from the {rows} measured starts of vLLM in `tests/data/startups.jsonl`: public logs, benchmark repositories and
issue threads, each with its address. **Error** is predicted less logged, on rank 0, in GiB; logged figures carry ±0.005. Starts of one
sweep with the same breakdown count as one **measurement**, with their mean error. The main table holds V1-engine starts whose
arguments are all stated; no constant is fitted to any other table.
"""

UNSEEN = """Each batch of starts is scored before any of its rows is looked at, and its first score stays as it was: it says what a start
that nobody here has seen may expect. Below it stands what today's estimator says of the same starts, which by then have been looked
at. `tests/data/unseen/` has the rows with their addresses and what their sources leave open, `tools/unseen.py` the form of a
batch. Five rows of the fourth batch were copied badly and put right: four before its first score was written (the vision tower's
quantisation, an argument that no case has), one after it (`--enforce-eager`). {amd} starts on AMD GPUs
(`tests/data/rocm_starts.jsonl`) are kept as evidence; Plimsoll has no rules for them and says so. Of the sixth, the cache's type of three
starts and the length of one were put right after its first score; of the third, the arguments of the start on two Quadro RTX 6000, which
another report of its authors states; of the seventh, one logged pool, which its source prints beside a command whose share of the
card cannot hold it, was moved to the start that can. Of two starts, on a 4080 (sixth) and a 5090 (first batch of public logs), it had been
assumed that they found their graphs compiled: the one's logged peak is that of a start that compiles, the other's source is silent.
Of the eighth, FlashInfer's presence, which the log of the start on an A800 states, was put in. The driver's branch of three starts (535;
first batch of public logs, second), which their authors state, counts since the estimator asks for it.
"""

INTERVALS = """Half of an interval is a factor times (0.3 GiB + a fifth of what is estimated beside the weights), beside what is doubted
openly; the factor is that of the first cause that holds of the start. `tools/intervals.py` makes the factors from {all_of} logged starts,
main table and batches, and counts what they hold with each start's own source left out: {all_in} of {all_of} ({all_share:.0%}). No factor
is below {least:g}: where few starts are logged they lie closer than new ones do.

What users are told is a harder figure. Each batch kept what was predicted when it was first scored; intervals of today's width
about those predictions hold {first_in} of {first_of}, so commands say **{percent} %**. Rules have been mended since for what those
batches showed: a start that is new today may expect that share or a better one. As shipped on the day, the intervals of all
batches together held {day_in} of {day_of} ({day_share:.0%}), those of the last two {last_in} of {last_of}. Half of all intervals are
narrower than {width:.2f} GiB.
"""

CONSTANTS = """What vLLM computes is computed (see [formulas.md](formulas.md)): weights, cache layout, defaults and refusals have no
constant. What a GPU, a driver or an allocator decides is a constant of `estimator/plimsoll_estimator/data/overheads.json`, keyed on
causes (release, runner, interconnect, parallel sizes, compute capability, vocabulary, tokens), never on a model's name. Each row of
that file says on which starts it rests. A constant read directly from a logged
breakdown (activation, non-torch, graphs) is preferred to one inferred from the pool."""


def page(results: Sequence[Measured], others: Mapping[str, Sequence[Measured]], blind: Sequence[tuple[str, int, float, float]]) -> str:
    """The whole page. `blind` may be empty (not worked out)."""
    rows = len(results) + sum(len(table) for table in others.values())
    parts = [
        PREAMBLE.format(rows=rows),
        "## Headline\n",
        *table(("figure", "now", "held to"), headline_rows(results)),
        "\n## By component\n",
        *table(("component", "measurements", "mean error", "mean absolute", "median absolute", "worst"), component_rows(results)),
        "\nThe captured CUDA graphs lie outside the budget; the other rows below the weights are what leaves the KV pool its size.\n",
        *grouped("release", results, lambda r: r.minor),
        *grouped("GPU", results, lambda r: r.gpu),
        *grouped("family", results, lambda r: r.row["family"]),
        *grouped("source", results, lambda r: r.row["source"]),
        "\n## Worst measurements\n",
        *table(("model", "release", "GPU", "TP", "logged pool", "error", "where"), worst_rows(results)),
        "\n## Verdicts\n",
        *table(("what happened", "answer", "reason", "starts"), verdict_rows(results)),
        "\n## Rows we had not seen\n",
        UNSEEN.format(amd=len(unseen.batch(unseen.ROCM))),
        *table(UNSEEN_HEADS, unseen.page_rows()),
        "\n## Intervals\n",
        INTERVALS.format(**interval_figures()),
        *table(("most in doubt of", "factor", "starts inside, their source left out"), intervals.page_rows()),
        *generalisation(blind),
        "\n## Other tables: reported, never fitted to\n",
        *table(("table", "starts", "answered", "KV pool, mean absolute", "what it is"), other_rows(others)),
        "\n## How the constants were had\n",
        CONSTANTS,
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "/") for cell in row) + " |"


def headline_rows(results: Sequence[Measured]) -> list[tuple[str, str, str]]:
    figures = headline(results)
    return [(title, form.format(figures[key]), aim) for key, title, form, aim in HEADLINES]


def component_rows(results: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    for figure, key, title in COMPONENTS:
        errors = [error for _, error in unique(results, error_of(figure, key))]
        if errors:
            sizes = [abs(error) for error in errors]
            middle, worst = statistics.median(sizes), max(errors, key=abs)
            yield (
                title,
                str(len(errors)),
                f"{statistics.fmean(errors):+.2f}",
                f"{statistics.fmean(sizes):.2f}",
                f"{middle:.2f}",
                f"{worst:+.2f}",
            )


def error_of(figure: str, key: str) -> Callable[[Measured], float | None]:
    return lambda result: result.error(figure, key)


def grouped(title: str, results: Sequence[Measured], key: Callable[[Measured], str]) -> Iterator[str]:
    """KV-pool errors by one property, the most measured first."""
    groups: dict[str, list[tuple[Measured, float]]] = defaultdict(list)
    for result, error in pool_errors(results):
        groups[key(result)].append((result, error))
    rows = [
        (
            name,
            str(len(errors)),
            f"{statistics.fmean(e for _, e in errors):+.2f}",
            f"{mean_abs(errors):.2f}",
            "thin" if len(errors) < 3 else "",
        )
        for name, errors in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    yield f"\n## KV pool by {title}\n"
    yield from table((title, "measurements", "mean error", "mean absolute", ""), rows)


def thin(errors: Sequence[object]) -> str:
    """The mark of groups too small to judge by."""
    return "thin" if len(errors) < 3 else ""


def worst_rows(results: Sequence[Measured]) -> list[tuple[str, ...]]:
    chosen = sorted(pool_errors(results), key=lambda item: -abs(item[1]))[:12]
    return [
        (
            r.row["case"]["model"],
            r.row["case"]["engine_version"],
            r.gpu,
            str(r.row["case"]["engine_args"].get("tensor_parallel_size", 1)),
            f"{r.row['observed']['pool']:.2f}",
            f"{error:+.2f}",
            r.row["source"],
        )
        for r, error in chosen
    ]


def verdict_rows(results: Sequence[Measured]) -> list[tuple[str, ...]]:
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for result in results:
        counts[result.row["outcome"], result.reply["verdict"], result.reply.get("reason") or ""] += 1
    return [(*key, str(count)) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def generalisation(blind: Sequence[tuple[str, int, float, float]]) -> Iterator[str]:
    """The leave-one-source-out table."""
    if not blind:
        return
    yield "\n## Leave one source out\n"
    yield (
        "For each source with two starts or more: its error as shipped, and with the constants refitted without it (a constant that only\n"
        "that source informed is dropped, so that the more general one before it applies; every other moves to the best of five factors).\n"
    )
    yield from table(("source", "measurements", "shipped", "blind"), [(s, str(n), f"{a:.2f}", f"{b:.2f}") for s, n, a, b in blind])
    total = sum(n for _, n, _, _ in blind)
    shipped = sum(count * error for _, count, error, _ in blind) / total
    unseen = sum(count * error for _, count, _, error in blind) / total
    yield f"\nOver these {total} measurements: {shipped:.2f} GiB shipped, {unseen:.2f} GiB blind."


def interval_figures() -> dict[str, float]:
    """What the chapter on intervals says."""
    shipped = json.loads(intervals.OUT.read_text(encoding="utf-8"))
    coverage, scores = shipped["coverage"], [score["first"] for score in unseen.first_scores()]
    (all_in, all_of), (first_in, first_of) = coverage[intervals.ALL], coverage[intervals.FIRST]
    day_in, day_of = sum(s["inside"] for s in scores), sum(s["pools"] for s in scores)
    last_in, last_of = sum(s["inside"] for s in scores[-2:]), sum(s["pools"] for s in scores[-2:])
    return {
        **{"all_in": all_in, "all_of": all_of, "all_share": all_in / all_of, "first_in": first_in, "first_of": first_of},
        **{"day_in": day_in, "day_of": day_of, "day_share": day_in / day_of, "last_in": last_in, "last_of": last_of},
        **{"least": intervals.LEAST_FACTOR, "percent": shipped["covered_percent"], "width": shipped["median_width_gib"]},
    }


def other_rows(others: Mapping[str, Sequence[Measured]]) -> Iterator[tuple[str, ...]]:
    for name, what in OTHER_TABLES:
        results = others[name]
        said = statistics.fmean(r.reply["verdict"] in ("starts", "refused") for r in results)
        errors = pool_errors(results)
        yield (name, str(len(results)), f"{said:.0%}", f"{mean_abs(errors):.2f} GiB" if errors else "-", what)


def main(argv: Sequence[str]) -> int:
    """Write the page; say where and the headline."""
    words = [word for word in argv[1:] if word != "--fast"]
    out = Path(words[0]) if words else OUT
    results = measure()
    others = {name: measure([name]) for name, _ in OTHER_TABLES}
    blind = [] if "--fast" in argv else leave_one_source_out()
    out.write_text(page(results, others, blind), encoding="utf-8")
    print(f"{out}: {len(results)} starts, KV pool off by {headline(results)['pool_error_gib']:.2f} GiB on average")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
