"""Pods that exist and do not come to serve: what their status tells, that it is said while it is so, once, and no longer."""

from typing import ClassVar

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_estimator import FailureCause
from plimsoll_operator.conditions import PodsFail
from plimsoll_operator.controller.booking.pod_trouble import MAX_WORDS, pod_trouble
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.reporting.last_words import LIMIT_BYTES, LINES, LastWords
from plimsoll_operator.ports import DEPLOYMENTS, EVENTS, NODES, PODS, Manifest
from plimsoll_operator.reasons import PodsFailReason
from plimsoll_operator.reasons.engine_ends import NEXT_STEPS

IMAGE = "vllm/vllm-openai:v0.99.0"
# As kubelet 1.36 words it, in turns, for an image that the registry does not have (pkg/kubelet/images/image_manager.go).
PULLED = f'failed to pull and unpack image "docker.io/{IMAGE}": failed to resolve reference: not found'
IN_TURNS = ("ErrImagePull", PULLED), ("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {PULLED}')
NO_SECRET = 'secret "hf" not found'


def waits(reason: str, message: str = "", **more: object) -> Manifest:
    return {
        "name": "vllm",
        "image": IMAGE,
        "restartCount": 0,
        "ready": False,
        "state": {"waiting": {"reason": reason, "message": message}},
        **more,
    }


def ended(code: int, reason: str = "Error", message: str = "") -> Manifest:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def pod(*containers: Manifest, init: tuple[Manifest, ...] = (), **metadata: object) -> Manifest:
    status = {"phase": "Pending", "containerStatuses": list(containers), "initContainerStatuses": list(init)}
    return {"metadata": {"namespace": NS, "name": "chat-1", **metadata}, "spec": {"nodeName": "n"}, "status": status}


def runs(**more: object) -> Manifest:
    return {"name": "vllm", "image": IMAGE, "restartCount": 0, "ready": False, "state": {"running": {}}, **more}


LOG = """(EngineCore_0 pid=274) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
(APIServer pid=1)   File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/utils.py", line 740, in wait_for_engine_startup
(APIServer pid=1)     raise RuntimeError("Engine core initialization failed. "
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
BACK_OFF = {"lastState": ended(1), "restartCount": 1}
TOLD = [
    pytest.param(pod(), None, "", id="a pod of which nothing is known"),
    pytest.param(pod(waits("ContainerCreating")), None, "", id="one that is being made"),
    pytest.param(pod(waits("PodInitializing")), None, "", id="one whose init containers run"),
    pytest.param(pod(runs()), None, "", id="one that loads"),
    pytest.param(pod(runs(lastState=ended(1), restartCount=1)), None, "", id="one that ended once and loads again"),
    pytest.param(pod(runs(lastState=ended(1), restartCount=9, ready=True)), None, "", id="one that serves, whatever was before"),
    pytest.param(pod(waits(*IN_TURNS[0])), "ImageNotPulled", PULLED, id="an image that is not there"),
    pytest.param(pod(waits(*IN_TURNS[1])), "ImageNotPulled", PULLED, id="the same while the kubelet waits"),
    pytest.param(pod(waits("InvalidImageName")), "ImageNotPulled", "InvalidImageName", id="a name that is none"),
    pytest.param(pod(waits("CreateContainerConfigError", NO_SECRET)), "ContainerNotStarted", NO_SECRET, id="a Secret that is not there"),
    pytest.param(pod(runs(), init=(waits(*IN_TURNS[0]),)), "ImageNotPulled", PULLED, id="the image of an init container"),
    pytest.param(pod(waits("CrashLoopBackOff", "back-off 10s") | BACK_OFF), "EngineEnds", "ended with status 1", id="a crash loop"),
    pytest.param(pod(runs(lastState=ended(1), restartCount=2)), "EngineEnds", "ended with status 1", id="its third start"),
    pytest.param(pod({**runs(restartCount=1), "state": ended(3)}), "EngineEnds", "ended with status 3", id="its second end"),
    pytest.param(pod({**runs(), "state": ended(3)}), None, "", id="its first end"),
    pytest.param(pod(runs(lastState=ended(137, "OOMKilled"), restartCount=2)), "EngineEnds", "more host memory", id="killed for memory"),
    pytest.param(pod(runs(lastState=ended(137), restartCount=2)), "EngineEnds", "startupProbe makes longer", id="killed"),
    pytest.param(pod(runs(lastState=ended(143), restartCount=2)), "EngineEnds", "not start within its startupProbe", id="told to end"),
    pytest.param(pod(runs(lastState=ended(0, "Completed"), restartCount=2)), "EngineEnds", "ended with status 0, where", id="ended well"),
    pytest.param(
        pod(runs(lastState=ended(1, message="ValueError: too long\n"), restartCount=2)),
        "EngineEnds",
        "ValueError: too long",
        id="its words",
    ),
    pytest.param(
        pod(runs(lastState=ended(1, message=LOG), restartCount=2)),
        "EngineEnds",
        "last words: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        id="the error of a log that tells most",
    ),
    pytest.param(
        pod(runs(lastState=ended(2, message="vllm: error: unrecognized arguments: --no-such-flag\n"), restartCount=2)),
        "EngineEnds",
        "last words: vllm: error: unrecognized arguments: --no-such-flag",
        id="the parser's refusal",
    ),
    pytest.param(pod(waits(*IN_TURNS[0]), deletionTimestamp="2026-01-01T00:00:00Z"), None, "", id="one that goes"),
]


@pytest.mark.parametrize(("manifest", "reason", "words"), TOLD)
def test_what_a_pod_tells(manifest: Manifest, reason: str | None, words: str) -> None:
    found = pod_trouble(manifest)
    assert (found or {}).get("reason") == reason
    assert words in (found or {"message": ""})["message"]


def test_the_kubelet_s_turns_are_one_sentence_and_a_book_is_cut() -> None:
    assert pod_trouble(pod(waits(*IN_TURNS[0]))) == pod_trouble(pod(waits(*IN_TURNS[1])))
    again = [pod_trouble(pod(waits("CrashLoopBackOff", f"back-off {n}s", lastState=ended(1), restartCount=n))) for n in (1, 2, 40)]
    assert again[0] == again[1] == again[2]
    found = pod_trouble(pod(waits("ErrImagePull", "x\n" * 9999)))
    assert found is not None
    assert len(found["message"]) == MAX_WORDS


def tell(world: World, *containers: Manifest) -> None:
    found = world.kube.get(PODS, NS, "chat-1")
    assert found is not None
    found["status"] = {"phase": "Running", "containerStatuses": list(containers)}
    world.kube.replace(PODS, found)
    world.work()


def test_status_and_one_event_say_it_while_it_is_so() -> None:
    world = World(4)
    world.wish("chat", 1)
    world.work()
    world.pod("chat", 1, "node-0")
    world.work()
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    for turn in (*IN_TURNS, *IN_TURNS):
        tell(world, waits(*turn))
        for kind in ("Stalled", "Ready", "Progressing", "Available"):
            assert world.condition("chat", kind) == ("True" if kind == "Stalled" else "False", "ImageNotPulled")
    (event,) = [row for row in world.kube.list_page(EVENTS).items if row["reason"] == "ImageNotPulled"]
    assert (event["type"], "1 pod: image" in event["note"], "Correct spec.engine.image" in event["note"]) == ("Warning", True, True)
    assert world.writes(world.work) == []
    tell(world, runs())
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    plan = world.status("chat")["plan"]
    tell(world, waits("CrashLoopBackOff") | BACK_OFF)
    assert world.condition("chat", "Stalled") == ("True", "EngineEnds")
    world.kube.delete(DEPLOYMENTS, NS, "chat")
    world.work()
    assert world.status("chat")["plan"] == plan, "a child that somebody deletes meanwhile comes back with the same plan"


def says(world: World, name: str, ready: str) -> None:
    node = world.kube.get(NODES, "", name)
    assert node is not None
    node["status"]["conditions"] = [{"type": "Ready", "status": ready}]
    world.kube.replace(NODES, node)
    world.work()


def test_a_node_that_does_not_answer_is_said_while_it_does_not_whatever_its_pod_told_before() -> None:
    world = World(4, 4)
    world.wish("chat", 1)
    world.work()
    world.pod("chat", 1, "n0")
    world.work()
    tell(world, waits("CrashLoopBackOff") | BACK_OFF)
    for status, words in ("Unknown", "1 pod: node n0 does not answer (Ready is Unknown)."), ("False", "node n0 says that it is not ready."):
        says(world, "n0", status)
        assert world.condition("chat", "Stalled") == ("True", "NodeNotReady")
        told = str(world.status("chat")["conditions"])
        assert words in told
        assert "kubectl describe node" in told
    says(world, "n0", "True")
    assert world.condition("chat", "Stalled") == ("True", "EngineEnds")


def test_what_does_not_concern_a_pod_s_service_wakes_nobody() -> None:
    before = trim.pod(pod(runs(restartCount=1, lastState=ended(1))))
    assert before == trim.pod(pod(runs()))


SERVER_ONLY = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
FULL_LOG = f"""(EngineCore_0 pid=274) ERROR 03-01 12:00:00 [core.py:843] EngineCore failed to start.
(EngineCore_0 pid=274) ERROR 03-01 12:00:00 [core.py:843] ValueError: To serve at least one request with max seq len (131072), 16 GiB
(APIServer pid=1) {SERVER_ONLY} hf_abcdefghijkl
"""


def test_the_end_of_the_log_is_read_once_where_the_status_points_to_it_and_told() -> None:
    world = World(4)
    world.wish("chat", 1)
    world.work()
    world.pod("chat", 1, "node-0")
    world.work()
    world.kube.logs[(NS, "chat-1")] = FULL_LOG.encode()
    crashed = waits("CrashLoopBackOff", lastState=ended(1, message=SERVER_ONLY), restartCount=1)
    tell(world, crashed)
    assert world.condition("chat", "Stalled") == ("True", "EngineEnds")
    said = str(world.status("chat")["conditions"])
    assert "ended with status 1; its last words: ValueError: To serve at least one request" in said
    assert SERVER_ONLY not in said
    world.kube.logs.clear()
    assert world.writes(world.work) == [], "it is read once"
    (event,) = [row for row in world.kube.list_page(EVENTS).items if row["reason"] == "EngineEnds"]
    assert "ValueError" in event["note"]


class CountingKube(FakeKube):
    """Counts how often a log was asked for, and for how much."""

    asked: ClassVar[list[tuple[int, int]]] = []

    def pod_log(self, namespace: str, name: str, *, container: str, limit_bytes: int, lines: int = 0, previous: bool = False) -> bytes:
        self.asked.append((limit_bytes, lines))
        return super().pod_log(namespace, name, container=container, limit_bytes=limit_bytes, lines=lines, previous=previous)


def test_a_log_that_cannot_be_read_or_tells_nothing_is_asked_for_again_after_a_minute_and_no_token_is_told() -> None:
    kube, now = CountingKube(), [1000.0]
    kube.asked.clear()
    words = LastWords(kube, lambda: now[0])
    fails = PodsFail(reason=PodsFailReason.ENGINE_ENDS, message="container vllm ends", pods=1, pod="chat-1", container="vllm")
    for seconds in (0, 1, 58):
        now[0] += seconds
        assert words.add_to(fails, NS) == fails, "the pod is not there"
    assert kube.asked == [(LIMIT_BYTES, LINES)] * 2, "the run before, and the last one"
    kube.create(PODS, {"metadata": {"namespace": NS, "name": "chat-1"}})
    kube.logs[(NS, "chat-1")], now[0] = b"unable to retrieve container logs for containerd://1", now[0] + 2
    assert words.add_to(fails, NS) == fails, "the kubelet has no log any more"
    kube.logs[(NS, "chat-1")], now[0] = b"OSError: 401 for hf_abcdefghijklmn\xff\n", now[0] + 60
    told = words.add_to(fails, NS)
    assert told is not None
    assert told.message == "container vllm ends; its last words: OSError: 401 for (token)\ufffd"
    assert len(kube.asked) == 5
    assert words.add_to(None, NS) is None
    whole = PodsFail(reason=PodsFailReason.IMAGE_NOT_PULLED, message="x", pods=1)
    assert words.add_to(whole, NS) is whole


REFUSAL = (
    "ValueError: To serve at least one request with the model's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than "
    "the available KV cache memory (4.25 GiB). Based on the available memory, the estimated maximum model length is 34816."
)


@pytest.mark.parametrize(
    ("message", "log", "container", "words", "step"),
    [
        pytest.param(REFUSAL, "", "vllm", "is 34816.", "lower spec.engine.maxModelLen", id="in the pod's status"),
        pytest.param(SERVER_ONLY, REFUSAL, "vllm", "is 34816.", "lower spec.engine.maxModelLen", id="in the log alone"),
        pytest.param("OSError: You are trying to access a gated repo.", "", "vllm", "gated repo", "tokenSecretRef", id="a gated model"),
        pytest.param("TypeError: what nobody knows", "", "vllm", "TypeError", "Read its log", id="what nobody knows"),
        pytest.param(REFUSAL, "", "proxy", "is 34816.", "Read its log", id="a container beside the engine"),
    ],
)
def test_the_engine_s_own_cause_says_what_to_do(message: str, log: str, container: str, words: str, step: str) -> None:
    world = World(4)
    world.wish("chat", 1)
    world.work()
    world.pod("chat", 1, "node-0")
    world.work()
    world.kube.logs[(NS, "chat-1")] = log.encode()
    tell(world, waits("CrashLoopBackOff", lastState=ended(1, message=message), restartCount=1) | {"name": container})
    assert world.condition("chat", "Stalled") == ("True", "EngineEnds")
    (told,) = {row["message"] for row in world.status("chat")["conditions"] if row["type"] == "Stalled"}
    assert words in told
    assert step in told
    assert told.endswith("meanwhile") == (step == "Read its log")


def test_every_known_cause_has_a_next_step_in_the_spec_s_words() -> None:
    assert set(NEXT_STEPS) == set(FailureCause) - {FailureCause.OTHER}
    assert all(step[0].isupper() and not step.endswith(".") for step in NEXT_STEPS.values())


def test_a_hub_token_in_the_last_words_is_not_told_on() -> None:
    found = pod_trouble(pod(waits("CrashLoopBackOff", restartCount=1, lastState=ended(1, message="OSError: hf_abcdefghijklmnop is bad"))))
    assert found is not None
    assert found["message"].endswith("OSError: (token) is bad")
