"""What ships, on a real node: what of `make node`'s tests takes few minutes, so that no whole run of the suite goes without them.

A machine that can have no node (Linux, root, some of Debian's programs) fails here, with a sentence that says what it lacks. A new one
builds the node's programs first.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
ROOT = Path(__file__).parents[2]
CHOSEN = {
    "with_node": "not made_anew",
    "with_engine": "serves_what_the_plan_says or too_little_cache",
}


@pytest.mark.parametrize("file", CHOSEN)
def test_what_ships_works_on_a_node(file: str) -> None:
    command = (sys.executable, "-m", "tests.controlplane.node", "-k", CHOSEN[file], f"tests/e2e/{file}.py")
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert "left nothing on the machine" in ran.stdout
