"""What ships, on a real node: the first of `make node`'s tests, so that no whole run of the suite goes without them.

A machine that can have no node (Linux, root, some of Debian's programs) fails here, with a sentence that says what it lacks. A new one
builds the node's programs first.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
ROOT = Path(__file__).parents[2]
FIRST = {
    "with_node": "come_up_twice or nothing_can_be_written or works_in_the_image or reads_a_real_volume or goes_is_followed",
    "with_engine": "serves_what_the_plan_says or too_little_cache",
}


@pytest.mark.parametrize("file", FIRST)
def test_what_ships_works_on_a_node(file: str) -> None:
    command = (sys.executable, "-m", "tests.controlplane.node", "-k", FIRST[file], f"tests/e2e/{file}.py")
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert "left nothing on the machine" in ran.stdout
