"""The webhook at size: reviews put to it as the API server puts them, beside a trivial handler on the same server in the same run.

Called by the run. The clients' own cost is on both sides. Repeated reviews take turns with the floor, so that a busy second is both's.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.size.asking import Answers, Prober, Reviewer
from tests.bench.size.bars import Found
from tests.bench.size.world import TEAMS, SizeWorld, add_nodes, cpu_seconds, other_kind, wish
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.plane import free_ports

from plimsoll_operator.names import GROUP

ROUNDS, ROUND_S = 6, 2.0
CONNECTIONS = 4
A_SECOND = 50.0
DISTINCT = 750
AT_ONCE = 200
MOST_POOLS = 204
FLOOR = "floor-webhook"
ROOT = Path(__file__).resolve().parents[3]
_LARGE = "meta-llama/Llama-3.3-70B-Instruct"


def review(manifest: Json) -> bytes:
    """As the API server asks about one that is made."""
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    resource = {"group": GROUP, "version": "v1alpha1", "resource": "inferencedeployments"}
    asked = {"uid": name, "operation": "CREATE", "resource": resource, "namespace": namespace, "name": name, "object": manifest}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked | {"oldObject": None, "dryRun": True}}
    return json.dumps(body).encode()


def admitted(first: int, count: int) -> list[bytes]:
    """Distinct specs that fit."""
    rows = range(first, first + count)
    return [review(wish(TEAMS[row % len(TEAMS)], f"fits-{row}", row, context=16_100 + row)) for row in rows]


def rejected(first: int, count: int) -> list[bytes]:
    """Distinct specs of a model that is too large for one GPU of any pool but one, which they do not name."""
    rows = range(first, first + count)
    found = []
    for row in rows:
        manifest = wish(TEAMS[row % len(TEAMS)], f"large-{row}", row, model=_LARGE, context=16_100 + row)
        manifest["spec"]["engine"]["tensorParallelSize"] = 1
        manifest["spec"]["placement"] = {"gpuProducts": ["NVIDIA-L4", "NVIDIA-A10G", "NVIDIA-A30"]}
        found.append(review(manifest))
    return found


class Both:
    """The webhook, and the floor beside it."""

    def __init__(self, world: SizeWorld, floor_port: int) -> None:
        authority = world.plane.pki.folder / "ca.crt"
        self.webhook = Reviewer(world.installation.ports["webhook"], authority)
        self.floor = Reviewer(floor_port, authority)
        self._pids = {"webhook": world.pid("webhook"), "floor": world.pid(FLOOR)}
        self._repeated = [review(wish(team, "again", 3)) for team in TEAMS[:CONNECTIONS]]

    def repeated(self) -> tuple[Answers, Answers, list[float], float, float]:
        """Answers of both, the share of throughput round by round, and the microseconds of CPU that a review costs each."""
        found, base, shares = Answers(), Answers(), []
        cpus = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        for _ in range(ROUNDS):
            floor = self.floor.flat_out(self._repeated, ROUND_S, CONNECTIONS)
            ours = self.webhook.flat_out(self._repeated, ROUND_S, CONNECTIONS)
            shares.append((len(ours.seconds) / ours.took) / (len(floor.seconds) / floor.took))
            for whole, part in ((found, ours), (base, floor)):
                whole.seconds += part.seconds
                whole.statuses |= part.statuses
                whole.verdicts |= part.verdicts
        assert (found.statuses, found.verdicts) == ({200}, {True})
        spent = {name: cpu_seconds(pid) - cpus[name] for name, pid in self._pids.items()}
        return found, base, shares, spent["webhook"] / len(found.seconds) * 1e6, spent["floor"] / len(base.seconds) * 1e6

    def distinct_cpu(self, first: int, count: int) -> float:
        """Microseconds of CPU that one distinct admission costs the webhook."""
        before = cpu_seconds(self._pids["webhook"])
        answers = self.webhook.at_rate(admitted(first, count), 1000.0, CONNECTIONS)
        assert answers.verdicts == {True}
        return (cpu_seconds(self._pids["webhook"]) - before) / count * 1e6


@contextmanager
def beside_floor(world: SizeWorld) -> Iterator[Both]:
    """With the trivial handler running."""
    (port,) = free_ports(1)
    pki = world.plane.pki.folder
    program = [sys.executable, "-m", "tests.bench.size.floor_server", str(port), f"{pki}/webhook.crt", f"{pki}/webhook.key"]
    root = str(ROOT)
    world.plane.processes.start(FLOOR, program, env={**world.plane.environment(world.plane.kubeconfig), "PYTHONPATH": root})
    reviewer = Reviewer(port, pki / "ca.crt")
    wait_until(lambda: _listens(reviewer), "the trivial handler to listen")
    try:
        yield Both(world, port)
    finally:
        world.plane.processes.stop(FLOOR)


def _listens(reviewer: Reviewer) -> bool:
    try:
        reviewer.connect().close()
    except OSError:
        return False
    return True


def reviews(both: Both) -> Iterator[Found]:
    """Repeated, distinct that fit, distinct that do not, and all at once."""
    found, base, shares, cpu, floor_cpu = both.repeated()
    cpus = f"CPU {cpu:.0f} us, floor {floor_cpu:.0f}"
    yield Found(
        bar="repeated", value=statistics.median(shares), beside=f"{min(shares):.2f} to {max(shares):.2f} in {ROUNDS} rounds; {cpus}"
    )
    theirs = f"{found.percentile(0.99) * 1000:.1f} ms, floor {base.percentile(0.99) * 1000:.1f}"
    yield Found(bar="repeated-p99", value=found.percentile(0.99) / base.percentile(0.99), beside=theirs)
    prober = Prober(both.webhook)
    prober.start()
    for bar, bodies, verdict in (("admitted-p99", admitted(0, DISTINCT), True), ("rejected-p99", rejected(0, DISTINCT), False)):
        floor = both.floor.at_rate(bodies, A_SECOND, 32)
        ours = both.webhook.at_rate(bodies, A_SECOND, 32)
        assert (ours.statuses, ours.verdicts) == ({200}, {verdict}), bar
        medians = f"medians {ours.percentile(0.5) * 1000:.1f} and {floor.percentile(0.5) * 1000:.1f}"
        beside = f"floor {floor.percentile(0.99) * 1000:.1f}; {medians}"
        yield Found(bar=bar, value=ours.percentile(0.99) * 1000, beside=beside)
    many = rejected(DISTINCT, AT_ONCE)
    floor, ours = both.floor.at_once(many), both.webhook.at_once(many)
    assert (ours.statuses, ours.verdicts) == ({200}, {False})
    yield Found(bar="flight", value=max(ours.seconds), beside=f"floor {max(floor.seconds):.2f}")
    probes = prober.end()
    share = sum(1 for one in probes.seconds if one > 0.05)
    yield Found(bar="probe", value=max(probes.seconds) * 1000, beside=f"{share} of {len(probes.seconds)} over 50 ms")


def more_pools(world: SizeWorld, both: Both) -> Iterator[Found]:
    """From twelve pools to 204."""
    _, _, _, repeated, floor = both.repeated()
    distinct = both.distinct_cpu(2000, 400)
    before = world.pools()
    add_nodes(world.bare, [other_kind(row) for row in range(MOST_POOLS - before)])
    wait_until(lambda: world.pools() >= MOST_POOLS, "the pools", timeout_s=300, every_s=1)
    world.audit.until_quiet(6, 600)
    both.distinct_cpu(4000, 100)  # what is derived of each pool is derived once
    _, _, _, more, more_floor = both.repeated()
    wide = both.distinct_cpu(5000, 400)
    # The floors take out what the machine did meanwhile.
    yield Found(bar="pools-repeated", value=more / more_floor / (repeated / floor), beside=f"{repeated:.0f} and {more:.0f} us")
    yield Found(bar="pools-distinct", value=wide / more_floor / (distinct / floor), beside=f"{distinct:.0f} and {wide:.0f} us")
