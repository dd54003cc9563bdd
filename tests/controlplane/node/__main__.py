"""`python -m tests.controlplane.node [PYTEST ARGUMENTS]`: prepare, run the tests that need a node in a sandbox, see that nothing is left.

`make node`. With `--shell COMMAND…` the command runs in the sandbox instead of pytest. With `--engines RELEASE=PYTHON…`, which is
`make demo-engine`, real engines are in the place of the stand-in, and the tests of them run.
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
from tests.controlplane.node.real_engine import PYTHONS, RealEngine
from tests.controlplane.processes import exit_on_signals

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_TESTS = ("tests/e2e/with_node.py", "tests/e2e/with_engine.py", "tests/e2e/with_life.py")
_ENDS_WITHIN_S = 30
_TESTS_OF_ENGINES = ("-s", "tests/e2e/with_vllm.py")


def main(arguments: list[str]) -> int:
    """Return pytest's status, or 1 where this machine cannot or where something is left."""
    lacks = machine.lacks()
    if lacks:
        print(f"plimsoll: {lacks}", file=sys.stderr)
        return 1
    exit_on_signals()
    before = machine.Traces.now()
    engines: list[RealEngine] = []
    try:
        if arguments[:1] == ["--engines"]:
            engines, arguments = [RealEngine.parse(one) for one in arguments[1:]], [*_TESTS_OF_ENGINES]
        obtain((*FAMILIES, NODE, CONTAINERD))
        prepared = images.obtain() | {engine.image: engine.archive() for engine in engines}
    except AssetsError as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        return 1
    for line in (left := before.left_by(machine.Traces.now())):
        print(f"plimsoll: preparing has left on the machine: {line}", file=sys.stderr)
    handed = {images.PREPARED: json.dumps({name: str(path) for name, path in prepared.items()})}
    if engines:
        handed |= {PYTHONS: json.dumps({one.release: str(one.python) for one in engines}), images.STORE: "node-store-engines"}
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
    # -rP: what passing tests have measured is printed too.
    pytest = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", "-m", "e2e"]
    return [[*pytest, *[one for one in arguments if one not in files], file] for file in files or _TESTS]


def _in_a_sandbox(command: list[str], environment: dict[str, str]) -> int:
    """Return the command's status, or 1 where something is left on the machine."""
    before, began = machine.Traces.now(), time.monotonic()
    sandbox = subprocess.Popen([_HERE / "sandbox.sh", *command], cwd=_ROOT, env=environment)
    try:
        status = sandbox.wait()
    finally:  # whoever is told to end takes it along
        if sandbox.poll() is None:
            _end(sandbox)
    if status < 0:
        _sweep(sandbox)
    left = before.left_by(machine.Traces.now())
    for line in left:
        print(f"plimsoll: left on the machine: {line}", file=sys.stderr)
    say(f"the node's run took {time.monotonic() - began:.0f} s and left {'nothing' if not left else f'{len(left)} things'} on the machine")
    return abs(status) or int(bool(left))


def _end(sandbox: subprocess.Popen[bytes]) -> None:
    """A test that runs in it takes the first signal for its own failure and the next test begins: it is not asked twice."""
    sandbox.terminate()
    try:
        sandbox.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        sandbox.kill()
        sandbox.wait()
        _sweep(sandbox)


def _sweep(sandbox: subprocess.Popen[bytes]) -> None:
    """What was killed: its processes went with it, its cgroups did not."""
    time.sleep(2)
    machine.remove_cgroups(sandbox.pid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
