"""What the watcher tells of InferenceDeployments, put on the work queue: what users have changed before what is only told again.

Called by the watcher for each event. Reads names and metadata alone; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_operator.controller.cluster.copies import Copies
from plimsoll_operator.controller.loops.work_queue import WorkQueue
from plimsoll_operator.controller.watching.news import News
from plimsoll_operator.ports import Key


@dataclass(frozen=True, slots=True)
class Heard:
    """See the module; a watcher's `OnEvent`."""

    queue: WorkQueue[Key]
    news: News
    copies: Copies

    def __call__(self, key: Key, metadata: Mapping[str, Any], *, gone: bool) -> None:
        """Take one event."""
        unchanged = self.news.hear(key, metadata, gone=gone)
        if gone:
            self.copies.forget(key)
        elif self.copies.hear(key, str(metadata.get("resourceVersion") or "")) and unchanged:
            return  # what was read, listed or written last: it was looked at then, or is about to be
        self.queue.add(key, unchanged=unchanged)
