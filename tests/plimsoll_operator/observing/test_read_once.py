"""Logs of engines that serve are read once a start, whoever leads, by threads that nobody waits for."""

from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.observing.engines import Engines
from tests.plimsoll_operator.observing.logs import log_of

from plimsoll_operator.api import MAX_STARTS
from plimsoll_operator.controller.booking.engine_start import EngineStart
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, PODS, Key

SLOW = ApiFailure(500, "InternalError", "dial tcp 10.0.0.7:10250: i/o timeout")


def test_when_an_engine_serves_its_log_is_read_and_shown() -> None:
    world = Engines()
    world.serves(ready=False)
    world.read()
    assert (world.reads.read, world.condition("chat", "AsPredicted")) == ([], ("Unknown", "NotObserved"))
    world.serves()
    assert world.reads.read == [], "no worker reads a log"
    world.read()
    plan, shown = world.plan, world.shown()
    assert world.condition("chat", "AsPredicted") == ("True", "AsPredicted")
    assert (shown["planDigest"], shown["engineVersion"], shown["kvCacheTokens"]) == (plan.digest, "0.19.0", plan.kv_cache_tokens)
    assert abs(float(shown["errorRatio"])) < 0.01
    assert shown["memory"]["total"] == f"{plan.allocated_bytes / (1 << 30):.2f} GiB"


def test_each_start_is_read_once_also_by_the_next_leader() -> None:
    world = Engines()
    world.serves()
    world.read()
    for _ in range(2):
        world.controller.relist.resync()
        world.serves(ready=False)  # it does not answer its probe for a moment
        world.serves()
        world.read()
    world.lead(clock=world.clock)
    world.hear()
    world.controller.relist.recover()
    world.drain()
    world.read()
    assert world.reads.read == ["chat-1"]
    assert world.shown()["pod"] == "chat-1"
    series = 'plimsoll_gpu_memory_observed_bytes{component="weights",name="chat",namespace="team",source="log"}'
    assert series in world.controller.recorder.render().decode(), "the next leader exports it from its first look on"
    world.serves(restarts=1, log=log_of(world.plan, kv_gib=1.0))
    world.read()
    assert world.reads.read == ["chat-1", "chat-1"], "another start is another log"
    assert world.condition("chat", "AsPredicted") == ("False", "LessKvCache")


def test_what_is_read_of_a_start_writes_status_once() -> None:
    world = Engines()
    world.serves()
    assert world.writes(world.read).count("InferenceDeployment/status") == 1
    assert "InferenceDeployment/status" not in world.writes(lambda: world.settle(2))


def test_a_log_that_is_not_given_out_is_asked_for_ever_more_slowly_and_keeps_nobody() -> None:
    world = Engines()
    world.kube.fail_next("log", *[SLOW] * 4)
    world.serves()
    world.read()
    assert world.said("AsPredicted", "chat") == (
        "Unknown",
        "LogUnread",
        "the log of pod chat-1 is not given out: the API server answers 500 InternalError; it is tried again",
    )
    for seconds, asked in ((4, 1), (2, 2), (6, 2), (5, 3), (21, 4)):
        world.clock.now += seconds
        assert world.writes(world.read) == [], "the same is not said again"
        assert len(world.reads.read) == asked
    world.clock.now += 41
    world.read()
    assert world.condition("chat", "AsPredicted") == ("True", "AsPredicted")


def test_a_log_that_its_node_has_lost_is_no_log_of_a_start() -> None:
    world = Engines()
    world.serves(log="unable to retrieve container logs for containerd://0af3")
    world.read()
    assert "is gone from its node" in world.said("AsPredicted", "chat")[2]


def test_of_many_replicas_so_many_are_read() -> None:
    world = Engines(replicas=16)
    for number in range(1, 2 * MAX_STARTS):
        world.serves(str(number))
    world.read()
    assert len(world.reads.read) == len(set(world.reads.read)) == MAX_STARTS
    assert len(world.shown()["starts"]) == MAX_STARTS


def test_a_pod_of_another_plan_is_no_start_of_this_one() -> None:
    world = Engines()
    world.serves(digest="0123456789abcdef")
    world.read()
    assert world.reads.read == []
    assert world.shown() == {}


def test_figures_of_a_plan_end_with_it_and_stay_while_its_pods_are_away() -> None:
    world = Engines()
    world.serves()
    world.read()
    world.kube.delete(PODS, NS, "chat-1")
    world.work()
    assert world.shown()["pod"] == "chat-1", "what the plan took is known though nobody runs it now"
    world.wish("chat", 2)
    world.work()
    assert world.shown() == {}
    assert world.condition("chat", "AsPredicted") == ("Unknown", "NotObserved")


def test_the_pod_that_goes_takes_its_figures_with_it() -> None:
    world = Engines(replicas=2)
    world.serves("1", log=log_of(world.plan, kv_gib=1.0))
    world.serves("2")
    world.read()
    assert (world.shown()["pod"], world.condition("chat", "AsPredicted")[1]) == ("chat-1", "LessKvCache")
    world.kube.delete(PODS, NS, "chat-1")
    world.work()
    assert (world.shown()["pod"], world.condition("chat", "AsPredicted")[1]) == ("chat-2", "AsPredicted")


def test_a_deployment_that_goes_while_its_log_is_wanted_is_forgotten() -> None:
    world = Engines()
    world.serves()
    world.kube.delete(INFERENCE_DEPLOYMENTS, NS, "chat")
    world.controller.heard((NS, "chat"), {}, gone=True)
    world.work()
    world.read()
    assert world.reads.read == []


def test_one_namespace_s_thousand_logs_do_not_keep_another_s() -> None:
    world = Engines()
    starts = world.controller.engine_starts

    def one(key: Key, number: int) -> EngineStart:
        return EngineStart(pod=f"{key[1]}-{number}", uid=f"{key}-{number}", restarts=0, plan_digest=world.plan.digest, ready=True)

    for number in range(100):
        key = ("crowd", f"d{number}")
        starts.look(key, world.plan, [one(key, index) for index in range(10)], None)
    key = ("other", "small")
    starts.look(key, world.plan, [one(key, 0)], None)
    for _ in range(2):
        starts.work_once(0)
    assert "small-0" in world.reads.read
