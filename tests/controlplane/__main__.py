"""`python -m tests.controlplane`: find, fetch or build the programs of the control plane and say where they are (make assets).

With arguments, run one of them: `python -m tests.controlplane helm version`.
"""

import sys

from tests.controlplane.assets import main

main(sys.argv[1:])
