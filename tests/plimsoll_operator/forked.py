"""Runs a module's `main` as a process of its own, without paying for its imports each time: forked from one that has them already.

What runs is what a container would run: its own arguments, environment, working streams and exit status. That the command as the pod
names it starts from nothing is held by `profiles/test_reader_program.py` and, on nodes, end to end.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

_PARENT: Final = """
import importlib, json, os, sys
main = importlib.import_module(sys.argv[1]).main
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        out = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1), os.dup2(out, 2), os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear(), os.environ.update(asked["environment"])
        sys.argv[1:] = asked["arguments"]
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def run(module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
    """The exit status; both streams are in `log`. Raises RuntimeError where the process they are forked from has ended."""
    parent = _parent(module)
    assert parent.stdin is not None
    assert parent.stdout is not None
    asked = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
    parent.stdin.write(json.dumps(asked) + "\n")
    parent.stdin.flush()
    status = parent.stdout.readline()
    if not status:
        raise RuntimeError(f"the process that has imported {module} has ended")
    return int(status)


@cache
def _parent(module: str) -> subprocess.Popen[str]:
    found = subprocess.Popen([sys.executable, "-c", _PARENT, module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_end, found)
    return found


def _end(parent: subprocess.Popen[str]) -> None:
    with parent:  # closes its streams, and waits for it
        parent.kill()
