"""kopf's part in a container: its user has a number and no name."""

import subprocess
import sys

# In a process of its own: the number of a user cannot be taken back. Nobody listens at the port.
NAMELESS = """
import os, threading
from plimsoll_operator.controller.watcher import run_watcher
from plimsoll_operator.kube import Connection
import kopf._core.reactor.running, kopf._core.engines.peering
if os.getuid() == 0:
    os.setuid(65532)
absent = dict.fromkeys(("ca_path", "authorization", "certificate_path", "private_key_path"))
there = Connection(server="http://127.0.0.1:9", insecure=True, **absent)
stop = threading.Event()
threading.Timer(1.0, stop.set).start()
run_watcher(lambda: there, print, identity="plimsoll-0", stop=stop, ready=threading.Event())
assert stop.is_set(), "kopf gave up before it was stopped"
"""


def test_a_user_without_a_name_watches() -> None:
    done = subprocess.run([sys.executable, "-c", NAMELESS], env={}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
