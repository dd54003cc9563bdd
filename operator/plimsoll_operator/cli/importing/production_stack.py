"""Helm values of vLLM's production stack: every entry of `servingEngineSpec.modelSpec` is one server. One translator of `registry`.

Follows the chart's template of the engine's Deployment (vllm-project/production-stack, helm/templates/deployment-vllm-multi.yaml).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft, Imported
from plimsoll_operator.cli.importing.read import entries, mapping, text, whole, words
from plimsoll_operator.cli.importing.server import Server, lay_server
from plimsoll_operator.names import GPU_RESOURCE

_SIZES: Final = {
    "maxModelLen": "--max-model-len",
    "dtype": "--dtype",
    "tensorParallelSize": "--tensor-parallel-size",
    "maxNumSeqs": "--max-num-seqs",
    "gpuMemoryUtilization": "--gpu-memory-utilization",
    "maxLoras": "--max-loras",
    "runner": "--runner",
    "convert": "--convert",
}
"""Keys of vllmConfig, with the flag that the chart writes for each."""
_READ: Final = frozenset({
    "name", "repository", "tag", "modelURL", "replicaCount", "requestCPU", "requestMemory", "requestGPU", "requestGPUType", "resources",
    "vllmConfig", "hf_token", "env", "enableLoRA", "enableTool", "toolCallParser", "chatTemplate", "modelRevision", "lmcacheConfig",
    "nodeSelectorTerms", "nodeName", "serviceAccountName", "priorityClassName", "imagePullSecret", "labels", "podAnnotations",
    "tolerations", "limitCPU", "limitMemory", "annotations",
})  # fmt: skip
_INSTEAD: Final = {
    "pvcStorage": "the chart makes a claim for the hub's cache: put the checkpoint on a claim and name that in spec.model.source",
    "pvcAccessMode": "it belongs to pvcStorage",
    "pvcMatchLabels": "it belongs to pvcStorage",
    "shmSize": "the pods have a /dev/shm of their own, sized for their GPUs; nothing is to be done",
}
_BESIDE: Final = ("routerSpec", "cacheserverSpec", "loraAdapters", "loraController", "sharedPvcStorage", "sharedStorage")


def takes(obj: Manifest) -> bool:
    """Whether it is a file of values with engines in it."""
    return "kind" not in obj and bool(mapping(obj, "servingEngineSpec").get("modelSpec"))


def translate(obj: Manifest, _others: Sequence[Manifest], choices: Choices) -> tuple[Imported, ...]:
    """One InferenceDeployment for every model. Raises InvalidInput naming the field."""
    shared = mapping(obj, "servingEngineSpec")
    return tuple(_one(obj, shared, place, model, choices) for place, model in entries(shared.get("modelSpec")))


def _one(obj: Manifest, shared: Manifest, place: int, model: Manifest, choices: Choices) -> Imported:
    path, name = f"servingEngineSpec.modelSpec[{place}]", text(model.get("name")) or "vllm"
    draft = Draft(origin=f"the production stack's model {name}", choices=choices)
    draft.name(name, None, f"{path}.name")
    draft.put("spec.replicas", whole(model.get("replicaCount")), f"{path}.replicaCount")
    pod = _pod(shared, model)
    lay_server(
        draft,
        Server(
            pod=pod, path=path, place=0, at=path, tokens=_tokens(shared, model), field=f"{path}.vllmConfig",
            model=text(model.get("modelURL")), model_field=f"{path}.modelURL",
        ),
    )  # fmt: skip
    for key, value in model.items():
        if key not in _READ and value not in (None, "", [], {}):
            draft.lost(
                f"{path}.{key}",
                f"is not carried over: {_INSTEAD.get(key, 'no field says this; leave it out, or put it into spec.template')}",
            )
    if str(mapping(model, "vllmConfig").get("v0")) == "1":
        draft.lost(
            f"{path}.vllmConfig.v0", "is not carried over: the engine of before 0.8 is not estimated; the release's own choice holds"
        )
    for key in _BESIDE:
        if obj.get(key):
            draft.lost(key, "is not carried over: it is no engine; keep the chart for it, with servingEngineSpec.enableEngine: false")
    return draft.finish()


def _pod(shared: Manifest, model: Manifest) -> Manifest:
    """The pod that the chart would make, as far as it is looked at."""
    image = ":".join(part for part in (text(model.get("repository")), text(model.get("tag"))) if part)
    gpu, count = text(model.get("requestGPUType")) or GPU_RESOURCE, model.get("requestGPU")
    asked: dict[str, Any] = {"cpu": model.get("requestCPU"), "memory": model.get("requestMemory"), gpu: count}
    resources = mapping(model, "resources") or {"requests": {key: value for key, value in asked.items() if value is not None}}
    container = {"name": "vllm", "image": image or None, "env": _env(shared, model), "resources": resources}
    pod: Manifest = {"containers": [container], "tolerations": [*_listed(shared, "tolerations"), *_listed(model, "tolerations")]}
    for key in ("serviceAccountName", "priorityClassName"):
        pod[key] = model.get(key)
    pod["runtimeClassName"] = shared.get("runtimeClassName")
    pod["securityContext"] = mapping(shared, "securityContext")
    if model.get("imagePullSecret"):
        pod["imagePullSecrets"] = [{"name": model["imagePullSecret"]}]
    if model.get("nodeSelectorTerms"):
        terms = {"nodeSelectorTerms": model["nodeSelectorTerms"]}
        pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    return pod


def _listed(part: Manifest, key: str) -> list[Any]:
    value = part.get(key)
    return value if isinstance(value, list) else []


def _env(shared: Manifest, model: Manifest) -> list[Manifest]:
    """Variables as the chart writes them: the two secrets by reference where the values say one."""
    rows: list[Manifest] = []
    for name, value in (("HF_TOKEN", model.get("hf_token")), ("VLLM_API_KEY", shared.get("vllmApiKey"))):
        reference = mapping(value)
        if reference:
            keys = {"name": reference.get("secretName"), "key": reference.get("secretKey")}
            rows.append({"name": name, "valueFrom": {"secretKeyRef": keys}})
        elif value:
            rows.append({"name": name, "value": str(value)})
    return [*(row for _, row in entries(model.get("env"))), *(row for _, row in entries(shared.get("env"))), *rows]


def _tokens(shared: Manifest, model: Manifest) -> tuple[str, ...]:
    """What the chart writes after `vllm serve MODEL`."""
    config = mapping(model, "vllmConfig")
    found = [f"--port={whole(shared.get('containerPort')) or 8000}"]
    found += ["--enable-lora"] if model.get("enableLoRA") else []
    found += ["--enable-auto-tool-choice"] if model.get("enableTool") else []
    for key, flag in (("toolCallParser", "--tool-call-parser"), ("chatTemplate", "--chat-template"), ("modelRevision", "--revision")):
        found += [f"{flag}={model[key]}"] if text(model.get(key)) else []
    for key, flag in (("enableChunkedPrefill", "enable-chunked-prefill"), ("enablePrefixCaching", "enable-prefix-caching")):
        if key in config:
            found.append(f"--{flag}" if config[key] else f"--no-{flag}")
    found += [f"{flag}={config[key]}" for key, flag in _SIZES.items() if text(config.get(key))]
    cache = mapping(model, "lmcacheConfig")
    if cache.get("enabled"):
        role = text(cache.get("kvRole")) or "kv_both"
        found.append(f'--kv-transfer-config={{"kv_connector":"LMCacheConnectorV1","kv_role":"{role}"}}')
    return (*found, *words(config.get("extraArgs")))
