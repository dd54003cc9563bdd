"""A controller that reads shapes from a stand-in for the hub, and all the ways in which that may go."""

import json
import threading
from datetime import UTC, datetime

from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment
from tests.plimsoll_operator.hub_server import COMMIT, MODEL
from tests.plimsoll_operator.reconcile_world import gpu_node

from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.resolving.hub import HubFetcher
from plimsoll_operator.decision import decide
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, DEPLOYMENTS, INFERENCE_DEPLOYMENTS, NODES
from plimsoll_operator.profiles.access import Access

NS = "team"


TOKEN = "hf_" + "operatorsecret"


MOVED = "f" * 40


class World:
    """A fake API server, the whole controller with the real decision, and a hub; `settle` does what threads and watches would."""

    def __init__(self, endpoint, *, token=None, offline=False, kube=None):
        self.kube = kube or FakeKube()
        self.kube.create(NODES, gpu_node("a"))
        self.now = 1000.0
        access = Access(endpoint=endpoint, token=token or (lambda: TOKEN), whose="the operator's hub token")
        self.fetcher = HubFetcher(access, offline=offline, clock=lambda: self.now, now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
        self.controller = Controller(self.kube, decide, identity="test", fetchers=[self.fetcher], clock=lambda: self.now)
        self.stop = threading.Event()

    def wish(self, name="chat", *, namespace=NS, model=MODEL, **fields):
        spec = {"model": {"name": model, **fields}, "engine": {"image": "vllm/vllm-openai:v0.19.0"}, "fit": {"minMaxModelLen": 1024}}
        self.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(namespace, name, spec))

    def settle(self, rounds=3):
        for _ in range(rounds):
            for informer in self.controller.informers:
                informer.relist()
            self.controller.pool_writer.write()
            self.controller.enqueue((row["metadata"]["namespace"], row["metadata"]["name"]) for row in self.wishes())
            self.drain()
            while self.controller.resolver.work_once(self.stop, timeout_seconds=0):
                pass

    def drain(self):
        while (key := self.controller.queue.take(0)) is not None:
            self.controller.work_on(key)

    def wishes(self):
        return self.kube.list_page(INFERENCE_DEPLOYMENTS, limit=5000).items

    def status(self, name="chat"):
        return self.kube.get(INFERENCE_DEPLOYMENTS, NS, name)["status"]

    def resolved(self, name="chat"):
        (row,) = [row for row in self.status(name)["conditions"] if row["type"] == "ModelResolved"]
        return row["status"], row["reason"], row["message"]

    def profiles(self):
        return self.kube.list_page(CLUSTER_MODEL_PROFILES).items

    def arguments(self, name="chat"):
        return self.kube.get(DEPLOYMENTS, NS, name)["spec"]["template"]["spec"]["containers"][0]["args"]


def gated(hub):
    hub.repos[MODEL].refuse = (403, {"X_Error_Code": "GatedRepo"})


def private(hub):
    hub.repos[MODEL].refuse = (401, {})


def absent(hub):
    hub.repos.clear()


def no_revision(hub):
    hub.repos[MODEL].refs = {"other": COMMIT}


def busy(hub):
    hub.refusals = [(429, {"Retry_After": "300"})]


def broken(hub):
    hub.refusals = [(503, {"Retry_After": "0"})] * 3


def wrong_json(hub):
    hub.listing = b'{"sha":'


def wrong_config(hub):
    hub.files["config.json"] = b'{"architectures":'


def metadata_service(hub):
    hub.storage = "http://169.254.169.254"


def metadata_service_as_ipv6(hub):
    hub.storage = "http://[::ffff:169.254.169.254]"


def inside(hub):
    hub.storage = "http://10.0.0.1"


def a_file(hub):
    hub.refusals = [(302, {"Location": "file:///etc/passwd"})]


def in_a_circle(hub):
    hub.refusals = [(302, {"Location": "/again"})] * 9


def gguf_only(hub):
    hub.files = {"config.json": hub.files["config.json"], "m.Q4_K_M.gguf": b"x"}


def several_gguf(hub):
    hub.files = {"config.json": hub.files["config.json"], "m.Q4_K_M.gguf": b"x", "m.Q8_0.gguf": b"x"}


def no_config(hub):
    del hub.files["config.json"]


def no_weights(hub):
    hub.files = {"config.json": hub.files["config.json"]}


def another_model_class(hub):
    hub.files["config.json"] = json.dumps({"model_type": "llama"}).encode()
