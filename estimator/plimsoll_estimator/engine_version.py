"""vLLM release numbers: parsed once, ordered, and known or not known to the estimator.

Used by everything keyed on a version. Knows no rules, only order.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from plimsoll_estimator.errors import InvalidInput

_PATTERN: Final = re.compile(
    r"(?a)v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?(?:\.?(?:post|rc|dev)\d{1,6})*(?:[+-][\w.+-]{0,64})?"
)


class EngineVersion(NamedTuple):
    """A vLLM release, for example 0.19.0 or 0.10.1.1. Suffixes (post, rc, dev, local) are dropped: they share rules.

    A tuple, because every rule compares releases and every memory is keyed by one.
    """

    major: int
    minor: int
    patch: int = 0
    fix: int = 0

    @classmethod
    def parse(cls, text: str) -> EngineVersion:
        """Parse "0.19.0", "v0.19.0", "0.8.5.post1". Raises InvalidInput naming the text."""
        match = _PATTERN.fullmatch(text.strip()) if len(text) <= 100 else None
        if match is None:
            raise InvalidInput("engine_version", text, "is not a vLLM release number such as 0.19.0")
        return cls(int(match[1]), int(match[2]), int(match[3] or 0), int(match[4] or 0))

    def since(self, major: int, minor: int, patch: int = 0, fix: int = 0) -> bool:
        """Whether this is that release or a later one: 0.20.0 is not since 0.20.2."""
        return self >= (major, minor, patch, fix)

    def before(self, major: int, minor: int, patch: int = 0, fix: int = 0) -> bool:
        """Whether this is an earlier one: 0.24.0 is not before 0.24."""
        return self < (major, minor, patch, fix)

    def within(self, since: EngineVersion, before: EngineVersion | None) -> bool:
        """Whether this is `since` or later and, where something ended, earlier than `before`: how every table writes a span of releases."""
        return since <= self and (before is None or self < before)

    @property
    def minor_key(self) -> tuple[int, int]:
        """(major, minor), the grain at which rules change."""
        return (self.major, self.minor)

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return f"{text}.{self.fix}" if self.fix else text


OLDEST_KNOWN: Final = EngineVersion(0, 8)
NEWEST_KNOWN: Final = EngineVersion(0, 33, 0)
