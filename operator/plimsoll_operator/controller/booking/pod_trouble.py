"""Why pods that exist do not come to serve, as their own status tells: the image, the container, an engine that ends again and again.

Read by the caches, which keep it in place of a pod's status, and by what status says of a deployment. What the kubelet, the container
runtime and the program itself say is text from outside: one line, bounded. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from plimsoll_estimator import failure_of
from plimsoll_operator.api import ENGINE_CONTAINER
from plimsoll_operator.conditions import PodsFail
from plimsoll_operator.ports import Manifest
from plimsoll_operator.reasons import PodsFailReason
from plimsoll_operator.text import one_line, without_tokens

MAX_WORDS: Final = 400
KEY: Final = "trouble"
"""Under which a trimmed pod's status has it."""
_IMAGE: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
    | {"SignatureValidationFailed"}
)
"""Reasons of the kubelet where a container waits for its image (kubernetes, pkg/kubelet/images/types.go)."""
_CONTAINER: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
"""And where it cannot be made or started (kubernetes, pkg/kubelet/kuberuntime/kuberuntime_container.go)."""
_REASONS: Final = {str(reason): reason for reason in PodsFailReason}
_BACK_OFF: Final = "CrashLoopBackOff"
# The kubelet says the same in turns: what went wrong, and that it waits after what went wrong.
_WAITS: Final = re.compile(r'^Back-off pulling image "[^"]*"(: ErrImagePull: ?)?')
ROOT_CAUSE_ABOVE: Final = "See root cause above"
"""Of vLLM's server, when its engine's process has ended (vllm/v1/engine/utils.py)."""
WORDS: Final = "; its last words: "
_KILLED: Final = 128 + 9
_TOLD_TO_END: Final = 128 + 15
"""Status of what a signal ends: the kubelet sends SIGTERM first, which a program without a handler ends by."""
_SEVERAL: Final = 2
"""So many ends in a row are no accident: whatever ended a first start may have passed."""


def pod_trouble(pod: Manifest) -> Manifest | None:
    """What keeps this pod from serving until somebody changes something, as the caches keep it; None where nothing does.

    The wording is the same at each look, however often the kubelet has tried since: it wakes nobody and makes no second Event.
    """
    if "deletionTimestamp" in pod["metadata"]:
        return None
    status = pod.get("status") or {}
    for row in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        found = _of_container(row)
        if found is not None:
            reason, words, cause = found
            asks = reason is PodsFailReason.ENGINE_ENDS and (WORDS not in words or ROOT_CAUSE_ABOVE in words)
            log = str(row.get("name", "")) if asks else ""
            return {"reason": str(reason), "message": without_tokens(one_line(words, MAX_WORDS)), "log": log, "cause": cause}
    return None


def _of_container(row: Mapping[str, Any]) -> tuple[PodsFailReason, str, str] | None:
    """Reason, sentence, and the cause that the engine's own words name."""
    state = row.get("state") or {}
    waiting = state.get("waiting") or {}
    name, why, said = row.get("name", ""), str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if why in _IMAGE:
        words = _WAITS.sub("", said).strip()
        return (PodsFailReason.IMAGE_NOT_PULLED, f"image {row.get('image', '')} of container {name} is not pulled: {words or why}", "")
    if why in _CONTAINER:
        return (PodsFailReason.CONTAINER_NOT_STARTED, f"container {name} is not started: {why}: {said}".rstrip(": "), "")
    ended = state.get("terminated") or (row.get("lastState") or {}).get("terminated")
    times = int(row.get("restartCount") or 0) + bool(state.get("terminated"))
    if not ended or row.get("ready") or (why != _BACK_OFF and times < _SEVERAL):
        return None
    last = last_words(str(ended.get("message") or ""))
    return (PodsFailReason.ENGINE_ENDS, _end(name, ended, last.words), last.cause if name == ENGINE_CONTAINER else "")


def _end(name: str, ended: Mapping[str, Any], said: str) -> str:
    code, why = ended.get("exitCode"), str(ended.get("reason") or "")
    if why == "OOMKilled":
        how = "it took more host memory than it may have (OOMKilled), which spec.template.resources makes more"
    elif code == 0:
        how = "it ended with status 0, where it should serve: by itself, or told to because it did not answer its livenessProbe"
    elif code in (_KILLED, _TOLD_TO_END):
        how = (
            f"it was made to end (status {code}): it did not start within its startupProbe, which spec.template.startupProbe makes longer, "
            "or did not answer its livenessProbe"
        )
    else:
        how = f"it ended with status {code}"
    return f"container {name} ends again and again: {how}" + (f"{WORDS}{said}" if said else "")


class Said(NamedTuple):
    """What the end of a log tells, and which of the estimator's causes that is; empty where it is none."""

    words: str
    cause: str = ""


def last_words(text: str) -> Said:
    """Of the end of a log what tells most: its first error that does not point to another one above, else its last line."""
    failure = failure_of(text)
    if failure is not None:
        return Said(failure.words, str(failure.cause))
    return Said(next((line.strip() for line in reversed(text.splitlines()) if line.strip()), ""))


def pods_fail(pods: Iterable[Manifest], not_ready: Mapping[str, str] = MappingProxyType({})) -> PodsFail | None:
    """What most of the failing among these trimmed pods tell; None where none fails.

    `not_ready` has the nodes that are not, with their Ready condition's status: what a pod there tells is old.
    """
    told: dict[tuple[PodsFailReason, str, str], list[Manifest]] = {}
    for pod in pods:
        node = pod["spec"].get("nodeName", "")
        if node in not_ready and "deletionTimestamp" not in pod["metadata"]:
            told.setdefault((PodsFailReason.NODE_NOT_READY, _silence(node, not_ready[node]), ""), []).append(pod)
        elif row := pod["status"].get(KEY):
            told.setdefault((_REASONS[row["reason"]], row["message"], row["cause"]), []).append(pod)
    if not told:
        return None
    (reason, message, cause), those = min(told.items(), key=lambda item: (-len(item[1]), item[0]))
    one = min(those, key=lambda pod: str(pod["metadata"]["name"]))
    log = one["status"][KEY]["log"] if reason is not PodsFailReason.NODE_NOT_READY else ""
    pod_name = one["metadata"]["name"] if log else ""
    return PodsFail(reason=reason, message=message, pods=len(those), pod=pod_name, container=log, cause=cause)


def _silence(node: str, ready: str) -> str:
    return f"node {node} says that it is not ready" if ready == "False" else f"node {node} does not answer (Ready is {ready})"
