"""The operator's errors: what the API server refuses and what ends the leader. Everything else that is raised is a bug.

Raised by `kube` (and its in-memory twin) and by the controller's lease; caught where a key is retried and in the
controller's main. "Does not fit" is a verdict, never one of these.
"""

from __future__ import annotations


class OperatorError(Exception):
    """Root of everything the operator raises on purpose."""


class ApiFailure(OperatorError):
    """The API server refused or could not be reached. `status` is the HTTP status, 0 when there was no answer that can be used.

    `retry_after_seconds` is how long it asks to be left alone, already bounded; None where it says nothing.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after_seconds: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{status} {reason}: {message}" if status else message)

    @property
    def final(self) -> bool:
        """Whether the same request will be refused until somebody changes something: invalid, forbidden, over a quota, too large."""
        return self.status in (400, 403, 405, 413, 422)


class WatchExpired(OperatorError):
    """The watch's resource version is too old (410 Gone): list again."""


class LeaseLost(OperatorError):
    """Another process holds the lease, or it could not be renewed in time. The process must exit."""
