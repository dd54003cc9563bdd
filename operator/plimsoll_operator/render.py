"""The children of one InferenceDeployment: a Deployment or LeaderWorkerSet of vLLM pods and a Service. Pure: same input, same bytes.

Called by the controller (to apply) and the CLI (to print) with an applied plan. Takes every size from the plan and every
request from the spec; refuses to decide anything and to know the API server.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import GIB, MIB, EngineVersion, ceil_div, render_args
from plimsoll_operator import group, life
from plimsoll_operator.api import ENGINE_CONTAINER, InferenceDeployment, Manifest
from plimsoll_operator.names import (
    APP_NAME_LABEL,
    CAPACITY_GATE,
    GENERATION_ANNOTATION,
    GPU_RESOURCE,
    INSTANCE_LABEL,
    MANAGED_LABEL,
    MANAGED_VALUE,
    NAME_LABEL,
    PLAN_ANNOTATION,
    PLAN_DIGEST_ANNOTATION,
    REPLAN_ANNOTATION,
    SPEC_DIGEST_ANNOTATION,
    TEMPLATE_DIGEST_ANNOTATION,
)
from plimsoll_operator.node_terms import node_affinity
from plimsoll_operator.overlay import COMPILE_VOLUME, RESTRICTED, keeps_compiled_files, lay_over, one_form
from plimsoll_operator.pod import (
    CACHE_MOUNT,
    COMPILE_MOUNT,
    HOME_MOUNT,
    SHARED_MEMORY_MOUNT,
    WEIGHTS_MOUNT,
    shared_memory_bytes,
)
from plimsoll_operator.serving import serving_of
from plimsoll_operator.verdict import Plan
from plimsoll_operator.weights import implied_arguments, weights_of

_OF_THE_REPLICAS: Final = ("replicas", "podDisruptionBudget")
MANAGED_BY: Final = {MANAGED_LABEL: MANAGED_VALUE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which request a plan answers: generation, digest of the spec (see spec_digest), value of the replan annotation or empty.

    Recorded on the child, so that a later look at the child alone tells whether the request has changed since.
    """

    generation: int
    spec_digest: str
    replan: str


def render_workload(deployment: InferenceDeployment, plan: Plan, origin: Origin) -> Manifest:
    """What runs the plan: a Deployment where a replica is one pod, a LeaderWorkerSet where it is a group of them."""
    return render_deployment(deployment, plan, origin) if plan.nodes_per_replica == 1 else render_group(deployment, plan, origin)


def render_group(deployment: InferenceDeployment, plan: Plan, origin: Origin) -> Manifest:
    """The LeaderWorkerSet that runs a plan over several nodes, one group of pods a replica."""
    leader, worker = group.templates(_pod_template(deployment, plan), plan, deployment.spec.engine.extra_args)
    metadata = {**_metadata(deployment), "name": group.name_of(deployment.metadata.name)}
    metadata["annotations"] = _annotations(plan, origin, digest_of([leader, worker]))
    return group.leader_worker_set(metadata, leader, worker, plan, replicas=deployment.spec.replicas)


def _annotations(plan: Plan, origin: Origin, template_digest: str) -> dict[str, str]:
    annotations = {
        PLAN_ANNOTATION: plan.canonical_json(),
        PLAN_DIGEST_ANNOTATION: plan.digest,
        GENERATION_ANNOTATION: str(origin.generation),
        SPEC_DIGEST_ANNOTATION: origin.spec_digest,
        TEMPLATE_DIGEST_ANNOTATION: template_digest,
    }
    if origin.replan:
        annotations[REPLAN_ANNOTATION] = origin.replan
    return annotations


def render_deployment(deployment: InferenceDeployment, plan: Plan, origin: Origin) -> Manifest:
    """The apps/v1 Deployment that runs the plan."""
    template = _pod_template(deployment, plan)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(deployment), "annotations": _annotations(plan, origin, digest_of(template))},
        "spec": {
            "replicas": deployment.spec.replicas,
            "selector": {"matchLabels": selector_labels(deployment)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": group.rolling_update(plan)},
            "progressDeadlineSeconds": life.progress_deadline_seconds(plan, deployment.spec.template),
            "revisionHistoryLimit": 3,
            "template": template,
        },
    }


def render_service(deployment: InferenceDeployment) -> Manifest:
    """The Service in front of the pods: OpenAI's API on the port that the engine listens on."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(deployment),
        "spec": {
            "selector": selector_labels(deployment),
            "ports": [{"name": "http", "port": serving_of(deployment.spec.engine).port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def render_budget(deployment: InferenceDeployment, plan: Plan) -> Manifest | None:
    """The PodDisruptionBudget of the pods; None where the spec asks for none.

    An engine that is not ready serves nobody: without `AlwaysAllow` one that never becomes ready would hold up its node's drain.
    """
    budget = deployment.spec.pod_disruption_budget
    if budget is None:
        return None
    said = budget.model_dump(mode="json", by_alias=True, exclude_none=True)
    spec = {field: text if text.endswith("%") else int(text) for field, text in said.items()}
    if plan.nodes_per_replica > 1:
        spec = _of_groups(*next(iter(said.items())), replicas=deployment.spec.replicas, pods=plan.nodes_per_replica)
    selector = {"matchLabels": {INSTANCE_LABEL: deployment.metadata.name, **MANAGED_BY}}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(deployment),
        "spec": {**spec, "selector": selector, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    }


def _of_groups(field: str, text: str, *, replicas: int, pods: int) -> Manifest:
    """The budget of replicas that are groups of pods: each pod that is evicted may take another replica with it, so that no more of them
    may be evicted at once than replicas may be missing. Shares round up, as Kubernetes has them."""
    number = ceil_div(int(text[:-1]) * replicas, 100) if text.endswith("%") else int(text)
    if field == "maxUnavailable":
        return {field: number}
    return {field: replicas * pods - max(0, replicas - number)}


def selector_labels(deployment: InferenceDeployment) -> dict[str, str]:
    """Labels that select the pods and nothing else in the namespace."""
    return {NAME_LABEL: deployment.metadata.name}


def selector_text(deployment: InferenceDeployment) -> str:
    """The same as text, for the scale subresource."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector_labels(deployment).items()))


def spec_digest(raw_spec: Manifest) -> str:
    """Digest of a spec as stored, without replicas and their budget: scaling is no reason to plan again."""
    return digest_of({key: value for key, value in raw_spec.items() if key not in _OF_THE_REPLICAS})


def digest_of(value: object) -> str:
    """Short stable digest of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def serve_arguments(deployment: InferenceDeployment, plan: Plan) -> list[str]:
    """What follows `vllm serve`: every size of the plan by name, then the user's own arguments."""
    engine = deployment.spec.engine
    model = deployment.spec.model
    weights = weights_of(model)
    serving = serving_of(engine)
    out = [weights.argument]
    if (weights.offline or not weights.named) and not serving.named:
        out += ["--served-model-name", model.name]
    if weights.by_revision and (plan.model_revision is not None or model.revision is not None):
        out += ["--revision", plan.model_revision or model.revision or ""]
    out += implied_arguments(model, engine.extra_args)
    out += ["--port", str(serving.port)]
    sizes: dict[str, object] = {
        "tensor_parallel_size": plan.tensor_parallel_size,
        "pipeline_parallel_size": plan.pipeline_parallel_size if plan.pipeline_parallel_size > 1 else None,
        "data_parallel_size": plan.data_parallel_size if plan.data_parallel_size > 1 else None,
        "enable_expert_parallel": plan.enable_expert_parallel or None,
        "decode_context_parallel_size": plan.decode_context_parallel_size if plan.decode_context_parallel_size > 1 else None,
        "gpu_memory_utilization": plan.gpu_memory_utilization,
        "max_model_len": plan.max_model_len,
        "max_num_seqs": plan.max_num_seqs,
        "max_num_batched_tokens": plan.max_num_batched_tokens,
        "dtype": plan.dtype,
        # What the checkpoint declares itself is left to vLLM: naming it can select another kernel (gptq, not gptq_marlin).
        "quantization": engine.quantization,
        "kv_cache_dtype": plan.kv_cache_dtype if plan.kv_cache_dtype != "auto" else None,
        "block_size": engine.block_size,
        "enforce_eager": engine.enforce_eager or None,
        "enable_prefix_caching": engine.enable_prefix_caching,
        "enable_chunked_prefill": engine.enable_chunked_prefill,
    }
    if engine.lora is not None:
        sizes |= {"enable_lora": True, "max_loras": engine.lora.max_loras, "max_lora_rank": engine.lora.max_lora_rank}
    if engine.speculative is not None:
        sizes |= {
            "speculative_method": engine.speculative.resolved_method,
            "speculative_model": engine.speculative.model,
            "num_speculative_tokens": engine.speculative.num_speculative_tokens,
        }
    out += render_args(sizes, EngineVersion.parse(plan.engine_version))
    return [*out, *engine.extra_args]


def _metadata(deployment: InferenceDeployment) -> Manifest:
    metadata = deployment.metadata
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "labels": labels_of(deployment),
        # blockOwnerDeletion would need a right on the parent's finalizers and make its deletion wait for the pods.
        "ownerReferences": [
            {
                "apiVersion": deployment.api_version,
                "kind": deployment.kind,
                "name": metadata.name,
                "uid": metadata.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def labels_of(deployment: InferenceDeployment) -> dict[str, str]:
    """Labels of every object that a deployment becomes, its pods among them."""
    return {
        APP_NAME_LABEL: "vllm",
        INSTANCE_LABEL: deployment.metadata.name,
        **MANAGED_BY,
        **selector_labels(deployment),
    }


def _pod_template(deployment: InferenceDeployment, plan: Plan) -> Manifest:
    placement = deployment.spec.placement
    volumes, _ = _volumes(deployment, plan)
    spec: Manifest = {
        "containers": [_container(deployment, plan)],
        "affinity": {"nodeAffinity": node_affinity(plan)},
        "tolerations": _tolerations(deployment),
        "volumes": volumes,
        # A Service of the namespace called "vllm" would set VLLM_PORT and its kin, which vLLM reads as settings.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": life.grace_seconds(plan, deployment.spec.template),
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    if plan.pod_form >= 1 and not (deployment.spec.template and deployment.spec.template.has_sidecars):
        # The kernel keeps from a namespace's first process every signal that it has no handler for, and vLLM has none while it loads:
        # it would hold its GPUs for the whole grace period. Sidecars would see its processes and their environment.
        spec["shareProcessNamespace"] = True
    if placement.node_selector:
        spec["nodeSelector"] = dict(sorted(placement.node_selector.items()))
    if placement.priority_class_name is not None:
        spec["priorityClassName"] = placement.priority_class_name
    if placement.scheduler_name is not None:
        spec["schedulerName"] = placement.scheduler_name
    if placement.wait_for_capacity:
        spec["schedulingGates"] = [{"name": CAPACITY_GATE}]
    made = {"metadata": {"labels": labels_of(deployment), "annotations": {PLAN_DIGEST_ANNOTATION: plan.digest}}, "spec": spec}
    return lay_over(made, deployment.spec.template, plan.pod_form)


def _container(deployment: InferenceDeployment, plan: Plan) -> Manifest:
    gpus = {plan.gpu_resource: str(plan.gpus_per_pod)}
    _, mounts = _volumes(deployment, plan)
    serving = serving_of(deployment.spec.engine)
    return {
        "name": ENGINE_CONTAINER,
        "image": deployment.spec.engine.image,
        "command": ["vllm", "serve"],
        "args": [_literally(argument) for argument in serve_arguments(deployment, plan)],
        "env": _environment(deployment),
        "ports": [{"name": "http", "containerPort": serving.port, "protocol": "TCP"}],
        "resources": {
            "limits": dict(gpus),
            "requests": {
                **gpus,
                "cpu": f"{plan.engine_cpu_millis}m",
                "memory": f"{ceil_div(plan.host_memory_bytes, MIB)}Mi",
                **_storage(plan),
            },
        },
        "volumeMounts": mounts,
        **life.probes(plan, serving, deployment.spec.template),
        **life.lifecycle(plan, serving, deployment.spec.template),
        "securityContext": RESTRICTED,
        # The end of the log of an engine that failed, at most 2 KiB, in the pod's status.
        **({"terminationMessagePolicy": "FallbackToLogsOnError"} if plan.pod_form >= 1 else {}),
    }


def _literally(argument: str) -> str:
    """Kubernetes would put variables in for $(NAME) and one $ for two: what was decided about is what vLLM is told."""
    return argument.replace("$", "$$") if "$(" in argument or "$$" in argument else argument


def _storage(plan: Plan) -> dict[str, str]:
    """A request: the scheduler looks for the room, and eviction comes first to who exceeds theirs. A limit would evict a pod that serves.

    Plans of releases that did not count it ask for nothing, so that their pods stay as they are.
    """
    return {"ephemeral-storage": f"{ceil_div(plan.ephemeral_storage_bytes, GIB)}Gi"} if plan.ephemeral_storage_bytes else {}


def _environment(deployment: InferenceDeployment) -> list[Manifest]:
    return [*_home(deployment), *_of_the_source(deployment)]


def _home(deployment: InferenceDeployment) -> list[Manifest]:
    """Where libraries keep caches, and a name that they find nowhere else for a user whom the image does not know."""
    template = deployment.spec.template
    if template is None or template.security_context is None or not template.security_context.moves_home:
        return []
    given = {variable.name for variable in template.env}
    return [{"name": name, "value": value} for name, value in (("HOME", HOME_MOUNT), ("USER", "vllm")) if name not in given]


def _of_the_source(deployment: InferenceDeployment) -> list[Manifest]:
    source = deployment.spec.model.source
    secret = source.hugging_face.token_secret_ref if source is not None and source.hugging_face is not None else None
    if secret is None:
        return [{"name": name, "value": _literally(value)} for name, value in weights_of(deployment.spec.model).variables]
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}]


def _volumes(deployment: InferenceDeployment, plan: Plan) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes of the pod and their mounts in the engine's container."""
    weights = weights_of(deployment.spec.model)
    shared = shared_memory_bytes(plan.gpus_per_pod)
    volumes: list[Manifest] = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared // GIB}Gi"}}]
    mounts: list[Manifest] = [{"name": "shm", "mountPath": SHARED_MEMORY_MOUNT}]
    if weights.volume is not None:
        volumes.append({"name": "weights", **weights.volume})
        mounts.append({"name": "weights", "mountPath": WEIGHTS_MOUNT, "readOnly": True})
    security = deployment.spec.template.security_context if deployment.spec.template is not None else None
    moves_home = security is not None and security.moves_home
    if moves_home or (weights.volume is None and not _mounts(deployment, CACHE_MOUNT)):
        # Outlives a restart of the container, so a crash does not download the weights again.
        volumes.append({"name": "hub-cache", "emptyDir": {}})
        mounts.append({"name": "hub-cache", "mountPath": HOME_MOUNT if moves_home else CACHE_MOUNT})
    if plan.pod_form >= 2 and not moves_home and not keeps_compiled_files(deployment.spec.template):
        # As the weights: what has been compiled outlives a restart of the container. A home that has moved is a volume already.
        volumes.append({"name": COMPILE_VOLUME, "emptyDir": {}})
        mounts.append({"name": COMPILE_VOLUME, "mountPath": COMPILE_MOUNT})
    if security is not None and security.read_only_root_filesystem and not _mounts(deployment, "/tmp"):
        mounts.append({"name": "hub-cache", "mountPath": "/tmp", "subPath": "tmp"})
    return volumes, mounts


def _mounts(deployment: InferenceDeployment, path: str) -> bool:
    template = deployment.spec.template
    return template is not None and any(one_form(volume.mount_path) == path for volume in template.volumes)


def _tolerations(deployment: InferenceDeployment) -> list[Manifest]:
    """The GPU nodes' usual taint, then the user's own; a pool's other taints keep other people's pods out on purpose."""
    wanted: list[Manifest] = [{"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]
    for toleration in deployment.spec.placement.tolerations:
        given = toleration.model_dump(mode="json", by_alias=True, exclude_none=True)
        if given not in wanted:
            wanted.append(given)
    return wanted
