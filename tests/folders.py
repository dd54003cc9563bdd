"""Where things are in the checkout, for every test: the one place that counts folders upwards."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TESTS: Final = ROOT / "tests"
DATA: Final = TESTS / "data"  # what vLLM, clouds and people said, as the tests are held against it
TOOLS: Final = ROOT / "tools"
