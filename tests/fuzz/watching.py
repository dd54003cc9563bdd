"""The two processes from outside: alive, answering, small, and led by the same one.

Called by `run` from threads of its own. Plays the kubelet: what has ended or hangs longer than the chart's probes allow is counted and
started again, so that one run finds more than its first trouble.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.controlplane import ControlPlane
from tests.e2e.installation import Installation
from tests.fuzz.journal import Journal, percentile

Json = Any
PROGRAMS = ("webhook", "controller")
HANG_S = 30.0  # the chart's liveness probes: three looks, ten seconds apart
LIMIT_MIB = {"webhook": 512, "controller": 1024}  # the chart's limits
GROWTH_MIB, GROWTH_SHARE = 32.0, 0.10  # beside what the memories of answers say that they keep, each within its budget
AFTERWARDS_S = 10.0  # what has waited for a new one is decided within this time
TAKE_OVER_S = 40.0  # the lease runs out after 15 s


@dataclass(kw_only=True)
class Sample:
    """Resident memory of one program at one time of one of its lives, and what of it its memories of answers say they keep."""

    at: float
    life: int
    mib: float
    kept_mib: float
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class Growth:
    """MiB of a program after its warm-up, at its end and at most; and what its memories of answers said that they kept."""

    program: str
    warm: float
    late: float
    most: float
    warm_kept: float
    late_kept: float

    @property
    def allowed(self) -> float:
        """Up to how many MiB it may be at its end: memories fill up to their budgets, nothing else grows."""
        return self.warm + max(0.0, self.late_kept - self.warm_kept) + max(GROWTH_MIB, self.warm * GROWTH_SHARE)


@dataclass(kw_only=True)
class Watch:
    """See the module."""

    installation: Installation
    journal: Journal
    rescue: Callable[[], None]
    samples: dict[str, list[Sample]] = field(default_factory=lambda: {name: [] for name in PROGRAMS})
    probes: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PROGRAMS})
    restarts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROGRAMS, 0))
    wanted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROGRAMS, 0))
    leader: str = ""
    depth: int = 0
    given_up: str = ""
    _answered: dict[str, float] = field(default_factory=dict)
    _excused_until: float = 0.0
    _waits_for_leader: float = 0.0
    _locks: dict[str, threading.RLock] = field(default_factory=lambda: {name: threading.RLock() for name in PROGRAMS})

    @property
    def plane(self) -> ControlPlane:
        """The control plane that runs the processes."""
        assert isinstance(self.installation.cluster, ControlPlane)
        return self.installation.cluster

    def excused(self) -> bool:
        """Whether a restart is going on or has just ended; those that nobody wanted are counted by themselves."""
        return time.monotonic() < self._excused_until

    def look(self, program: str) -> None:
        """Look once at a program: whether it lives, answers, and how large it is."""
        if self.given_up or not self._locks[program].acquire(blocking=False):
            return  # it is being started again
        try:
            self._look(program)
        finally:
            self._locks[program].release()

    def _look(self, program: str) -> None:
        child = self.plane.processes[program]
        if not child.running():
            self._ended(program, f"{program} ended by itself")
            return
        with contextlib.suppress(OSError):
            life = self.restarts[program] + self.wanted[program]
            mib, cpu_s = _resident(child.pid), _cpu_seconds(child.pid)
            kept_mib = self.gauge("plimsoll_remembered_bytes", program) / (1 << 20)
            self.samples[program].append(Sample(at=self.journal.now(), life=life, mib=mib, kept_mib=kept_mib, cpu_s=cpu_s))
        began = time.monotonic()
        if self._healthy(program):
            self._answered[program] = time.monotonic()
            self.probes[program].append(time.monotonic() - began)
        elif time.monotonic() - self._answered.setdefault(program, began) > HANG_S:
            self._ended(program, f"{program} does not answer its liveness probe")

    def look_at_leader(self) -> None:
        """The lease stays where it is, but for a restart; then the next one has it soon."""
        found = self.installation.leader()
        if self.leader and found != self.leader and not self.excused():
            self.journal.finding("the leader has changed", f"{self.leader} -> {found}")
        if self._waits_for_leader and (found != self.leader or time.monotonic() - self._waits_for_leader > TAKE_OVER_S):
            seconds = time.monotonic() - self._waits_for_leader
            self._waits_for_leader, self._excused_until = 0.0, time.monotonic() + AFTERWARDS_S
            print(f"{self.journal.now():8.1f}s the lease is {found}'s, {seconds:.1f} s after the controller was started", flush=True)
            if seconds > TAKE_OVER_S:
                self.journal.finding("nobody takes the lease over", f"it is still {found}'s after {seconds:.0f} s")
        self.leader = found

    def kill(self, program: str) -> None:
        """End a program as a crash would, and wait for the next one: it finds everything as it is."""
        with self._locks[program]:
            print(f"{self.journal.now():8.1f}s kill -9 {program}, as planned", flush=True)
            self._excused_until = time.monotonic() + 600
            self.wanted[program] += 1
            self.plane.processes[program].kill()
            seconds = self._start(program)
            print(f"{self.journal.now():8.1f}s {program} is ready again after {seconds:.1f} s", flush=True)

    def _ended(self, program: str, why: str) -> None:
        with self._locks[program]:
            child = self.plane.processes[program]
            if child.running() and "probe" not in why:
                return
            self.restarts[program] += 1
            self._excused_until = time.monotonic() + 600
            self.journal.finding(why, child.log_tail(60), entries=self.journal.recent())
            child.kill()
            for attempt in range(3):
                try:
                    seconds = self._start(program)
                except (TimeoutError, RuntimeError) as error:
                    self.journal.finding(f"{program} does not come up again", str(error)[-3000:])
                    self.rescue()  # what killed it is still there
                    continue
                print(f"{self.journal.now():8.1f}s {program} is ready again after {seconds:.1f} s, attempt {attempt + 1}", flush=True)
                return
            self.given_up = f"{program} does not come up again"

    def _start(self, program: str) -> float:
        began = time.monotonic()
        with contextlib.suppress(KeyError):
            self.plane.processes.stop(program)
        {"webhook": self.installation.start_webhook, "controller": self.installation.start_controller}[program]()
        self._answered[program] = time.monotonic()
        if program == "controller":
            self._waits_for_leader = time.monotonic()
        else:
            self._excused_until = time.monotonic() + AFTERWARDS_S
        return time.monotonic() - began

    def _healthy(self, program: str) -> bool:
        ports = self.installation.ports
        url = (
            f"https://127.0.0.1:{ports['webhook']}/healthz"
            if program == "webhook"
            else f"http://127.0.0.1:{ports['controller-health']}/healthz"
        )
        trust = ssl.create_default_context(cafile=str(self.plane.pki.folder / "ca.crt")) if url.startswith("https") else None
        try:
            with urllib.request.urlopen(url, timeout=5, context=trust) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def gauge(self, name: str, program: str = "controller", **labels: str) -> float:
        """Return the sum of a program's series of this name and these labels."""
        total = 0.0
        for line in self.installation.metrics(program).splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def busy(self, program: str) -> float:
        """Return the share of one core that the program's last life has taken."""
        last = [one for one in self.samples[program] if one.life == self.samples[program][-1].life]
        return (last[-1].cpu_s - last[0].cpu_s) / max(1.0, last[-1].at - last[0].at) if last else 0.0

    def course(self, program: str) -> list[float]:
        """Return the MiB of the program's last life at twelve times of it."""
        last = [one.mib for one in self.samples[program] if one.life == self.samples[program][-1].life]
        return last[:: max(1, len(last) // 12)]

    def growth(self) -> Iterator[Growth]:
        """Of the last life of each program."""
        for program, samples in self.samples.items():
            last = [one for one in samples if one.life == samples[-1].life]
            if len(last) >= 8:
                warm, late = last[len(last) // 3 : len(last) * 2 // 3], last[-len(last) // 6 :]
                yield Growth(
                    program=program,
                    warm=percentile([one.mib for one in warm], 0.5),
                    late=percentile([one.mib for one in late], 0.5),
                    most=max(one.mib for one in samples),
                    warm_kept=percentile([one.kept_mib for one in warm], 0.5),
                    late_kept=percentile([one.kept_mib for one in late], 0.5),
                )


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
