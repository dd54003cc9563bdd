"""Why an engine ended, from the end of its log: read once for each pod that does not say it in its status, within bounds.

Called by the reconciler before it reports. The log is text from outside: bounded, one line, without what looks like a hub token, and told
to nobody but who reads the deployment, whose namespace's pods it is of. Where it cannot be read nothing is said. Knows no decision.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from plimsoll_operator.api import ENGINE_CONTAINER
from plimsoll_operator.conditions import PodsFail
from plimsoll_operator.controller.booking.pod_trouble import MAX_WORDS, ROOT_CAUSE_ABOVE, WORDS, Said, last_words
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import Key, Kube
from plimsoll_operator.text import one_line, without_tokens

LIMIT_BYTES: Final = 256 << 10
LINES: Final = 600
"""vLLM prints its engine's traceback, then that of each worker and of its server: some hundred lines."""
NO_LOG: Final = "unable to retrieve container logs"
"""The kubelet's own words in place of a log that is gone already (kubernetes, pkg/kubelet/kuberuntime/logs)."""
_NOTHING: Final = Said("")
_MOST_PODS: Final = 512
_AGAIN_SECONDS: Final = 60.0
"""How long a log that could not be read, or told nothing, is not asked for again."""


class LastWords:
    """Thread-safe. `clock` is monotonic seconds."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        self._lock = threading.Lock()
        self._told: OrderedDict[Key, tuple[Said, float]] = OrderedDict()

    def add_to(self, fails: PodsFail | None, namespace: str) -> PodsFail | None:
        """The same with what the log says, where the pod's status does not say it."""
        if fails is None or not fails.pod:
            return fails
        said = self._said((namespace, fails.pod), fails.container)
        if not said.words:
            return fails
        return replace(fails, message=f"{fails.message.partition(WORDS)[0]}{WORDS}{said.words}", cause=said.cause)

    def _said(self, pod: Key, container: str) -> Said:
        with self._lock:
            known = self._told.get(pod)
            if known is not None and (known[0].words or self._clock() - known[1] < _AGAIN_SECONDS):
                self._told.move_to_end(pod)
                return known[0]
        # It may run again, wait, or have ended just now: what ended last is the run before in the first case, the last run in the others.
        said = self._read(pod, container, previous=True)
        if not said.words:
            said = self._read(pod, container, previous=False)
        with self._lock:
            self._told[pod] = (said, self._clock())
            while len(self._told) > _MOST_PODS:
                self._told.popitem(last=False)
        return said

    def _read(self, pod: Key, container: str, *, previous: bool) -> Said:
        try:
            log = self._kube.pod_log(*pod, container=container, limit_bytes=LIMIT_BYTES, lines=LINES, previous=previous)
        except ApiFailure:
            return _NOTHING
        words, cause = last_words(log.decode(errors="replace"))
        if ROOT_CAUSE_ABOVE in words or words.startswith(NO_LOG):
            return _NOTHING
        return Said(without_tokens(one_line(words, MAX_WORDS)), cause if container == ENGINE_CONTAINER else "")
