"""docs/performance.md from the runs that are kept: `python -m tests.bench.size.page` (make shown), with `--keep FILE` a run more.

Each figure on the page is one of a run, and each bar one that the run is held to. Refuses to measure.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.size.bars import BARS, Found, Kind, Run, number

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_OUT = ROOT / "docs" / "performance.md"
RUNS = ROOT / "tests" / "data" / "size_runs.json"
_ONE_CORE = (
    "decisions share one process, and so one core, of which other work on the machine of the run left about a half; a queue then grows "
    "behind what is judged. Processes that judge side by side would be next."
)
CAUSES = {
    "settle": "each deployment takes the controller ten requests and 44 ms of CPU, the bare client five and 3 ms; where other work takes "
    "the processor, that is the time, and the floor itself was twice as fast in one half of the run as in the other. Three of the ten "
    "read what is not there yet.",
    "new-object": "whoever begins to lead starts its watch, its loops and its first decision, which reads tables, in the same second.",
    "node-change-settled": "500 events of nodes came over 18 seconds, and each deployment of their pools has something new said in its "
    "status; every look and every write of that has its turn behind the other work of the machine.",
    "rest": "whether LeaderWorkerSet is served is asked every ten seconds where it is not, and pods of readers are listed once a minute.",
    "repeated": "reading the object by its types, gathering and digesting the question cost about as much as the server itself. "
    "Remembering what an object was read as would be next.",
    "repeated-p99": "the same, on a machine that had other work.",
    "admitted-p99": _ONE_CORE,
    "rejected-p99": _ONE_CORE,
    "probe": "threads that judge take turns of half a millisecond with the event loop, and the machine's other work takes turns with both.",
}
"""Why a bar was missed, and what would have to be done, by its name."""
_KINDS = {
    Kind.RATIO: "Beside a floor of the same run",
    Kind.COUNT: "Counted at the API server",
    Kind.SIZE: "Memory",
    Kind.TIME: "Seconds on the machine of the run",
}
_OPENING = """# Performance

What Plimsoll costs where there are thousands of deployments and nodes, beside what nobody can leave out. Its words are on
[one page](words.md).

Measured by `make bench-size` on a real API server with etcd, the usual controllers and fake nodes in twelve pools; every deployment
asks for something else. **A floor** is measured in the same run, on the same machine, beside the same load: a bare client that
writes with as many threads what the controller has written, and decides nothing; a handler on the webhook's own server that only says yes.
So ratios and counts can be compared from machine to machine; seconds cannot, and are here for their order of magnitude.
The tool ends with an error where a bar is missed.

```sh
make bench-size                                   # 1,000 deployments on 1,000 nodes: a quarter of an hour
make bench-size COUNT=10000 NODES=5000 REST=300   # as large as it is meant to be
make bench-size COUNT=100 NODES=36 ONLY=webhook   # one part
```
"""


def kept() -> tuple[Run, ...]:
    """The runs that the page tells of, the largest last."""
    return tuple(Run.of(fields) for fields in json.loads(RUNS.read_text("utf-8")))


def beside_others(run: Run, runs: Sequence[Run]) -> list[Run]:
    """In the place of an earlier one of its size."""
    others = [one for one in runs if (one.deployments, one.nodes) != (run.deployments, run.nodes)]
    return sorted((*others, run), key=lambda one: (one.deployments, one.nodes))


def page() -> str:
    """The whole of it."""
    runs = kept()
    return "\n".join([_OPENING, "## Runs", "", *_of_runs(runs), "", *_tables(runs), *_missed(runs), *_beside(runs)]).rstrip() + "\n"


def _named(run: Run) -> str:
    return f"{run.deployments:,} on {run.nodes:,}"


def _of_runs(runs: Sequence[Run]) -> Iterator[str]:
    yield "| deployments on nodes | day | machine |"
    yield "|---|---|---|"
    for run in runs:
        yield f"| {_named(run)} | {run.day} | {run.machine} |"


def _tables(runs: Sequence[Run]) -> Iterator[str]:
    for kind, title in _KINDS.items():
        yield f"## {title}"
        yield ""
        yield f"| what | held to | {' | '.join(map(_named, runs))} |"
        yield "|---|---|" + "---|" * len(runs)
        for name, bar in BARS.items():
            if bar.kind is kind:
                yield f"| {bar.what} | {bar.text()} | {' | '.join(_cell(run, name) for run in runs)} |"
        yield ""


def figure(run: Run, name: str) -> Found | None:
    """What the run found of a bar; None where that part of it was not run."""
    return next((one for one in run.found if one.bar == name), None)


def _cell(run: Run, name: str) -> str:
    one = figure(run, name)
    if one is None:
        return "not run"
    said = number(one.value)
    return said if BARS[name].holds(one.value) else f"**{said}**"


def missed(runs: Sequence[Run]) -> list[str]:
    """Bars that some run has missed, by name."""
    return [name for name in BARS if any((one := figure(run, name)) is not None and not BARS[name].holds(one.value) for run in runs)]


def _missed(runs: Sequence[Run]) -> Iterator[str]:
    names = missed(runs)
    if not names:
        return
    yield "## Missed"
    yield ""
    yield "In bold above. Why, as far as it is known:"
    yield ""
    for name in names:
        yield f"* **{BARS[name].what}**: {CAUSES[name]}"
    yield ""


def _beside(runs: Sequence[Run]) -> Iterator[str]:
    """What the figures are made of."""
    for run in runs:
        yield f"## What was seen with {_named(run)}"
        yield ""
        yield "| what | found | of what |"
        yield "|---|---|---|"
        for one in run.found:
            yield f"| {BARS[one.bar].what} | {number(one.value)} {BARS[one.bar].unit} | {one.beside.replace('|', '/')} |"
        yield ""


def main() -> None:
    """Write the page, after a run is kept where one is given."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.size.page", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FILE", action="append", default=[], help="a run that the page shall tell of")
    for path in parser.parse_args().keep:
        runs = beside_others(Run.read(path), kept() if RUNS.exists() else ())
        RUNS.write_text(json.dumps([asdict(one) for one in runs], indent=1) + "\n", "utf-8")
    DEFAULT_OUT.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
