"""How a pod of the engine begins, is asked whether it lives, and ends: probes, what it does before it is stopped, and for how long.

Called by `render`. The times are the plan's, spec.template may say others; pods of plans that an earlier release made, which say none,
have an hour to start and a minute to end. Pure; knows no API server.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator import ceil_div
from plimsoll_operator.api import Manifest, Plan, PreStop, ProbeTuning, TemplateSpec
from plimsoll_operator.serving import Serving

# Plans of earlier releases: a 400 GB checkpoint over 1 Gbit/s takes 55 minutes.
_START_SECONDS: Final = 3600
_GRACE_SECONDS: Final = 60
_PERIOD_SECONDS: Final = 10
# Of the grace period, what the engine has left for its own end once nothing is in flight: its processes are told, and waited for.
_ENGINE_ENDS_SECONDS: Final = 15
# What its probe takes for dead answers nobody: nothing is waited for but its own end, and what asks it before that.
_DEAD_ENDS_SECONDS: Final = 30
_ROLLOUT_SECONDS: Final = 600

DRAIN: Final = """
import os, ssl, sys, time, urllib.request

scheme, port, end = sys.argv[1], sys.argv[2], time.monotonic() + float(sys.argv[3])
host = os.environ["LWS_LEADER_ADDRESS"] if os.environ.get("LWS_WORKER_INDEX", "0") != "0" else "localhost"
trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting)
figures = ("vllm:num_requests_running", "vllm:num_requests_waiting")


def is_busy():
    try:
        with opener.open(f"{scheme}://{host}:{port}/metrics", timeout=5) as answer:
            rows = answer.read().decode().splitlines()
    except OSError as error:
        return True if isinstance(getattr(error, "reason", error), TimeoutError) else None
    return any(row.startswith(figures) and float(row.rsplit(" ", 1)[1]) > 0 for row in rows)


if is_busy() is not None:
    time.sleep(float(sys.argv[4]))
idle = 0
while idle < 2 and time.monotonic() < end and (busy := is_busy()) is not None:
    idle = 0 if busy else idle + 1
    time.sleep(1)
"""
"""Arguments: scheme, port, most seconds, seconds for the pod to leave the Service. Ends when the engine's own figures show no request in
flight twice, a second apart; at once where nothing answers, which serves nobody; after its most seconds. The pods of a group ask their
leader, so that none leaves it while it answers. A server too busy to tell in 5 seconds is busy."""
_LEAVES_THE_SERVICE_SECONDS: Final = 5


def probes(plan: Plan, serving: Serving, template: TemplateSpec | None) -> Manifest:
    """The three probes of the engine's container."""
    said = template or TemplateSpec()
    soon = {"terminationGracePeriodSeconds": min(_DEAD_ENDS_SECONDS, grace_seconds(plan, template))} if plan.pod_form >= 3 else {}
    return {
        "startupProbe": _startup(plan, serving, said.startup_probe) | soon,
        "livenessProbe": _probe(serving, said.liveness_probe, period=_PERIOD_SECONDS, failures=6) | soon,
        "readinessProbe": _probe(serving, said.readiness_probe, period=5, failures=3),
    }


def start_seconds(plan: Plan, template: TemplateSpec | None) -> int:
    """How long the kubelet lets a pod start before it begins again."""
    startup = _startup(plan, Serving(port=0, scheme="HTTP", named=False), template.startup_probe if template is not None else None)
    seconds: int = startup["periodSeconds"] * startup["failureThreshold"]
    return seconds


def progress_deadline_seconds(plan: Plan, template: TemplateSpec | None) -> int:
    """When a rollout has made no progress: no sooner than a pod could have started."""
    return start_seconds(plan, template) + _ROLLOUT_SECONDS


def grace_seconds(plan: Plan, template: TemplateSpec | None) -> int:
    """How long a pod may take to end, what it does before it is told included: a wait of the user's own fits in where no time is said."""
    said = template.termination_grace_period_seconds if template is not None else None
    if said is not None:
        return said
    hook = _pre_stop(template)
    waits = hook.sleep.seconds + _ENGINE_ENDS_SECONDS if hook is not None and hook.sleep is not None and hook.sleep.seconds else 0
    return max(plan.termination_grace_seconds or _GRACE_SECONDS, waits)


def lifecycle(plan: Plan, serving: Serving, template: TemplateSpec | None) -> Manifest:
    """The field of the engine's container, or none."""
    said = _pre_stop(template)
    if said is not None and said.sleep is not None and not said.sleep.seconds:
        return {}  # an API server before Kubernetes 1.33 takes no sleep of 0
    if said is not None:
        return {"lifecycle": {"preStop": said.model_dump(mode="json", by_alias=True, exclude_none=True)}}
    drain = grace_seconds(plan, template) - _ENGINE_ENDS_SECONDS
    if not plan.termination_grace_seconds or drain <= 0:
        return {}
    told = [serving.scheme.lower(), str(serving.port), str(drain), str(_LEAVES_THE_SERVICE_SECONDS)]
    return {"lifecycle": {"preStop": {"exec": {"command": ["python3", "-I", "-c", DRAIN, *told]}}}}


def _pre_stop(template: TemplateSpec | None) -> PreStop | None:
    return template.lifecycle.pre_stop if template is not None and template.lifecycle is not None else None


def _startup(plan: Plan, serving: Serving, tuning: ProbeTuning | None) -> Manifest:
    period = tuning.period_seconds if tuning is not None and tuning.period_seconds is not None else _PERIOD_SECONDS
    return _probe(serving, tuning, period=period, failures=ceil_div(plan.startup_seconds or _START_SECONDS, period))


def _probe(serving: Serving, tuning: ProbeTuning | None, *, period: int, failures: int) -> Manifest:
    """Of TLS the kubelet checks no certificate. Plain HTTP, the API's default, is not written: pods of before stay as they are."""
    get: Manifest = {"path": "/health", "port": "http"} | ({"scheme": serving.scheme} if serving.scheme != "HTTP" else {})
    said = tuning.model_dump(mode="json", by_alias=True, exclude_none=True) if tuning is not None else {}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures} | said
