"""Where a checkpoint's small files come from: the protocol of a source, its limits, and its one error.

`directory` and `hub` implement it, `build` reads through it. Knows neither JSON nor tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Protocol

from plimsoll_estimator.errors import EstimatorError

MAX_CONFIG_BYTES: Final = 32 << 20
MAX_INDEX_BYTES: Final = 64 << 20
MAX_FILES: Final = 20_000

FailureReason = Literal["NotFound", "Gated", "Unreachable", "Unsupported", "Ambiguous"]


class SourceFailure(EstimatorError):
    """The source did not give a shape; `reason` is the reason of the condition ModelResolved. Never a fault of a file itself.

    `message` is the sentence alone, `retry_after_seconds` what the source asks to wait.
    """

    def __init__(self, reason: FailureReason, message: str, *, retry_after_seconds: float | None = None) -> None:
        self.reason: FailureReason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{reason}: {message}")


class Source(Protocol):
    """One checkpoint at one revision."""

    @property
    def kind(self) -> str:
        """What ModelProfile `source` says: directory or hub, and where."""
        ...

    @property
    def revision(self) -> str | None:
        """The commit the files are of, where known."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Names of the files at the top and their sizes in bytes. Raises SourceFailure."""
        ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """At most `length` bytes of a file from `offset`; fewer where the file ends. Raises SourceFailure."""
        ...
