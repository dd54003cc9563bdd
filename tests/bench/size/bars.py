"""What is held at size: each bar by name, what was found beside it, and how a run is recorded and told.

Called by the run and by the page that is written from it. Refuses to know how anything is measured. A figure of seconds says as much of
the machine as of the program: ratios to floors of the same run, and counts, are what one run can be compared with another by.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Kind(StrEnum):
    """What a figure can be compared with."""

    RATIO = "ratio"
    COUNT = "count"
    SIZE = "size"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`what` is measured in `unit`, and shall be `at_most` this, or `at_least`."""

    what: str
    kind: Kind
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a figure is within the bar."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def text(self) -> str:
        """The bar in words."""
        if self.at_most is not None:
            return f"at most {self.at_most:g} {self.unit}".rstrip()
        return f"at least {self.at_least:g} {self.unit}".rstrip()


BARS = {
    "settle": Bar(
        what="All settled from cold, beside a bare client that writes the same objects", kind=Kind.RATIO, unit="floors", at_most=1.5
    ),
    "written-once": Bar(what="Most writes of one Deployment or Service on the way there", kind=Kind.COUNT, at_most=1),
    "controller-memory": Bar(what="Memory of the controller", kind=Kind.SIZE, unit="MiB", at_most=500),
    "webhook-memory": Bar(what="Memory of the webhook", kind=Kind.SIZE, unit="MiB", at_most=250),
    "ready": Bar(what="A controller that is started anew is ready", kind=Kind.TIME, unit="s", at_most=15),
    "restart": Bar(what="Requests about what nobody has changed, after a restart", kind=Kind.COUNT, at_most=0),
    "rest": Bar(what="Requests at rest, but for watches and the lease", kind=Kind.COUNT, at_most=0),
    "scrape": Bar(what="One scrape of the controller's /metrics", kind=Kind.TIME, unit="s", at_most=1),
    "handed-over": Bar(what="The lease is with another leader, after SIGTERM", kind=Kind.TIME, unit="s", at_most=5),
    "new-object": Bar(what="The pod of a new object, after another leader has the lease", kind=Kind.TIME, unit="s", at_most=2),
    "node-change-requests": Bar(
        what="Requests after 500 nodes are labelled anew, for each deployment in their pools", kind=Kind.COUNT, at_most=3
    ),
    "node-change-settled": Bar(what="Settled after 500 nodes are labelled anew", kind=Kind.TIME, unit="s", at_most=15),
    "repeated": Bar(
        what="Reviews a second of a spec that was judged before, beside a trivial handler",
        kind=Kind.RATIO,
        unit="of the floor",
        at_least=0.5,
    ),
    "repeated-p99": Bar(what="Their 99th percentile, beside the trivial handler's", kind=Kind.RATIO, unit="floors", at_most=2),
    "admitted-p99": Bar(what="Distinct specs that are admitted, 50 a second, 99th percentile", kind=Kind.TIME, unit="ms", at_most=25),
    "rejected-p99": Bar(what="Distinct specs that are rejected, 50 a second, 99th percentile", kind=Kind.TIME, unit="ms", at_most=100),
    "flight": Bar(what="200 distinct rejections at once, the last answer", kind=Kind.TIME, unit="s", at_most=2),
    "probe": Bar(what="The longest that a probe waited for the webhook meanwhile", kind=Kind.TIME, unit="ms", at_most=50),
    "pools-repeated": Bar(what="CPU of a repeated review with 204 pools, beside that with 12", kind=Kind.RATIO, unit="times", at_most=1.5),
    "pools-distinct": Bar(
        what="CPU of a distinct admission with 204 pools, beside that with 12", kind=Kind.RATIO, unit="times", at_most=1.5
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One figure, of the bar with this name. `beside` says what it was made of: the floor, a share, a median."""

    bar: str
    value: float
    beside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: when, of what, on what kind of machine, and what was found."""

    day: str
    deployments: int
    nodes: int
    machine: str
    found: tuple[Found, ...]

    def missed(self) -> list[str]:
        """Each bar that was not held, with what was found."""
        return [f"{one.bar}: {number(one.value)}, {BARS[one.bar].text()}" for one in self.found if not BARS[one.bar].holds(one.value)]

    def write(self, path: Path) -> None:
        """As JSON, a line a figure."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Run:
        """What `write` wrote."""
        return cls.of(json.loads(path.read_text("utf-8")))

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Run:
        """The run whose fields these are."""
        return cls(**{**fields, "found": tuple(Found(**one) for one in fields["found"])})


def number(value: float) -> str:
    """To three figures, and never with an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def show(found: Sequence[Found]) -> None:
    """As soon as they are had: a run is long."""
    for one in found:
        bar = BARS[one.bar]
        said = "held" if bar.holds(one.value) else "MISSED"
        print(f"  {bar.what:88s} {number(one.value):>7s} {bar.unit:12s} {bar.text():22s} {said:7s} {one.beside}", flush=True)
