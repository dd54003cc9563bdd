"""`python -m tests.controlplane`: find or build the programs of the control plane and say where they are (make assets).

With arguments, run one of them: `python -m tests.controlplane helm version`.
"""

import os
import sys

from tests.controlplane.assets import FAMILIES, AssetsError, obtain

wanted = sys.argv[1:]
families = tuple(family for family in FAMILIES if not wanted or wanted[0] in family.programs)
if not families:
    sys.exit(f"plimsoll: {wanted[0]} is no program of the control plane")
try:
    found = obtain(families)
except AssetsError as error:
    sys.exit(f"plimsoll: {error}")
if wanted:
    os.execv(found[wanted[0]], wanted)
print("control plane: " + ", ".join(sorted(found.paths)) + " ready")
