"""All InferenceDeployments, listed: by a new leader before it decides anything, and every ten minutes after, with fresh eyes.

Called by the leader's main thread and by its timer. Knows nothing of what is done with a key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.children.course import place_of
from plimsoll_operator.controller.cluster.copies import Copies
from plimsoll_operator.controller.leader.recovery import deployment_of, reservation_of
from plimsoll_operator.controller.loops.quarantine import Quarantine, Unit
from plimsoll_operator.controller.loops.work_queue import WorkQueue
from plimsoll_operator.controller.reconcile import Reconciler
from plimsoll_operator.controller.watching.news import News
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Key, Kube, Manifest, key_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relist:
    """`children` are all children as the caches have them, `known` the keys that were looked at."""

    kube: Kube
    reconciler: Reconciler
    ledger: Ledger
    copies: Copies
    news: News
    queue: WorkQueue[Key]
    quarantine: Quarantine
    children: Callable[[], Iterable[Manifest]]
    known: Callable[[], Iterable[Key]]

    def recover(self) -> None:
        """Book what the leader before us has reserved, all of it before the first decision of our own.

        A child counts whose owner exists with that very uid: labels, owners and annotations may be written by whoever may edit
        Deployments. One that cannot be read is named and left; its deployment is looked at like every other. Raises ApiFailure.
        """
        owners, answered = {}, {}
        for item in self._all_deployments():
            self.copies.keep_listed(item)
            owners[key_of(item)] = str(item["metadata"].get("uid"))
            answered[key_of(item)] = self.news.hear_listed(item)
        reservations = {}
        # Of two children of one deployment the one with the later plan comes last, and counts.
        for child in sorted(self.children(), key=place_of):
            key = deployment_of(child, owners)
            if key is None:
                continue
            with self.quarantine.border(Unit.RECOVERY, f"child of {key[0]}/{key[1]}"):
                reservation = reservation_of(child, gated=bool(self.ledger.gated(key)))
                if reservation is not None:
                    reservations[key] = reservation
        with self.quarantine.border(Unit.RECOVERY, "bookings"):
            self.reconciler.recover(reservations)
        for key, unchanged in answered.items():
            self.queue.add(key, unchanged=unchanged)

    def resync(self) -> None:
        """Look at every deployment again with fresh eyes, also at those of which the watcher has told nothing."""
        self.reconciler.rejudge()
        self._look_again(self.known())
        listed = set()
        try:
            for item in self._all_deployments():
                self.copies.keep_listed(item)
                listed.add(key_of(item))
            self.copies.forget_all_but(listed)
            self._look_again(listed)
        except ApiFailure as failure:
            _log.warning("resync: %s", failure)

    def _look_again(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.queue.add(key, unchanged=True)

    def _all_deployments(self) -> Iterator[Manifest]:
        token = ""
        while True:
            page = self.kube.list_page(INFERENCE_DEPLOYMENTS, continue_token=token)
            yield from page.items
            token = page.continue_token
            if not token:
                return
