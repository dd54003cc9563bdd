"""The end of a leader: what is at hand is finished while the lease is still renewed, and the lease is given back last.

Called by main when the process is told to stop. Whoever is still writing then keeps the next leader out until the lease has
expired: two leaders never overlap, and nothing is applied by halves. Knows nothing of what is written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from plimsoll_operator.controller.leader.lease import LeaseElector

_log = logging.getLogger(__name__)
LAST_KEYS_SECONDS: Final = 20.0
"""Kubernetes kills after 30 seconds where nothing else is said; a request to the API server may take as long by itself."""
RENEWAL_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05


def drain(
    writers: Sequence[threading.Thread],
    renewal: threading.Thread,
    ended: threading.Event,
    elector: LeaseElector,
    *,
    seconds: float = LAST_KEYS_SECONDS,
) -> bool:
    """Wait for the writers, then end the renewals by `ended`, then give the lease back. False where it is left to expire."""
    started = time.monotonic()
    while any(thread.is_alive() for thread in writers) and time.monotonic() - started < seconds:
        if not renewal.is_alive() or elector.overdue():
            break  # nobody may write any more: the process has to end now
        for thread in writers:
            thread.join(_LOOK_SECONDS / len(writers))
    writing = [thread.name for thread in writers if thread.is_alive()]
    ended.set()
    renewal.join(RENEWAL_SECONDS)
    if renewal.is_alive():
        writing.append(renewal.name)
    if writing:
        _log.warning("%s not done after %.0f s: the lease is left to expire", ", ".join(writing), time.monotonic() - started)
        return False
    elector.release()
    _log.info("stopped leading %.1f s after being told to", time.monotonic() - started)
    return True
