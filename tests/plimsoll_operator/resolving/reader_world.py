"""A reading of a volume or of the hub by a pod with the user's rights, the kubelet playing the pod: for the tests of readers."""

import threading
from datetime import datetime, timedelta
from typing import Any

from tests.plimsoll_operator.hub_server import MODEL
from tests.plimsoll_operator.kubelet import MADE, Kubelet

from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings
from plimsoll_operator.controller.resolving.user_rights import UserRights
from plimsoll_operator.names import READER_LABEL
from plimsoll_operator.ports import PODS, Manifest
from plimsoll_operator.read_request import ReadRequest, TokenHub, Volume

NOW = datetime.fromisoformat(MADE) + timedelta(seconds=5)
SETTINGS = ReaderSettings(image="plimsoll/operator:test")
ON_CLAIM, BY_TOKEN = Volume(claim="weights", path="llama"), TokenHub(secret="hub", key="token")
VOLUME = ReadRequest(namespace="team", model="acme/in-house", revision=None, source=ON_CLAIM)
PRIVATE = ReadRequest(namespace="team", model=MODEL, revision="main", source=BY_TOKEN)


def look(
    kube: Kubelet, wanted: ReadRequest = VOLUME, *, now: datetime = NOW, settings: ReaderSettings = SETTINGS
) -> FetchFailure | Fetched:
    return UserRights(kube=kube, settings=settings, now=lambda: now).fetch(wanted, threading.Event())


def fetch(kube: Kubelet, wanted: ReadRequest = VOLUME, **more: Any) -> Fetched | FetchFailure:
    """Look until something is known, as the resolver does; the kubelet plays a pod as soon as it is made."""
    for _ in range(3):
        found = look(kube, wanted, **more)
        if not isinstance(found, FetchFailure) or found.reason != "Resolving":
            break
    return found


def failed(found: Fetched | FetchFailure) -> FetchFailure:
    assert isinstance(found, FetchFailure), found
    return found


def reader_pods(kube: Kubelet) -> list[Manifest]:
    return [pod for pod in kube.list_page(PODS).items if READER_LABEL in pod["metadata"]["labels"]]
