"""A controller that reads shapes from a stand-in for the hub, and all the ways in which that may go."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.plimsoll_operator.cluster import IMAGE, NAME, NS, Clock, Cluster
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.hub_server import COMMIT, MODEL, HubServer
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.controller.resolving.hub import HubFetcher
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, Manifest
from plimsoll_operator.profiles.access import Access

TOKEN = "hf_" + "operatorsecret"
MOVED = "f" * 40


class World(Cluster):
    """A cluster of one node with the real decision, and the hub whose address it has."""

    def __init__(
        self, endpoint: str, *, token: Callable[[], str | None] | None = None, offline: bool = False, kube: FakeKube | None = None
    ) -> None:
        self.clock = Clock()
        access = Access(endpoint=endpoint, token=token or (lambda: TOKEN), whose="the operator's hub token")
        self.fetcher = HubFetcher(access, offline=offline, clock=self.clock, now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
        super().__init__(gpu_node("a"), kube=kube, fetchers=[self.fetcher], clock=self.clock)

    def wish(self, name: str = NAME, *, namespace: str = NS, model: str = MODEL, **fields: Any) -> None:
        self.put({"model": {"name": model, **fields}, "engine": {"image": IMAGE}, "fit": {"minMaxModelLen": 1024}}, name, namespace)

    def resolved(self, name: str = NAME) -> tuple[str, str, str]:
        return self.said("ModelResolved", name)

    def profiles(self) -> list[Manifest]:
        return list(self.kube.list_page(CLUSTER_MODEL_PROFILES).items)


def gated(hub: HubServer) -> None:
    hub.repos[MODEL].refuse = (403, {"X_Error_Code": "GatedRepo"})


def private(hub: HubServer) -> None:
    hub.repos[MODEL].refuse = (401, {})


def absent(hub: HubServer) -> None:
    hub.repos.clear()


def no_revision(hub: HubServer) -> None:
    hub.repos[MODEL].refs = {"other": COMMIT}


def busy(hub: HubServer) -> None:
    hub.refusals = [(429, {"Retry_After": "300"})]


def broken(hub: HubServer) -> None:
    hub.refusals = [(503, {"Retry_After": "0"})] * 3


def wrong_json(hub: HubServer) -> None:
    hub.listing = b'{"sha":'


def wrong_config(hub: HubServer) -> None:
    hub.files["config.json"] = b'{"architectures":'


def metadata_service(hub: HubServer) -> None:
    hub.storage = "http://169.254.169.254"


def metadata_service_as_ipv6(hub: HubServer) -> None:
    hub.storage = "http://[::ffff:169.254.169.254]"


def inside(hub: HubServer) -> None:
    hub.storage = "http://10.0.0.1"


def a_file(hub: HubServer) -> None:
    hub.refusals = [(302, {"Location": "file:///etc/passwd"})]


def in_a_circle(hub: HubServer) -> None:
    hub.refusals = [(302, {"Location": "/again"})] * 9


def gguf_only(hub: HubServer) -> None:
    hub.files = {"config.json": hub.files["config.json"], "m.Q4_K_M.gguf": b"x"}


def several_gguf(hub: HubServer) -> None:
    hub.files = {"config.json": hub.files["config.json"], "m.Q4_K_M.gguf": b"x", "m.Q8_0.gguf": b"x"}


def no_config(hub: HubServer) -> None:
    del hub.files["config.json"]


def no_weights(hub: HubServer) -> None:
    hub.files = {"config.json": hub.files["config.json"]}


def another_model_class(hub: HubServer) -> None:
    hub.files["config.json"] = json.dumps({"model_type": "llama"}).encode()
