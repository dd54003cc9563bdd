"""The language models behind a generic wrapper that no record claims yet, by their text configuration's model type.

Called by `models.register`. Knows no tower and no quantisation.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.towers.compose import Builder

LANGUAGES: Final[dict[str, Builder]] = {}
