"""Child processes that cannot outlive us: logs in a folder, stopped at the end of a `with`, at exit, on signals and on our death.

Called by the control plane for its programs and by tests and demo for the controller and the webhook. It refuses to know
what the processes do; readiness is asked by whoever started them.
"""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessDied(RuntimeError):
    """A process ended that should be running; the message holds the end of its log."""


def _die_with_parent() -> None:
    """Run in the child before exec: have the kernel kill it when we are gone, however we went (prctl(2))."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One running program and its log file."""

    def __init__(self, name: str, argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as handle:
            # A session of its own, so that Ctrl-C reaches us first and we stop everything in order.
            self._popen = subprocess.Popen(
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def check(self) -> None:
        """Raise ProcessDied when the process has ended."""
        if not self.running():
            raise ProcessDied(f"{self.name} ended with status {self._popen.returncode}; the end of {self.log}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, *, limit_s: float = 15) -> float:
        """End the process with its whole group, by SIGTERM and then SIGKILL; return the seconds it took."""
        began = time.monotonic()
        for sign, limit in ((signal.SIGTERM, limit_s), (signal.SIGKILL, 5)):
            if not self.running():
                break
            os.killpg(self._popen.pid, sign)
            try:
                self._popen.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                continue
        return time.monotonic() - began

    def kill(self) -> None:
        """End the process at once, as a crash would (SIGKILL)."""
        if self.running():
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait(timeout=5)


class Processes:
    """The children of one work folder, stopped in the reverse order of their start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._children: dict[str, Child] = {}
        atexit.register(self.stop_all)

    def start(self, name: str, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Child:
        """Start a program; its output goes to `<name>.log` in the folder, appended on a restart."""
        present = self._children.get(name)
        if present is not None and present.running():
            raise ValueError(f"{name} is running already")
        self._children.pop(name, None)
        child = Child(name, argv, log=self.folder / f"{name}.log", env=os.environ if env is None else env, cwd=self.folder)
        self._children[name] = child
        return child

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    def running(self) -> list[str]:
        return [name for name, child in self._children.items() if child.running()]

    def check(self) -> None:
        """Raise ProcessDied for the first child that has ended by itself."""
        for child in self._children.values():
            child.check()

    def stop(self, name: str) -> float:
        """Stop one child and forget it; return the seconds it took."""
        return self._children.pop(name).stop()

    def stop_all(self) -> None:
        """Stop every child; may be called more than once."""
        for name in reversed(list(self._children)):
            self.stop(name)
        atexit.unregister(self.stop_all)


def _raise_exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into SystemExit, so that `with` blocks and atexit run; SIGINT does so by itself."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise_exit)
