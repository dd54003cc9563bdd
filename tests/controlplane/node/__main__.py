"""`python -m tests.controlplane.node [PYTEST ARGUMENTS]`: prepare, run the tests that need a node in a sandbox, see that nothing is left.

`make node`. With `--shell COMMAND…` the command runs in the sandbox instead of pytest.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.controlplane.assets import CONTAINERD, FAMILIES, NODE, AssetsError, cache_root, obtain, say
from tests.controlplane.node import images, machine

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_TESTS = ("tests/e2e/with_node.py", "tests/e2e/with_engine.py", "tests/e2e/with_life.py")


def main(arguments: list[str]) -> int:
    """Return pytest's status, or 1 where this machine cannot or where something is left."""
    lacks = machine.lacks()
    if lacks:
        print(f"plimsoll: {lacks}", file=sys.stderr)
        return 1
    before = machine.Traces.now()
    try:
        obtain((*FAMILIES, NODE, CONTAINERD))
        prepared = images.obtain()
    except AssetsError as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        return 1
    for line in (left := before.left_by(machine.Traces.now())):
        print(f"plimsoll: preparing has left on the machine: {line}", file=sys.stderr)
    handed = {images.PREPARED: json.dumps({name: str(path) for name, path in prepared.items()})}
    environment = {**os.environ, **handed, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    with (cache_root() / "node-store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the runtime's store is one process's at a time
        # A list, so that each is run whatever the others say.
        return max([int(bool(left)), *[_in_a_sandbox(command, environment) for command in _commands(arguments)]])


def _commands(arguments: list[str]) -> list[list[str]]:
    """What to run, each in a sandbox of its own: a node is booted in a new one."""
    if arguments[:1] == ["--shell"]:
        return [arguments[1:]]
    files = [one for one in arguments if one.partition("::")[0].endswith(".py")]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "e2e", *[one for one in arguments if one not in files]]
    return [[*pytest, file] for file in files or _TESTS]


def _in_a_sandbox(command: list[str], environment: dict[str, str]) -> int:
    """Return the command's status, or 1 where something is left on the machine."""
    before, began = machine.Traces.now(), time.monotonic()
    sandbox = subprocess.Popen([_HERE / "sandbox.sh", *command], cwd=_ROOT, env=environment)
    status = sandbox.wait()
    if status < 0:  # killed: its processes went with it, its cgroups did not
        time.sleep(2)
        machine.remove_cgroups(sandbox.pid)
    left = before.left_by(machine.Traces.now())
    for line in left:
        print(f"plimsoll: left on the machine: {line}", file=sys.stderr)
    say(f"the node's run took {time.monotonic() - began:.0f} s and left {'nothing' if not left else f'{len(left)} things'} on the machine")
    return abs(status) or int(bool(left))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
