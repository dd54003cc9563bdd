"""Sentences of verdicts: one place, so that CLI, webhook, status and events read alike. Pure text."""

from __future__ import annotations

from typing import Final

from plimsoll_estimator import GIB, covered_percent, format_gib, machine_of
from plimsoll_operator.decision.fit.host import DOWNLOAD_VOLUME
from plimsoll_operator.decision.fit.kv_demand import needed_kv_bytes
from plimsoll_operator.decision.fit.miss import Miss
from plimsoll_operator.decision.request.fields import engine_field
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Candidate, Found, Missed
from plimsoll_operator.decision.search.layouts import Kind
from plimsoll_operator.facts import AppliedCorrection
from plimsoll_operator.text import one_line
from plimsoll_operator.verdict import MAX_WARNING, Reason, Reject

OPEN_NEXT_STEP: Final = "No pods are made; declare a GPUPool for what the autoscaler may bring."


def gib(n_bytes: int, *, up: bool = False) -> str:
    """One decimal of GiB; needs rounded up, offers down."""
    tenths = -(-n_bytes * 10 // GIB) if up else n_bytes * 10 // GIB
    return f"{tenths // 10}.{tenths % 10}"


def rejection(request: DeploymentRequest, missed: Missed) -> str:
    """The main sentence: needed, available, short by, and the component that broke it."""
    miss, layout = missed.miss, missed.candidate.layout
    gpus = layout.gpus
    product = missed.candidate.products[0].gpu.product
    if miss.reason == Reason.ENGINE_REFUSES:
        return f"{request.model} does not start on {product} at {layout}: vLLM refuses, {miss.message}."
    if miss.reason == Reason.WORKLOAD_NOT_SERVED:
        return f"{request.model} would not serve its workload: {miss.message}."
    if miss.needed_bytes is None or miss.available_bytes is None:
        return f"{request.model} does not fit with {gpus} GPU{'s' * (gpus > 1)} per replica: {miss.message}."
    short = gib(miss.needed_bytes - miss.available_bytes, up=True)
    if miss.reason in (Reason.HOST_MEMORY, Reason.EPHEMERAL_STORAGE):
        needed, offered = gib(miss.needed_bytes, up=True), gib(miss.available_bytes)
        need = f"needed {needed} GiB of {miss.component} for its pod"
        return f"{request.model} does not fit: {need}, available {offered} GiB ({miss.message}), short by {short} GiB."
    cut = missed.candidate.products[0].parts
    if cut > 1:
        product = f"1 of {cut} time-sliced parts of {product}"
    who = f"each of {gpus} GPUs" if gpus > 1 else "the GPU"
    parts = ", ".join(f"{name} {gib(size, up=True)}" for name, size in miss.parts if size)
    shown = f" ({parts})" if parts else ""
    served = ""
    if request.worksheet is not None and miss.component == "KV cache":
        share = request.worksheet.per_engine(request.engines(layout.data_parallel_size))
        served = f" for {share.in_flight} requests in flight with {share.kv_tokens} tokens"
    return (
        f"{request.model} does not fit: needed {gib(miss.needed_bytes, up=True)} GiB on {who}{shown}{served}, "
        f"available {gib(miss.available_bytes)} GiB on {product}, short by {short} GiB."
    )


def would_do(found: tuple[Found, ...]) -> str:
    """Products of the table that would hold the model, smallest first, with what they would serve."""
    if not found:
        return ""
    return f"It would run on {', '.join(_served(one) for one in found[:-1])}{' or ' if len(found) > 1 else ''}{_served(found[-1])}."


def over_nodes(found: Found, serves: bool) -> str:
    """How the GPUs that one node has too few of would hold it together; `serves`: the cluster makes groups of pods over nodes."""
    nodes = found.candidate.layout.nodes
    needs = "" if serves else " and LeaderWorkerSet in the cluster"
    return f"Over {nodes} nodes it would run on {_served(found)}: that takes so many, placement.maxNodesPerReplica: {nodes}{needs}."


def declare(found: Found) -> str:
    """How a pool is declared that an autoscaler can bring."""
    layout, product = found.candidate.layout, found.product.gpu.product
    spec = f"{{declared: true, product: {product}, gpusPerNode: {layout.gpus_per_node}, maxNodes: 1}}"
    return f"To declare such nodes: a GPUPool with spec: {spec}."


def _served(found: Found) -> str:
    plan, resolved = found.fit.estimate.kv_plan, found.fit.estimate.resolved
    context = f"context {resolved.max_model_len}" if resolved is not None else ""
    requests = f", {plan.max_concurrency:.1f} full requests at once" if plan is not None else ""
    return f"{found.candidate.layout.gpus} x {found.product.gpu.product} ({context}{requests})"


def cause(candidate: Candidate, miss: Miss) -> str:
    """One line for what keeps one product out, beside the main sentence about another."""
    where = f"{candidate.name.replace(',', ', ')} at {candidate.layout}"
    if miss.needed_bytes is None or miss.available_bytes is None:
        return f"On {where}: {miss.message}."
    needed, offered = gib(miss.needed_bytes, up=True), gib(max(0, miss.available_bytes))
    return f"On {where}: needed {needed} GiB of {miss.component or 'GPU memory'}, available {offered} GiB ({miss.message})."


def storage_note(request: DeploymentRequest, miss: Miss) -> tuple[str, ...]:
    """What the disk is needed for and how to need less of it: no patch of ours, since nobody else has the volume to load from."""
    if miss.reason != Reason.EPHEMERAL_STORAGE:
        return ()
    if miss.component == DOWNLOAD_VOLUME:
        return ("Raise the volume's sizeLimit: the kubelet evicts a pod whose volume outgrows it.",)
    lines = []
    if request.disk.takes_downloads:
        lines.append(
            "Weights are downloaded to the node's disk: load them from a volume (spec.model.source.persistentVolumeClaim), "
            "or set HF_HOME to a claim of spec.template.volumes."
        )
    if request.disk.scratch_bytes:
        lines.append(f"{gib(request.disk.scratch_bytes, up=True)} GiB of it are size limits of emptyDir volumes in spec.template.")
    return tuple(lines)


def warnings(
    request: DeploymentRequest, found: Found, asides: tuple[str, ...] = (), corrections: tuple[AppliedCorrection, ...] = ()
) -> tuple[str, ...]:
    """One line each: what was lowered, what is not free, what is extrapolated, what is left out."""
    lines: list[str] = []
    resolved = found.fit.estimate.resolved
    for name, default, value in found.fit.lowered:
        if name == "max_model_len":
            lines.append(
                f"maxModelLen is lowered from the model's {default} to {value} tokens, the most that fits; pin it to be refused instead."
            )
        else:
            lines.append(f"{engine_field(name)} is lowered from vLLM's default {default} to {value} to make room.")
    lines += _layout(found)
    lines += [line] if (line := of_now(request, found)) else []
    if resolved is not None and resolved.extrapolated:
        lines.append(
            f"vLLM {resolved.version} is newer than the newest known release: figures are extrapolated and judged at their pessimistic end."
        )
    if found.product.parts > 1 and request.args.gpu_memory_utilization is None:
        lines.append(
            f"gpu-memory-utilization is the smallest that holds a request of {resolved.max_model_len if resolved else 0} tokens: "
            f"pin it for more KV cache, within 1 of {found.product.parts} parts of the card."
        )
    if request.one_a_node:
        lines.append(
            "Pods have their node's network: a node holds one of them, and only while its ports are free, which nobody here can tell."
        )
    if request.root_forbidden:
        lines.append(
            "Containers whose image starts as root, as vLLM's own does, or as a user by name do not start under "
            "securityContext.runAsNonRoot: name a user by number in spec.template.securityContext.runAsUser."
        )
    lines += _arguments(request)
    lines += _worksheet(request, found)
    if request.args.speculative_method == "suffix":
        lines.append("Speculative method suffix needs the package arctic-inference, which vLLM's own images do not have.")
    lines += asides
    lines += _corrected(corrections)
    if spared := found.fit.prepared.spared_by_compile_cache_bytes():
        lines.append(
            f"Counted for a first start, which compiles: one that finds its graphs at VLLM_CACHE_ROOT, on a volume of the template, "
            f"has {gib(spared)} GiB more for the KV cache."
        )
    lines += _other_machine(request, found)
    lines += _host_doubt(found)
    lines += _doubt(found)
    lines += found.losses
    # The first warning of an extrapolated estimate says what is said above.
    lines += [f"Estimate: {line}." for line in found.fit.estimate.warnings[int(resolved is not None and resolved.extrapolated) :]]
    return tuple(one_line(line, MAX_WARNING) for line in lines)


def of_now(request: DeploymentRequest, found: Found) -> str:
    """What is said of GPUs that are free while this is decided; empty where enough of them are."""
    layout = found.candidate.layout
    if not all(pool.free_is_known for pool in found.pools):
        return one_line(
            f"Fits {found.candidate.name}; how many GPUs are free is not known: pods of other namespaces may not be listed.", MAX_WARNING
        )
    if found.candidate.available:
        return ""
    pods = f"{request.replicas} replica{'s' * (request.replicas != 1)} of {layout.gpus} GPU{'s' * (layout.gpus > 1)}"
    pods += f" on {layout.nodes} nodes" if layout.nodes > 1 else ""
    most = most_replicas(found)
    if most < request.replicas:
        there = f"hold{'s' * (len(found.pools) == 1)} {most} such at most, all else gone"
        pools = "its pool" if len(found.pools) == 1 else f"its {len(found.pools)} pools"
        return one_line(
            f"Fits {found.candidate.name}, but there are not enough GPUs for {pods}: {pools} {there}. The others wait for more nodes.",
            MAX_WARNING,
        )
    return one_line(f"Fits {found.candidate.name}, but not enough GPUs are free now for {pods}: pods will wait.", MAX_WARNING)


def most_replicas(found: Found) -> int:
    """How many such replicas the pools hold when nothing else runs there; of a pool that may grow without limit, more than anyone asks."""
    layout = found.candidate.layout
    nodes = sum(pool.most_pods(layout.gpus_per_node) for pool in found.pools)
    return nodes // layout.nodes


def leader_worker_set_missing(request: DeploymentRequest, found: Found) -> str:
    """The main sentence where a replica over several nodes would fit and nothing here makes one."""
    return (
        f"{request.model} fits {found.candidate.name} at {found.candidate.layout}, but this cluster does not serve LeaderWorkerSet "
        "(leaderworkerset.x-k8s.io/v1), which replicas over several nodes are made with: install LeaderWorkerSet from lws.sigs.k8s.io."
    )


def _layout(found: Found) -> list[str]:
    """What was chosen because nothing simpler serves."""
    kind, layout = found.candidate.kind, found.candidate.layout
    if kind is Kind.EXPERTS:
        size = layout.tensor_parallel_size
        return [f"Expert parallelism is on: vLLM cannot slice the experts for tensor parallel size {size}."]
    if kind is Kind.STAGES:
        return [f"Runs in {layout.pipeline_parallel_size} pipeline stages: no tensor parallel size alone serves."]
    if kind is Kind.NODES and layout.data_parallel_size == 1:
        return [f"Spans {layout.nodes} nodes in {layout.pipeline_parallel_size} pipeline stages: no node alone serves."]
    if layout.nodes > 1:
        return [f"Spans {layout.nodes} nodes with collectives over the network between them: a fast one (RDMA) is needed to serve well."]
    return []


def overridden(reject: Reject, why: str) -> str:
    """The warning that stands in the place of a rejection."""
    return one_line(f"Would be rejected ({reject.reason}), but {why}: {reject.message}", MAX_WARNING)


def _corrected(corrections: tuple[AppliedCorrection, ...]) -> list[str]:
    own = sum(row.add_bytes for row in corrections if row.component == "ownStarts")
    lines = [f"{gib(own, up=True)} GiB are added for what this deployment's own engines took beyond their prediction."] if own else []
    shared = [row for row in corrections if row.component != "ownStarts"]
    if shared:
        said = ", ".join(f"{row.component} {'+' if row.add_bytes > 0 else '-'}{gib(abs(row.add_bytes), up=True)} GiB" for row in shared)
        lines.append(f"Figures are corrected by EngineCalibration {', '.join(sorted({row.source for row in shared}))}: {said}.")
    return lines


def _worksheet(request: DeploymentRequest, found: Found) -> list[str]:
    """What the worksheet leaves out: requests beyond its percentile, and common prefixes that the engine does not keep."""
    worksheet, resolved = request.worksheet, found.fit.estimate.resolved
    if worksheet is None or resolved is None:
        return []
    lines = []
    longest = worksheet.longest
    if request.args.max_model_len is None and longest.percentile < 100:
        lines.append(
            f"maxModelLen is {resolved.max_model_len}, from request class {longest.name} at its {longest.percentile}th percentile: "
            "longer requests will be refused; pin engine.maxModelLen to serve them."
        )
    if not resolved.enable_prefix_caching and any(load.shared_tokens for load in worksheet.loads):
        lines.append("prefixCacheHitPercent is not counted: prefix caching is off for this model and release; every request holds its own.")
    return lines


def _other_machine(request: DeploymentRequest, found: Found) -> list[str]:
    """vLLM's own image is published for both machines, and for which releases is checked; of others nobody here knows."""
    products = [product.gpu.product for product in found.candidate.products if machine_of(product.gpu.product) == "aarch64"]
    if not products or request.args.flashinfer_installed:
        return []
    return [f"Hosts of {products[0]} are arm64: the image must be built for them, and is not known to be."]


def _host_doubt(found: Found) -> list[str]:
    """Where the pod's request is there and what loading may come to is not: the kernel, not the scheduler, would find out."""
    at_most = found.fit.estimate.host_memory_at_most_bytes
    resident = found.fit.estimate.host_memory_bytes
    if at_most is None or resident is None:
        return []
    most = found.needs.pod.host_memory_bytes - resident + at_most
    close = [pool for pool in found.pools if 0 < pool.host_memory_bytes < most]
    if not close:
        return []
    least = min(close, key=lambda pool: (pool.host_memory_bytes, pool.name))
    return [
        f"Host memory is close: the pod asks for {gib(found.needs.pod.host_memory_bytes, up=True)} GiB, loading and caches may come to "
        f"{gib(most, up=True)} GiB, nodes of pool {least.name} have {gib(least.host_memory_bytes)} GiB."
    ]


_ROLES: Final = {
    "kv_producer": "kv_role kv_producer: these engines answer prompts that others go on with, which are a deployment of their own.",
    "kv_consumer": "kv_role kv_consumer: these engines go on with prompts that others answered, which are a deployment of their own.",
}


def _arguments(request: DeploymentRequest) -> list[str]:
    """What arguments are counted without an exact rule, or without any, and which half of a pair the engines are."""
    lines = []
    args = request.args
    if args.reserved_gpu_bytes:
        reserved = gib(args.reserved_gpu_bytes, up=True)
        lines.append(
            f"Of extraArgs without an exact rule {reserved} GiB of each GPU are held in reserve; it may be twice as much, or nothing."
        )
    if request.unruled:
        named = ", ".join(request.unruled)
        lines.append(
            f"The FitPolicy lets through what has no rule ({named}): intervals are doubled, and the pessimistic end is what counts."
        )
    role = (args.kv_transfer_config or {}).get("kv_role")
    return lines + ([_ROLES[role]] if role in _ROLES else [])


def _doubt(found: Found) -> list[str]:
    """Where the cache needed lies inside the interval, a pinned value may turn out not to start; say so, rounded as the plan's figures."""
    estimate = found.fit.estimate
    interval = estimate.available_kv_cache_interval_bytes
    if found.fit.sure or interval is None:
        return []
    needed = format_gib(needed_kv_bytes(estimate, found.fit.demanded_blocks))
    judged = "what is pinned is judged by the middle, which holds it"
    return [f"On the edge: {needed} of KV cache are needed and {_band(interval)}: {judged}; a shorter maxModelLen is safer."]


def budget_note(miss: Miss) -> tuple[str, ...]:
    """What may be pinned where a pinned utilisation is what is too much."""
    return (f"{miss.message}.",) if miss.about == "gpu_memory_utilization" and miss.parts else ()


def edge_note(miss: Miss) -> tuple[str, ...]:
    """Why what some starts would have had room for is refused."""
    if miss.edge_bytes is None:
        return ()
    return (f"On the edge: {_band(miss.edge_bytes)} for the KV cache. At the upper end it would do, which is not relied on.",)


def _band(interval_bytes: tuple[int, int]) -> str:
    low, high = (format_gib(max(0, end)) for end in interval_bytes)
    return f"{covered_percent()} % of starts leave {low} to {high}"
