"""However a reader pod ends, and whatever its log claims: a reason, and a profile from a whole and own result alone."""

import copy
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.plimsoll_operator.hub_server import TOKEN
from tests.plimsoll_operator.kubelet import MADE, Kubelet
from tests.plimsoll_operator.resolving.reader_world import (
    NOW,
    VOLUME,
    failed,
    fetch,
    reader_pods,
)

from plimsoll_operator.controller.resolving.fetcher import Fetched
from plimsoll_operator.controller.resolving.reader_pod import pod_name, request_key
from plimsoll_operator.controller.resolving.user_rights import OLDEST_SECONDS
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import PODS, Manifest
from plimsoll_operator.profiles.frame import LOG_LIMIT_BYTES

pytestmark = pytest.mark.thorough

ENDS = [
    ("its own word", {"status": 3, "message": "there is no config.json"}, "NotFound", "there is no config.json"),
    ("gated", {"status": 4, "message": "acme/x needs access"}, "Gated", "needs access"),
    ("no word", {"status": 6}, "Invalid", "says Invalid"),
    ("a bug", {"status": 1}, "Unreachable", "ended with status 1"),
    ("memory", {"status": 137, "reason": "OOMKilled"}, "Unsupported", "more than 1Gi of memory"),
    ("a message of many lines and a token", {"status": 5, "message": "one\ntwo\x1b[31m " + TOKEN + "x" * 9000}, "Unreachable", "one two"),
]


@pytest.mark.parametrize(("why", "end", "reason", "words"), ENDS, ids=[row[0] for row in ENDS])
def test_how_the_pod_ends_is_the_reason_and_the_pod_goes(why: str, end: Manifest, reason: str, words: str, kube: Kubelet) -> None:
    kube.holds = True
    fetch(kube)
    kube.end(kube.made[0], **end)
    found = failed(fetch(kube))
    assert found.reason == reason
    assert words in found.message
    assert found.message.isprintable()
    assert len(found.message) < 500
    assert TOKEN not in found.message
    assert reader_pods(kube) == []


OUTSIDE = [("DeadlineExceeded", "within 300 seconds"), ("Evicted", "Evicted The node was low on resource")]


@pytest.mark.parametrize(("reason", "words"), OUTSIDE)
def test_an_end_by_kubernetes_is_tried_again(reason: str, words: str, kube: Kubelet) -> None:
    kube.holds = True
    fetch(kube)
    kube.stand(kube.made[0], "Failed", reason=reason, message="The node was low on resource: memory.")
    found = failed(fetch(kube))
    assert (found.reason, words in found.message) == ("Unreachable", True)
    kube.holds = False
    assert isinstance(fetch(kube), Fetched)


def test_a_sidecar_that_never_ends_does_not_keep_the_result(kube: Kubelet) -> None:
    kube.holds = True
    fetch(kube)
    kube.play(kube.made[0])
    pod = kube.get(PODS, "team", pod_name(VOLUME))
    assert pod is not None
    pod["status"]["phase"] = "Running"
    pod["status"]["containerStatuses"].insert(0, {"name": "istio-proxy", "state": {"running": {}}})
    kube.replace(PODS, pod)
    assert isinstance(fetch(kube), Fetched)


FORGERIES = [
    ("another program's log", lambda _: b"Hello\n" * 100, "holds no result"),
    ("nothing", lambda _: b"", "holds no result"),
    ("half of it", lambda log: log[: len(log) // 2], "not as long as it says"),
    ("a flood", lambda log: b"x" * (LOG_LIMIT_BYTES * 4) + log, "longer than"),
    ("the result of another reading", lambda log: log.replace(request_key(VOLUME).encode(), b"0" * 32), "another request"),
    ("a smaller model", lambda log: log.replace(b"in-house", b"in-horse"), "does not have the digest"),
]


@pytest.mark.parametrize(("why", "forge", "words"), FORGERIES, ids=[row[0] for row in FORGERIES])
def test_a_log_that_is_not_the_result_is_a_failure_and_no_profile(
    why: str, forge: Callable[[bytes], bytes], words: str, kube: Kubelet
) -> None:
    kube.forge = forge
    found = failed(fetch(kube))
    assert (found.reason, words in found.message) == ("Invalid", True), found.message
    assert reader_pods(kube) == []


def test_a_pod_of_the_same_name_that_is_not_ours_is_left_alone(kube: Kubelet) -> None:
    foreign = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "team", "name": pod_name(VOLUME), "labels": {"a": "b"}}}
    kube.create(PODS, {**foreign, "status": {"phase": "Succeeded"}})
    found = failed(fetch(kube))
    assert found.reason == "Ambiguous"
    assert kube.get(PODS, "team", pod_name(VOLUME)) is not None


def test_an_old_result_is_thrown_away_and_read_again(kube: Kubelet) -> None:
    kube.holds = True
    fetch(kube)
    kube.play(kube.made[0])
    late = NOW + timedelta(seconds=OLDEST_SECONDS + 1)
    assert failed(fetch(kube, now=late)).reason == "Unreachable"
    assert reader_pods(kube) == []


def test_a_pod_on_its_way_out_is_waited_for(kube: Kubelet) -> None:
    kube.holds = True
    fetch(kube)
    going = copy.deepcopy(kube.get(PODS, "team", pod_name(VOLUME)))
    assert going is not None
    going["metadata"]["deletionTimestamp"] = MADE
    kube.replace(PODS, going)
    assert "is going" in failed(fetch(kube)).message
    kube.delete(PODS, "team", pod_name(VOLUME))
    kube.holds = False
    assert isinstance(fetch(kube), Fetched)


REFUSED = [
    ("create", ApiFailure(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: small'), "exceeded quota"),
    ("get", ApiFailure(0, "ReadTimeoutError", "GET: timed out"), "timed out"),
    ("log", ApiFailure(500, "InternalError", "kubelet is away"), "kubelet is away"),
]


@pytest.mark.parametrize(("verb", "failure", "words"), REFUSED)
def test_what_the_api_server_refuses_is_said_and_tried_again(verb: str, failure: ApiFailure, words: str, kube: Kubelet) -> None:
    kube.fail_next(verb, failure)
    found = failed(fetch(kube))
    assert (found.reason, words in found.message) == ("Unreachable", True)
    assert isinstance(fetch(kube), Fetched)
