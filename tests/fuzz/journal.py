"""What was sent and what came back: counts, times, the last requests before something happened, and each kind of finding once.

Written to by the actors and the watch from their threads; read by `run` at the end. Knows no cluster.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Json = Any
LAST = 80
EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request, as far as it may matter later."""

    at: float
    number: int
    actor: str
    what: str
    place: str
    body: Json
    status: int
    seconds: float
    message: str

    def line(self) -> str:
        """One line for people."""
        sent = f"{self.at:8.2f}s #{self.number} {self.actor} {self.what} {self.place}"
        return f"{sent} -> {self.status} in {self.seconds:.2f}s {self.message[:160]}"


@dataclass(kw_only=True)
class Journal:
    """See the module. Findings go to `folder` as they come; `excused` tells whether a restart explains that nobody answers."""

    folder: Path
    excused: Callable[[], bool] = lambda: False
    began: float = field(default_factory=time.monotonic)
    counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    times: dict[str, list[float]] = field(default_factory=dict)
    findings: Counter[str] = field(default_factory=Counter)
    last: deque[Sent] = field(default_factory=lambda: deque(maxlen=LAST))
    refusals: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, Sent] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._all = gzip.open(self.folder / "sent.jsonl.gz", "wt", compresslevel=1)  # noqa: SIM115 open as long as the run

    def close(self) -> None:
        """Close the file of everything; nothing is sent any more."""
        self._all.close()

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def sent(self, entry: Sent) -> None:
        """Remember one request."""
        with self._lock:
            self.counts[entry.actor, entry.what, entry.status] += 1
            self.last.append(entry)
            self._all.write(json.dumps(asdict(entry)) + "\n")
            if entry.status >= 400:
                self.refusals[_without_names(f"{entry.what}: {entry.status} {entry.message}")] += 1
            key = f"{entry.actor}/{entry.what}"
            self.times.setdefault(key, []).append(entry.seconds)
            if key not in self.slowest or self.slowest[key].seconds < entry.seconds:
                self.slowest[key] = entry

    def total(self) -> int:
        """How many requests changed, or would have changed, something."""
        with self._lock:
            return sum(self.counts.values())

    def finding(self, kind: str, detail: str, *, entries: Iterable[Sent] = ()) -> None:
        """Something is wrong: count it, and write the first examples of its kind down with the objects."""
        with self._lock:
            self.findings[kind] += 1
            count = self.findings[kind]
        if count > EXAMPLES:
            return
        name = re.sub(r"[^A-Za-z0-9]+", "-", kind)[:60].strip("-")
        rows = [{"line": entry.line(), "body": entry.body} for entry in entries]
        path = self.folder / f"{name}-{count}.json"
        path.write_text(json.dumps({"kind": kind, "at": round(self.now(), 1), "detail": detail, "sent": rows}, indent=1))
        print(f"{self.now():8.1f}s FINDING {kind}: {detail[-600:]} ({path})", flush=True)

    def about(self, namespace: str, name: str) -> list[Sent]:
        """Return what was sent about one object, from the file of everything."""
        with self._lock:
            self._all.flush()
        return [entry for entry in self._replay() if _is_about(entry, namespace, name)]

    def _replay(self) -> Iterator[Sent]:
        try:
            with gzip.open(self.folder / "sent.jsonl.gz", "rt") as lines:
                for line in lines:
                    yield Sent(**json.loads(line))
        except EOFError:  # it is still written to
            return

    def recent(self) -> list[Sent]:
        """Return the last requests."""
        with self._lock:
            return list(self.last)


def _is_about(entry: Sent, namespace: str, name: str) -> bool:
    inside = f"/namespaces/{namespace}/" in entry.place if namespace else "/namespaces/" not in entry.place
    named = entry.body.get("metadata", {}).get("name") if isinstance(entry.body, dict) else None
    return inside and (named == name or f"/{name}" in entry.place)


def _without_names(message: str) -> str:
    """Make messages that differ in names and numbers one."""
    return re.sub(r'"[^"]*"', '"*"', re.sub(r"\d+", "#", message))[:160]


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of them do not pass; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def tracebacks(log: str) -> Counter[str]:
    """Count the tracebacks of a log by what was raised and where in our code."""
    found: Counter[str] = Counter()
    lines = log.splitlines()
    for index, line in enumerate(lines):
        if not line.lstrip().startswith("Traceback (most recent call last)"):
            continue
        where, raised = "", ""
        for after in lines[index + 1 : index + 400]:
            frame = re.search(r'File "[^"]*?((?:plimsoll_\w+)/[^"]+)", line (\d+), in (\S+)', after)
            if frame:
                where = f"{frame[1]}:{frame[2]} {frame[3]}"
            elif re.match(r"\s*[\w.]+(Error|Exception|Exit|Interrupt|Failure|Died|Group)\b", after) and not after.startswith("    "):
                raised = after.strip()[:200]
                break
        found[f"{re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}|f[0-9]+', '*', raised)} at {where}"] += 1
    return found


_BUG = re.compile(r"""(\w+) (['"])(.*)\2: a bug, set aside as \w+: (.*)""")
_REFUSED = re.compile(r"(\S+) (\S+?/\S+|status of \S+ \S+): ((?:400|405|409|413|422) .*?)(?:; again in .*)?$")


def bugs(log: str) -> dict[str, list[str]]:
    """Return the bugs that the controller has met and set aside, and the names of what they were met at."""
    found: dict[str, list[str]] = {}
    for line in log.splitlines():
        for unit, _, name, what in _BUG.findall(line):
            names = found.setdefault(f"a bug in a {unit}: {what}", [])
            names += [name] if name not in names else []
    return found


def refused_writes(log: str) -> Counter[str]:
    """Count what the API server has called wrong in the controller's own writes."""
    found: Counter[str] = Counter()
    for line in log.splitlines():
        refused = _REFUSED.search(line)
        if refused and " WARNING " in line and not refused[3].startswith("409"):
            found[_without_names(refused[3])] += 1
    return found
