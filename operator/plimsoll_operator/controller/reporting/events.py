"""Kubernetes Events about InferenceDeployments, each said once, and what was put right once an occasion.

Called by the reconciler when something a user should see has changed. What is posted is a line of the log as well. The name is a
digest of what is said, so a restart that says it again meets its own Event and adds none. Knows no verdicts.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal, TypeAlias

from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import EVENTS, FIELD_MANAGER, INFERENCE_DEPLOYMENTS, Key, Kube
from plimsoll_operator.text import one_line

MAX_NOTE: Final = 1024
Kind: TypeAlias = Literal["Normal", "Warning"]
_LEVELS: Final[dict[Kind, int]] = {"Normal": logging.INFO, "Warning": logging.WARNING}
_log = logging.getLogger(__name__)


class EventRecorder:
    """Posts events.k8s.io/v1 Events. Safe from several threads as long as no two post about the same key."""

    def __init__(self, kube: Kube, *, identity: str, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._identity = identity
        self._now = now
        self._last: dict[Key, tuple[str, str]] = {}
        self._refused: set[Key] = set()

    def post(self, key: Key, uid: str, *, kind: Kind, reason: str, action: str, note: str, old: bool = False) -> None:
        """Say it unless it was the last thing said about the object. A refused post is logged and never fails the key.

        `old`: the status says so already. Then it was said when that was written, by an earlier leader, unless we were refused.
        """
        if old and key not in self._last and key not in self._refused:
            self._last[key] = (reason, note)
        if self._last.get(key) == (reason, note):
            return
        if self._create(key, uid, kind=kind, reason=reason, action=action, note=note):
            self._refused.discard(key)
            self._last[key] = (reason, note)
        else:
            self._refused.add(key)

    def happened(self, key: Key, uid: str, *, reason: str, note: str, occasion: str) -> None:
        """Say what was put right at this `occasion`, whatever was said of another. The caller bounds how often."""
        self._create(key, uid, kind="Warning", reason=reason, action="Apply", note=note, occasion=occasion)

    def _create(self, key: Key, uid: str, *, kind: Kind, reason: str, action: str, note: str, occasion: str = "") -> bool:
        """Whether the API server has it now."""
        namespace, name = key
        digest = hashlib.sha256(f"{uid}/{reason}/{note}{occasion}".encode(errors="backslashreplace")).hexdigest()[:12]
        manifest = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": namespace, "name": f"{name[:200]}.{digest}"},
            "eventTime": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"plimsoll.dev/{FIELD_MANAGER}",
            "reportingInstance": self._identity[:128],
            "action": action,
            "reason": str(reason),
            "type": kind,
            "note": one_line(note, MAX_NOTE),
            "regarding": {
                "apiVersion": INFERENCE_DEPLOYMENTS.api_version,
                "kind": INFERENCE_DEPLOYMENTS.kind,
                "namespace": namespace,
                "name": name,
                "uid": uid,
            },
        }
        try:
            self._kube.create(EVENTS, manifest)
        except ApiFailure as failure:
            if failure.status != HTTPStatus.CONFLICT:
                _log.warning("event %s for %s/%s not posted: %s", reason, namespace, name, failure)
                return False
        else:
            about = {"namespace": namespace, "name_of_object": name, "reason": str(reason)}
            _log.log(_LEVELS[kind], "%s/%s: %s: %s", namespace, name, reason, manifest["note"], extra=about)
        return True

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._last.pop(key, None)
        self._refused.discard(key)
