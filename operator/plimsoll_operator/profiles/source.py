"""Where a checkpoint's small files come from: the protocol of a source, its limits, and its one error.

`directory` and `hub` implement it, `build` reads through it. Knows neither JSON nor tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from plimsoll_estimator import EstimatorError
from plimsoll_operator.reasons import NoShape

MAX_CONFIG_BYTES: Final = 16 << 20
"""The largest published one has 5.7 MB (nvidia/MiniMax-M3-NVFP4)."""
MAX_INDEX_BYTES: Final = 32 << 20
MAX_FILES: Final = 20_000

_LARGE_BYTES: Final = 4 << 20
_large = threading.Lock()


@contextmanager
def one_large_at_a_time(size: int) -> Iterator[None]:
    """Hold while a document of `size` bytes is read and parsed: JSON takes about six times its length in memory.

    Several readings go on at once in the controller; what is large waits for its turn, so that hostile files bound its memory too.
    """
    if size <= _LARGE_BYTES:
        yield
        return
    with _large:
        yield


class SourceFailure(EstimatorError):
    """The source did not give a shape; `reason` is the reason of the condition ModelResolved. Never a fault of a file itself.

    `message` is the sentence alone, `retry_after_seconds` what the source asks to wait.
    """

    def __init__(self, reason: NoShape, message: str, *, retry_after_seconds: float | None = None) -> None:
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{reason}: {message}")


class NotPermitted(SourceFailure):
    """The file is there, and who asks may not read it."""


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
