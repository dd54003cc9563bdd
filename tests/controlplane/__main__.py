"""`python -m tests.controlplane`: find or build the programs of the control plane and say where they are (make assets)."""

import sys

from tests.controlplane.assets import AssetsError, obtain

try:
    found = obtain()
except AssetsError as error:
    sys.exit(f"plimsoll: {error}")
print("control plane: " + ", ".join(sorted(found.paths)) + " ready")
