"""The tenant with nothing but the examples: creates, edits, scales, deletes, and measures how soon each is decided, and how.

Stepped from one thread of `run`, looked at from another. What it asks for is true on this cluster whatever the others do, so a wrong
verdict is a finding too. Refuses to know the processes under test.
"""

from __future__ import annotations

import copy
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.fuzz import recipes
from tests.fuzz.journal import Journal
from tests.fuzz.tenants import HONEST, MERGE, Api, path_of

Json = Any
ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 10.0  # how soon its objects are decided


@dataclass(kw_only=True)
class Pending:
    """A write of the honest tenant that is not answered in the status yet."""

    generation: int
    since: float
    what: str
    sent: Json
    late: bool = False


@dataclass(kw_only=True)
class Honest:
    """A tenant with the examples: creates, edits, scales, deletes, and waits for what is said of it."""

    api: Api
    seed: int
    journal: Journal
    alive: dict[str, Json] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self, number: int) -> None:
        """Do one thing."""
        rng = recipes.rng_for(self.seed, number)
        idle = [name for name in self.alive if name not in self.pending]
        roll = rng.random()
        if len(self.alive) < 4 or (roll < 0.3 and len(self.alive) < 8):
            self._create(rng, number)
        elif idle and roll < 0.55:
            self._edit(rng, number, rng.choice(idle))
        elif idle and roll < 0.75:
            self._scale(rng, number, rng.choice(idle))
        elif idle:
            name = rng.choice(idle)
            del self.alive[name]
            self.api.send(number, "honest delete", "DELETE", path_of("inferencedeployments", HONEST, name))

    def _create(self, rng: random.Random, number: int) -> None:
        wish = copy.deepcopy(rng.choice(examples()))
        name = f"{wish['metadata']['name']}-{number}"
        wish["metadata"]["name"] = name
        refused = "impossible" in name
        began = time.monotonic()
        status, answer = self.api.send(number, "honest create", "POST", path_of("inferencedeployments", HONEST), wish)
        if status == 201 and not refused:
            self.alive[name] = answer["spec"]
            self._expect(name, answer, began, "create")
        elif (status == 201) is refused and not self.journal.excused():
            self.journal.finding("the honest tenant is judged wrongly", f"{name}: {status} {answer.get('message', 'admitted')}")

    def _edit(self, rng: random.Random, number: int, name: str) -> None:
        reserve, label = {"fit": {"reserveBytes": rng.randint(0, 1 << 28)}}, {"template": {"labels": {"round": str(number)}}}
        change = {"spec": rng.choice((reserve, label))}
        self._write(number, name, "honest edit", "", change)

    def _scale(self, rng: random.Random, number: int, name: str) -> None:
        self._write(number, name, "honest scale", "/scale", {"spec": {"replicas": rng.choice((0, 1, 2))}})

    def _write(self, number: int, name: str, what: str, more: str, change: Json) -> None:
        began = time.monotonic()
        place = path_of("inferencedeployments", HONEST, name, more)
        status, answer = self.api.send(number, what, "PATCH", place, change, content_type=MERGE)
        if more and status == 200:
            answer = self.api.get(path_of("inferencedeployments", HONEST, name))
        if status == 200:
            self._expect(name, answer, began, what)
        elif status not in (0, 500) and not self.journal.excused():
            self.journal.finding("the honest tenant is refused", f"{what} of {name}: {status} {answer.get('message')}")

    def _expect(self, name: str, stored: Json, began: float, what: str) -> None:
        generation = stored.get("metadata", {}).get("generation", 0)
        with self._lock:
            self.pending[name] = Pending(generation=generation, since=began, what=what, sent=stored.get("spec"))

    def look(self) -> None:
        """See which of the pending are decided; called every quarter of a second."""
        listed = self.api.get(path_of("inferencedeployments", HONEST)).get("items", [])
        now = time.monotonic()
        present = {item["metadata"]["name"]: item for item in listed}
        with self._lock:
            for name, wait in list(self.pending.items()):
                if name in present and _is_decided(present[name], wait.generation):
                    del self.pending[name]
                    self._note(now - wait.since, name, wait)
                    self._check(name, present[name])
                elif now - wait.since > LIMIT_S and not wait.late:
                    wait.late = True
                    self._late(name, wait, present.get(name, {}))

    def _note(self, seconds: float, name: str, wait: Pending) -> None:
        if not self.journal.excused():
            self.waits.append(seconds)
        elif wait.late:
            print(f"{self.journal.now():8.1f}s {name} was decided after {seconds:.1f} s, across a wanted restart", flush=True)

    def _check(self, name: str, item: Json) -> None:
        """Nothing that others do changes what is true of these."""
        feasible = next(row for row in item["status"]["conditions"] if row["type"] == "Feasible")
        if feasible["status"] != ("Unknown" if "unknown" in name else "True"):
            self.journal.finding("the honest tenant is judged wrongly", f"{name}: {feasible['reason']}: {feasible['message']}")

    def _late(self, name: str, wait: Pending, item: Json) -> None:
        if not self.journal.excused():
            detail = f"{wait.what} of {name}, generation {wait.generation}; status {json.dumps(item.get('status', {}))[:1500]}"
            self.journal.finding("not decided within 10 s", detail, entries=self.journal.recent())

    def left(self) -> Iterator[str]:
        """Name what was never decided."""
        for name, wait in self.pending.items():
            yield f"{wait.what} of {name}"


def _is_decided(item: Json, generation: int) -> bool:
    status = item.get("status") or {}
    rows = [row for row in status.get("conditions", ()) if row["type"] == "Feasible"]
    return status.get("observedGeneration", 0) >= generation and any(row.get("observedGeneration", 0) >= generation for row in rows)


def examples() -> list[Json]:
    """Return the examples that this cluster can decide: all but the two that need what it has not."""
    paths = sorted((ROOT / "examples").glob("*.yaml"))
    return [yaml.safe_load(path.read_text("utf-8")) for path in paths if "two-nodes" not in path.name and "volume" not in path.name]
