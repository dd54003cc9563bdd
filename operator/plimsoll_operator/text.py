"""Sentences that may quote anybody's input, made fit to be written down: into a status, an event, a log line or a warning.

Used wherever words leave the process. Knows no sentence.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"hf_[A-Za-z0-9]{8,}")


def one_line(text: str, limit: int) -> str:
    """Printable text on one line, at most `limit` characters, shortened with dots.

    A line break forges a line of a log and makes the API server drop a warning; half of a surrogate pair cannot be encoded at all.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def without_tokens(text: str) -> str:
    """Without what looks like a hub's token."""
    return _TOKEN.sub("(token)", text)
