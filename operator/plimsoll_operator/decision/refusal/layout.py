"""Refusals about layouts themselves: there is none to try, or the pods of the one that was found would have names too long.

Called by `steps` around the search. Knows sizes and pools, no memory.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.api import InferenceDeployment
from plimsoll_operator.decision.request.placement import Matched
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.layouts import Layout
from plimsoll_operator.facts import Facts
from plimsoll_operator.verdict import Reason, Reject

MAX_NAME_OVER_NODES: Final = 40
"""<name>-group-<replica>-<revision hash> is a label of the pods, of at most 63 characters."""


def name_is_short_enough(deployment: InferenceDeployment, layout: Layout) -> Reject | None:
    """Pods of a replica over several nodes carry names longer than their deployment's, and labels made of those end at 63 characters."""
    length, most = len(deployment.metadata.name), MAX_NAME_OVER_NODES
    if layout.nodes == 1 or length <= most:
        return None
    message = f"The name has {length} characters, and {most} are the most where replicas span nodes: their pods' names add to it."
    return Reject(reason=Reason.INVALID_SPEC, message=message, field="metadata.name")


def no_layout(facts: Facts, request: DeploymentRequest, matched: Matched) -> Reject:
    """No layout to try: the pinned parallel sizes need more GPUs than the nodes have, or than the FitPolicy gives one replica."""
    args, cap = request.args, request.max_gpus_per_replica
    gpus = (args.tensor_parallel_size or 1) * (args.pipeline_parallel_size or 1) * (args.data_parallel_size or 1)
    pinned = (
        ("tensorParallelSize", args.tensor_parallel_size),
        ("pipelineParallelSize", args.pipeline_parallel_size),
        ("dataParallelSize", args.data_parallel_size),
    )
    field = "spec.engine." + next((name for name, size in pinned if size is not None and size > 1), "tensorParallelSize")
    if cap is not None and gpus > cap:
        message = f"A replica of {gpus} GPUs is more than the FitPolicy's maxGpusPerReplica of {cap}."
        return Reject(reason=Reason.POLICY_CAP, message=message, field=field)
    sharing = request.placement.sharing
    if sharing != "none" and gpus > 1:
        message = f"A replica of {gpus} GPUs cannot be placed on {sharing} GPUs: a shared or partitioned GPU serves a replica of one."
        return Reject(reason=Reason.SHARING_UNSAFE, message=message, field=field)
    most = max(pool.gpus_per_node for pool in matched.pools)
    message = f"A replica of {gpus} GPUs does not fit a node: matching pools have at most {most} GPUs per node."
    nodes = facts.deployment.spec.placement.max_nodes_per_replica
    if nodes > 1 and gpus <= most * nodes:
        message = f"A replica of {gpus} GPUs does not fit matching pools in equal shares on up to {nodes} nodes of at most {most} GPUs."
    return Reject(reason=Reason.INSUFFICIENT_GPUS_PER_NODE, message=message, field=field)
