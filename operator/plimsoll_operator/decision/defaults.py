"""What vLLM makes of the arguments that a spec leaves open, before any of them is lowered or chosen: what a release sets by itself.

Asked by the comparison of releases. Reads the facts as `decide` does; judges nothing.
"""

from __future__ import annotations

from plimsoll_estimator import InvalidInput, ResolvedArgs, Unsupported
from plimsoll_operator.decision.effort import Effort
from plimsoll_operator.decision.fit.engine import engine_for
from plimsoll_operator.decision.fit.workload import engine_request_of
from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.decision.request.request import read_request
from plimsoll_operator.decision.search.layouts import Layout
from plimsoll_operator.decision.search.products import products_of
from plimsoll_operator.facts import Facts, ModelFacts
from plimsoll_operator.verdict import Plan


def engine_defaults(facts: Facts, plan: Plan) -> ResolvedArgs | None:
    """The spec's arguments as its release resolves them on the plan's GPUs at the plan's parallel sizes.

    None where the model is not known, the release refuses the arguments or has no rule for them, or no pool has those GPUs.
    """
    if not isinstance(facts.model, ModelFacts):
        return None
    try:
        request = read_request(facts.deployment, facts.policy, leader_worker_set=facts.leader_worker_set, draft=facts.draft)
        products, _ = products_of(match(request.placement, facts.pools).pools)
        gpu = next((product.gpu for product in products if product.gpu.product == plan.product), None)
        if gpu is None:
            return None
        engine = engine_for(facts.model, request.version, facts.corrections, Effort(), request.args.speculative_model_config)
        return engine.prepare(engine_request_of(request, _layout(plan).arguments(request.args)).args, gpu).resolved
    except (InvalidInput, Unsupported):
        return None


def _layout(plan: Plan) -> Layout:
    return Layout(
        tensor_parallel_size=plan.tensor_parallel_size,
        pipeline_parallel_size=plan.pipeline_parallel_size,
        data_parallel_size=plan.data_parallel_size,
        expert_parallel=plan.enable_expert_parallel,
        nodes=plan.nodes_per_replica,
    )
