"""Shapes that only a namespace's own rights can read: a volume, an image, or the hub with a user's token. By a reader pod there.

A Fetcher. Each call looks once and brings the pod one step further, so that pods keep no thread, however many and however slow
they are; the next call, when the pod has ended or after a while, finds it by its name, also after a restart. The pod is deleted
when its log is read, and everything a log may hold that is not exactly the result asked for changes nothing but a condition.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from plimsoll_operator.api import ImageFolder, ModelProfileSpec, PersistentVolumeClaimSource, ProfileOrigin
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.controller.resolving.reader_pod import (
    CONTAINER,
    READING_SECONDS,
    Ended,
    ReaderSettings,
    State,
    Waiting,
    deadline_of,
    ended_at,
    is_ours,
    pod_name,
    reader_pod,
    request_key,
    seconds_since,
    sentence,
    state_of,
)
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import MANAGED_SELECTOR, READER_LABEL
from plimsoll_operator.ports import PERSISTENT_VOLUME_CLAIMS, PODS, Kube, Manifest, key_of
from plimsoll_operator.profiles.build import shape_digest
from plimsoll_operator.profiles.frame import LOG_LIMIT_BYTES, ForeignLog, Request, decode
from plimsoll_operator.read_request import ByPod, HubCache, ImageVolume, OnVolume, ReadRequest, TokenHub, Volume
from plimsoll_operator.reasons import NoShape

FORGOTTEN_SECONDS: Final = 120.0
"""After its end a pod that is still wanted is looked at much sooner; this one's deployment is gone."""
CLAIM_SECONDS: Final = 60.0
"""How long a claim that has been made or bound may go unnoticed."""
START_SECONDS: Final = 600
"""How long a pod may wait for its node, its volume or its image before it is taken away; the next try makes another."""
OLDEST_SECONDS: Final = START_SECONDS + READING_SECONDS
"""What is older is of no use, whatever it says: a volume may hold other files by now. A pod with more time to read gets as much more."""
_SELECTOR: Final = f"{READER_LABEL},{MANAGED_SELECTOR}"
_MAX_SOURCE: Final = 256
_NO_TOTALS: Final = "not known: bytes by dtype, as there are no safetensors files; the estimate rests on config.json alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRights:
    """See the module. `now` is the wall clock; one instance serves all resolver threads."""

    kube: Kube
    settings: ReaderSettings
    now: Callable[[], datetime]

    def answers(self, request: ReadRequest) -> bool:
        """Volumes, images, and the hub with a user's token."""
        return isinstance(request.source, ByPod)

    def fetch(self, request: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
        """See Fetcher.fetch. A handful of requests, none of which waits for the pod."""
        source = request.source
        if not isinstance(source, ByPod):
            return FetchFailure(reason=NoShape.UNSUPPORTED, message="this is not read by a pod")
        if not self.settings.image:
            off = "reader pods are switched off here: give a ModelProfile"
            return FetchFailure(reason=NoShape.UNSUPPORTED, message=off, retry_after_seconds=math.inf)
        if self.settings.offline and isinstance(source, TokenHub):
            asleep = "the controller runs offline and has no hub asked"
            return FetchFailure(reason=NoShape.UNREACHABLE, message=asleep, retry_after_seconds=math.inf)
        try:
            return self._look(request, source)
        except ApiFailure as failure:
            return FetchFailure(reason=NoShape.UNREACHABLE, message=f"the reader pod {_where(request)}: {sentence(failure)}")

    def _look(self, request: ReadRequest, source: ByPod) -> Fetched | FetchFailure:
        problem = self._unbound(request.namespace, source.claim) if isinstance(source, Volume | HubCache) else None
        if problem is not None:
            return problem
        pod = self.kube.get(PODS, request.namespace, pod_name(request))
        if pod is None:
            self._make(reader_pod(request, source, self.settings))
            return _waits(request, "it is being started")
        if not is_ours(pod, request):
            return FetchFailure(
                reason=NoShape.AMBIGUOUS, message=f"a pod {_where(request)} is there that is not a reader pod of Plimsoll's"
            )
        if "deletionTimestamp" in pod["metadata"]:
            return _waits(request, "the one before it is going")
        state = state_of(pod)
        if _age_seconds(pod, self.now()) > _oldest_seconds(pod):
            self.kube.delete(PODS, *key_of(pod))
            return _too_old(request, state, _oldest_seconds(pod))
        return _waits(request, state.why) if isinstance(state, Waiting) else self._finish(request, source, state)

    def _unbound(self, namespace: str, name: str) -> FetchFailure | None:
        """A claim that waits for its first pod would be bound where the reader lands, and there is nothing on it yet."""
        claim = self.kube.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        if claim is None:
            missing = f"there is no PersistentVolumeClaim {namespace}/{name}"
            return FetchFailure(reason=NoShape.NOT_FOUND, message=missing, retry_within_seconds=CLAIM_SECONDS)
        phase = (claim.get("status") or {}).get("phase")
        if phase == "Bound":
            return None
        waits = f"PersistentVolumeClaim {namespace}/{name} is {sentence(phase or 'Pending')}, not Bound"
        return FetchFailure(reason=NoShape.UNREACHABLE, message=waits, retry_within_seconds=CLAIM_SECONDS)

    def _make(self, manifest: Manifest) -> None:
        """Create the pod; one that is there already, made by another leader, is looked at the next time."""
        try:
            self.kube.create(PODS, manifest)
        except ApiFailure as failure:
            if failure.status != 409 or failure.reason != "AlreadyExists":
                raise

    def _finish(self, request: ReadRequest, source: ByPod, found: Ended | FetchFailure) -> Fetched | FetchFailure:
        """Read the log of a pod that is over, then take the pod away. A log that cannot be read now is tried again."""
        if isinstance(found, FetchFailure):
            outcome: Fetched | FetchFailure = found
        else:
            log = self.kube.pod_log(request.namespace, pod_name(request), container=CONTAINER, limit_bytes=LOG_LIMIT_BYTES)
            outcome = self._read(request, source, log)
        self.kube.delete(PODS, request.namespace, pod_name(request))
        return outcome

    def _read(self, request: ReadRequest, source: ByPod, log: bytes) -> Fetched | FetchFailure:
        expected = Request(
            key=request_key(request), model=request.model, revision=request.revision, on_hub=isinstance(source, TokenHub | HubCache)
        )
        try:
            read = decode(log, expected)
        except ForeignLog as error:
            return FetchFailure(reason=NoShape.INVALID, message=f"the log of the reader pod {_where(request)} is not believed: {error}")
        notes = () if read.weights is not None else (_NO_TOTALS,)
        return Fetched(spec=_profile(read, request, source, self.now()), cluster=False, notes=notes)


def _profile(read: ModelProfileSpec, request: ReadRequest, source: ByPod, now: datetime) -> ModelProfileSpec:
    """What the pod read, with what only the controller can say of it."""
    totals = None if read.weights is None else {row.dtype: row.bytes for row in read.weights.by_dtype}
    more: dict[str, Any] = {"obtained_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "digest": shape_digest(read.config, totals)}
    if isinstance(source, OnVolume):
        where, more["origin"] = _origin(source)
        more |= {"source": where[:_MAX_SOURCE]} | ({"requested_revision": request.revision} if isinstance(source, HubCache) else {})
        return read.model_copy(update=more)
    return read.model_copy(update={**more, "source": "hub with a token of the namespace", "requested_revision": request.revision})


def _origin(source: OnVolume) -> tuple[str, ProfileOrigin]:
    if isinstance(source, ImageVolume):
        image = ImageFolder(reference=source.reference, path=source.path)
        return f"image {image.reference} {image.path}", ProfileOrigin(image=image)
    layout: Literal["HubCache"] | None = "HubCache" if isinstance(source, HubCache) else None
    claim = PersistentVolumeClaimSource(claim_name=source.claim, path=source.path, layout=layout)
    what = "hub's cache on volume" if isinstance(source, HubCache) else "volume"
    return f"{what} {claim.claim_name}/{claim.path}", ProfileOrigin(persistent_volume_claim=claim)


def _waits(request: ReadRequest, why: str) -> FetchFailure:
    return FetchFailure(reason=NoShape.RESOLVING, message=f"the reader pod {_where(request)} has not ended: {why}")


def _oldest_seconds(pod: Manifest) -> int:
    return START_SECONDS + deadline_of(pod)


def _too_old(request: ReadRequest, found: State, seconds: int) -> FetchFailure:
    why = f": {found.why}" if isinstance(found, Waiting) else ""
    return FetchFailure(
        reason=NoShape.UNREACHABLE, message=f"the reader pod {_where(request)} came to no end within {seconds} seconds{why}"
    )


def _where(request: ReadRequest) -> str:
    return f"{request.namespace}/{pod_name(request)}"


def sweep(kube: Kube, now: datetime, namespaces: Iterable[str] = ("",)) -> int:
    """Delete reader pods that nobody came back for; the number of them. Called by the leader now and then. Raises ApiFailure.

    `namespaces` are those whose pods may be listed; "" is all of them.
    """
    gone = 0
    for namespace in namespaces:
        token = ""
        while True:
            page = kube.list_page(PODS, namespace=namespace, selector=_SELECTOR, continue_token=token)
            for pod in page.items:
                if _age_seconds(pod, now) > _oldest_seconds(pod) or seconds_since(ended_at(pod), now) > FORGOTTEN_SECONDS:
                    kube.delete(PODS, *key_of(pod))
                    gone += 1
            token = page.continue_token
            if not token:
                break
    return gone


def _age_seconds(pod: Manifest, now: datetime) -> float:
    return seconds_since(pod["metadata"].get("creationTimestamp"), now)
