"""Towers beside a language model, for images and for sound: the weights one rank builds, and how tower and language are put together.

Used by `models`. Knows no language model: `compose.with_tower` takes its builder.
"""

from __future__ import annotations
