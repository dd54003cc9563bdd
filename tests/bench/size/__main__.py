"""`python -m tests.bench.size`: Plimsoll at size on a real API server, held to bars and to floors of the same run (make bench-size).

COUNT deployments on NODES fake nodes. Prints each figure as it is had, writes the run to a file, and ends with 1 where a bar was missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.size import controller_part, webhook_part
from tests.bench.size.bars import Found, Run, show
from tests.bench.size.world import SizeWorld
from tests.controlplane import ControlPlane

ROOT = Path(__file__).resolve().parents[3]
PARTS = ("controller", "webhook", "pools")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.size", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="deployments (default: 1000)")
    parser.add_argument("--nodes", type=int, default=1000, help="fake nodes, in twelve pools (default: 1000)")
    parser.add_argument("--rest", type=float, default=60.0, metavar="SECONDS", help="how long it is watched at rest (default: 60)")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part, again for each; without it all")
    parser.add_argument("--out", type=Path, default=ROOT / ".work" / "size.json", help="where the run is written")
    return parser.parse_args()


def machine() -> str:
    """What a reader has to know of it, and no name."""
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return (
        f"{os.cpu_count()} cores, {int(total.split()[1]) / 2**20:.0f} GiB, load average {os.getloadavg()[1]:.1f} with the API server beside"
    )


def measure(world: SizeWorld, parts: Iterable[str]) -> Iterable[Found]:
    """Every part, in the order in which each finds the cluster as it needs it."""
    if "controller" in parts:
        yield from controller_part.from_cold(world)
        yield from controller_part.started_anew(world)
        yield from controller_part.led_by_another(world)
        yield from controller_part.nodes_change(world)
    else:
        world.fill()
        world.audit.until_quiet(6, 60 + world.count)
    with webhook_part.beside_floor(world) as both:
        if "webhook" in parts:
            yield from webhook_part.reviews(both)
        if "pools" in parts:
            yield from webhook_part.more_pools(world, both)


def main() -> int:
    """The exit status."""
    options = _options()
    base = ROOT / ".work"
    base.mkdir(exist_ok=True)
    workdir = Path(tempfile.mkdtemp(prefix="size-", dir=base))
    found: list[Found] = []
    print(f"{options.count} deployments, {options.nodes} nodes; logs in {workdir}", flush=True)
    with ControlPlane.start(workdir) as plane:
        world = SizeWorld.on(plane, count=options.count, nodes=options.nodes, rest_s=options.rest)
        for one in measure(world, options.only or PARTS):
            show([one])
            found.append(one)
        described = machine()
    day = datetime.now(UTC).date().isoformat()
    run = Run(day=day, deployments=options.count, nodes=options.nodes, machine=described, found=tuple(found))
    run.write(options.out)
    for row in run.missed():
        print(f"missed: {row}")
    return 1 if run.missed() else 0


if __name__ == "__main__":
    sys.exit(main())
