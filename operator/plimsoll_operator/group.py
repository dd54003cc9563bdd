"""One replica as a group of pods, a LeaderWorkerSet: vLLM's start over several nodes, each pod with its node's share of the GPUs.

Called by `render` with the pod template that it would give a single pod. Pure; knows the LeaderWorkerSet API
(leaderworkerset.x-k8s.io/v1) and vLLM's multi-node arguments, no spec.

The leader serves; workers join it by `--nnodes`, `--node-rank` and `--master-addr` (vLLM engine/arg_utils.py from 0.11.1 on, the mp
backend; engines of data parallel replicas take their rank from the node's). Earlier releases run whole engines on each node: workers
join by `--data-parallel-address` and count their engines from `--data-parallel-start-rank`. A group is restarted whole when one of its
containers restarts: NCCL groups do not take a member back.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

from plimsoll_estimator import EngineVersion, InvalidInput, spans_nodes, split_arguments
from plimsoll_operator.api import ENGINE_CONTAINER, Manifest
from plimsoll_operator.names import NAME_LABEL, WORKER_LABEL
from plimsoll_operator.verdict import Plan

GROUP_INDEX_LABEL: Final = "leaderworkerset.sigs.k8s.io/group-index"
# LeaderWorkerSet makes a headless Service of its own name, and the deployment's own name is that of the Service in front.
_SUFFIX: Final = "-group"
# Set by LeaderWorkerSet in every container: the leader's DNS name, and 0 for the leader, 1 and up for its workers.
_LEADER_ADDRESS: Final = "$(LWS_LEADER_ADDRESS)"
_NODE_RANK: Final = "$(LWS_WORKER_INDEX)"
# vLLM binds and announces this address; with several interfaces it would have to guess.
_HOST_IP: Final = "VLLM_HOST_IP"
# Kubernetes puts values in and does no arithmetic; $$( is how it is told to leave $( alone.
_RANKED: Final = 'exec vllm serve "$@" --data-parallel-start-rank=$$((LWS_WORKER_INDEX * {engines}))'
# Where the leader waits for its workers, where nobody says it: vLLM config/parallel.py (master_port, data_parallel_rpc_port).
_MEETING: Final = {"--master-port": 29501, "--data-parallel-rpc-port": 29550}
_OF_A_SERVER: Final = ("ports", "startupProbe", "livenessProbe", "readinessProbe")


def name_of(deployment: str) -> str:
    """The LeaderWorkerSet's name, and that of the headless Service it makes."""
    return f"{deployment}{_SUFFIX}"


def rolling_update(plan: Plan) -> Manifest:
    """A surge replica needs further free GPUs and would wait for ever on a full pool: there replicas are replaced one at a time."""
    return {"maxSurge": 1, "maxUnavailable": 0} if plan.may_surge else {"maxSurge": 0, "maxUnavailable": 1}


def templates(template: Manifest, plan: Plan, extra_args: Sequence[str] = ()) -> tuple[Manifest, Manifest]:
    """Pod templates of leader and workers from that of a single pod, whose arguments end with the user's own `extra_args`.

    The leader's address is its own IP for itself, because it binds sockets to it, and its DNS name for the others. Workers serve
    nothing: no port, no probe, and a label of their own, so that the Service and the scale selector find leaders only. They end as
    their leader does, when nothing is in flight.
    """
    leader, worker = copy.deepcopy(template), copy.deepcopy(template)
    _start(leader, plan, f"$({_HOST_IP})")
    if leader["spec"].get("hostNetwork"):
        port = _meeting_port(plan, extra_args)
        _engine(leader)["ports"] += [{"name": "group", "containerPort": port, "hostPort": port, "protocol": "TCP"}]
    if extra_args:
        shared = _engine(worker)["args"]
        shared[len(shared) - len(extra_args) :] = _without_servers(extra_args, EngineVersion.parse(plan.engine_version))
    _start(worker, plan, _LEADER_ADDRESS, "--headless")
    labels = worker["metadata"]["labels"]
    labels[WORKER_LABEL] = labels.pop(NAME_LABEL)
    engine = _engine(worker)
    for field in _OF_A_SERVER:
        engine.pop(field, None)
    # Counted are the leaders, by the label that workers lack; a worker goes where its group is wanted.
    worker["spec"].pop("topologySpreadConstraints", None)
    return leader, worker


def leader_worker_set(metadata: Manifest, leader: Manifest, worker: Manifest, plan: Plan, *, replicas: int) -> Manifest:
    """The LeaderWorkerSet: one group of `nodes_per_replica` pods a replica."""
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "startupPolicy": "LeaderCreated",
            "networkConfig": {"subdomainPolicy": "Shared"},
            "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": rolling_update(plan)},
            "leaderWorkerTemplate": {
                "size": plan.nodes_per_replica,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": leader,
                "workerTemplate": worker,
            },
        },
    }


def _without_servers(arguments: Sequence[str], version: EngineVersion) -> list[str]:
    """The user's arguments for a pod that starts no API server: 0.15 on refuses --api-server-count beside --headless.

    Arguments of a plan that an older release of ours has let pass, and that cannot be read any more, stay as they are.
    """
    try:
        given = split_arguments(arguments, version)
    except InvalidInput:
        return list(arguments)
    return [token for item in given if item.flag != "--api-server-count" for token in item.tokens]


def _meeting_port(plan: Plan, arguments: Sequence[str]) -> int:
    """The port of its node that a leader takes beside its server's: two leaders on one node would else both try for it."""
    version = EngineVersion.parse(plan.engine_version)
    flag = "--master-port" if spans_nodes(version) else "--data-parallel-rpc-port"
    try:
        said = [item.values[0] for item in split_arguments(arguments, version) if item.flag == flag and item.values]
    except InvalidInput:
        said = []
    return int(said[-1]) if said and said[-1].isdecimal() else _MEETING[flag]


def _start(template: Manifest, plan: Plan, leader_address: str, *more: str) -> None:
    engine = _engine(template)
    if spans_nodes(EngineVersion.parse(plan.engine_version)):
        joins = [f"--nnodes={plan.nodes_per_replica}", f"--node-rank={_NODE_RANK}", f"--master-addr={leader_address}"]
    else:
        engines = plan.data_parallel_size // plan.nodes_per_replica
        joins = [f"--data-parallel-size-local={engines}", f"--data-parallel-address={leader_address}"]
        if more:
            engine["command"] = ["/bin/sh", "-c", _RANKED.format(engines=engines), "vllm"]
    engine["args"] = [*engine["args"], *joins, *more]
    address = {"name": _HOST_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    engine["env"] = [*(row for row in engine.get("env") or () if row["name"] != _HOST_IP), address]


def _engine(template: Manifest) -> Manifest:
    engine: Manifest = next(row for row in template["spec"]["containers"] if row["name"] == ENGINE_CONTAINER)
    return engine
