"""Helm values of vLLM's production stack: every entry of `servingEngineSpec.modelSpec` is one server. One translator of `registry`.

Follows the chart's template of the engine's Deployment (vllm-project/production-stack, helm/templates/deployment-vllm-multi.yaml).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft
from plimsoll_operator.cli.importing.pod import lay_metadata
from plimsoll_operator.cli.importing.read import Found, Others, Part, mapping
from plimsoll_operator.cli.importing.server import Server, lay_server
from plimsoll_operator.names import GPU_RESOURCE
from plimsoll_operator.serving import DEFAULT_PORT

_SIZES: Final = {
    "maxModelLen": "--max-model-len",
    "dtype": "--dtype",
    "tensorParallelSize": "--tensor-parallel-size",
    "pipelineParallelSize": "--pipeline-parallel-size",
    "maxNumSeqs": "--max-num-seqs",
    "gpuMemoryUtilization": "--gpu-memory-utilization",
    "maxLoras": "--max-loras",
    "runner": "--runner",
    "convert": "--convert",
}
"""Keys of vllmConfig, with the flag that the chart writes for each."""
_SWITCHES: Final = {"enableChunkedPrefill": "enable-chunked-prefill", "enablePrefixCaching": "enable-prefix-caching"}
_CACHING: Final = ("--enable-prefix-caching", "--no-enable-prefix-caching")
_TEXTS: Final = {"toolCallParser": "--tool-call-parser", "chatTemplate": "--chat-template", "modelRevision": "--revision"}
_INSTEAD: Final = {
    "pvcStorage": "the chart makes a claim for the hub's cache: put the checkpoint on a claim and name that in spec.model.source",
    "pvcAccessMode": "it belongs to pvcStorage",
    "pvcMatchLabels": "it belongs to pvcStorage",
    "raySpec": "the plan makes a replica's further pods itself: say in spec.placement.maxNodesPerReplica over how many nodes it may go",
    "chatTemplateConfigMap": "name the ConfigMap in spec.template.volumes, and its file with --chat-template in extraArgs",
    "labels": "write them into spec.template.labels",
    "envFromSecret": "list its variables in spec.template.env, each with valueFrom",
    "extraArgs": "the chart reads those of vllmConfig, and these are none of vLLM's there: write them into spec.engine.extraArgs",
    "keda": "scale the InferenceDeployment, which has a scale subresource",
    "annotations": "the chart puts them on its Deployment: write them on the InferenceDeployment",
}
_OF_ALL: Final = {
    "configs": "list its variables in spec.template.env, each with valueFrom",
    "enableEngine": "it is a switch of the chart's: an InferenceDeployment is there or not",
    "labels": "write them into spec.template.labels",
    "nodeSelector": "write it into spec.placement.nodeSelector",
    "sidecar": "it loads adapters for the chart's controller: keep the chart for both",
}
_OF_THE_CACHE: Final = "give the engine --kv-offloading-size in extraArgs, or keep the chart for what LMCache keeps elsewhere"
_NO_CACHING: Final = (
    "the chart switches prefix caching off where enablePrefixCaching is not said, and so it is here: take enablePrefixCaching: false "
    "out of spec.engine for vLLM's own default, which is on"
)
_BESIDE: Final = ("routerSpec", "cacheserverSpec", "loraAdapters", "loraController", "sharedPvcStorage", "sharedStorage")


def takes(obj: Manifest) -> bool:
    """Whether it is a file of values with engines in it."""
    return "kind" not in obj and bool(mapping(obj, "servingEngineSpec").get("modelSpec"))


def translate(obj: Part, _others: Others, choices: Choices) -> tuple[Draft, ...]:
    """One InferenceDeployment for every model. Raises InvalidInput naming the field."""
    shared = obj.part("servingEngineSpec")
    drafts = tuple(_one(shared, model, choices) for model in shared.entries("modelSpec"))
    for key, instead in _OF_ALL.items():
        if drafts and shared.peek(key) not in (None, {}, [], ""):
            drafts[0].lost(shared.at(key), f"is not carried over: {instead}")
        else:
            shared.take(key)
    for key in _BESIDE:
        if drafts and obj.peek(key):
            drafts[0].lost(key, "is not carried over: it is no engine; keep the chart for it, with servingEngineSpec.enableEngine: false")
        elif obj.has(key):
            obj.take(key)
    return drafts


def _one(shared: Part, model: Part, choices: Choices) -> Draft:
    name = model.text("name") or "vllm"
    draft = Draft(origin=f"the production stack's model {name}", ledger=model.ledger, root=model.path, choices=choices)
    draft.name(name, None, model.at("name"))
    draft.put("spec.replicas", model.whole("replicaCount"), model.at("replicaCount"))
    lay_metadata(draft, model.with_fields({"labels": None, "annotations": model.fields.get("podAnnotations")}))
    tokens = tuple(_tokens(shared, model))
    pod = _pod(shared, model)
    (container,) = pod.entries("containers")
    url = model.text("modelURL")
    lay_server(
        draft,
        Server(pod=pod, container=container, tokens=tokens, field=model.at("vllmConfig"), model=url, model_field=model.at("modelURL")),
    )
    draft.put("spec.template.sharedMemorySize", model.take("shmSize"), model.at("shmSize"))
    if _switches_caching_off(model):
        draft.assume(model.at("vllmConfig"), _NO_CACHING)
    _say_what_the_chart_does(draft, model)
    return draft


def _switches_caching_off(model: Part) -> bool:
    """The chart writes a switch for prefix caching into every list, off where the values do not say, as long as there is a vllmConfig.

    Of two switches vLLM takes the last, and extraArgs come behind the chart's own.
    """
    config = model.part("vllmConfig")
    extra = config.peek("extraArgs")
    said = {str(word).partition("=")[0].replace("_", "-") for word in extra} if isinstance(extra, list) else set()
    return bool(config.fields) and not config.has("enablePrefixCaching") and said.isdisjoint(_CACHING)


def _say_what_the_chart_does(draft: Draft, model: Part) -> None:
    for key, instead in _INSTEAD.items():
        if model.peek(key):
            draft.lost(model.at(key), f"is not carried over: {instead}")
        elif model.has(key):
            model.take(key)
    config, cache = model.part("vllmConfig"), model.part("lmcacheConfig")
    if str(config.peek("v0")) == "1":
        draft.lost(config.at("v0"), "is not carried over: the engine of before 0.8 is not estimated; the release's own choice holds")
    for key in ("v0", "v1"):
        if config.has(key):
            config.take(key)
    for key in cache.fields:
        if cache.at(key) not in cache.ledger.taken:
            draft.lost(cache.at(key), f"is not carried over: {_OF_THE_CACHE}")


def _pod(shared: Part, model: Part) -> Part:
    """The pod that the chart would make, as far as it is looked at."""
    fields: dict[str, Found | None] = {
        "name": None,
        "image": _image(model),
        "env": Found(_env(shared, model), model.at("env")),
        "resources": Found(_resources(model), model.at("resources")),
        "volumeMounts": model.fields.get("extraVolumeMounts"),
        "imagePullPolicy": shared.fields.get("imagePullPolicy"),
        "securityContext": shared.fields.get("containerSecurityContext"),
        **{key: shared.fields.get(key) for key in ("startupProbe", "livenessProbe", "readinessProbe")},
    }
    container = Part(model.path, model.ledger, {key: found for key, found in fields.items() if found is not None})
    pod = {key: model.fields.get(key) for key in ("nodeName", "nodeSelector", "priorityClassName", "serviceAccountName")}
    runtime = model if model.peek("runtimeClassName") else shared
    pod |= {"runtimeClassName": runtime.fields.get("runtimeClassName"), "securityContext": shared.fields.get("securityContext")}
    pod |= {"affinity": model.fields.get("affinity"), "schedulerName": shared.fields.get("schedulerName")}
    pod |= {"containers": Found([container], model.path), "volumes": model.fields.get("extraVolumes")}
    rows = [*shared.entries("tolerations"), *model.entries("tolerations")]
    pod["tolerations"] = Found(rows, model.at("tolerations"))
    if model.has("imagePullSecret"):
        secret = Part(model.at("imagePullSecret"), model.ledger, {"name": model.fields["imagePullSecret"]})
        pod["imagePullSecrets"] = Found([secret], model.at("imagePullSecret"))
    if model.has("initContainer"):
        made = model.part("initContainer")
        before = made.with_fields(
            {"volumeMounts": made.fields.get("extraVolumeMounts"), "extraVolumeMounts": None, "mountPvcStorage": None}
        )
        pod["initContainers"] = Found([before], made.path)
    if model.has("nodeSelectorTerms"):
        terms = Part(model.path, model.ledger, {"nodeSelectorTerms": model.fields["nodeSelectorTerms"]})
        required = Part(model.path, model.ledger, {"requiredDuringSchedulingIgnoredDuringExecution": Found(terms, model.path)})
        affinity = Part(model.path, model.ledger, {"nodeAffinity": Found(required, model.path)})
        pod["affinity"] = Found(affinity, model.path)
    return Part(model.path, model.ledger, {key: found for key, found in pod.items() if found is not None})


def _image(model: Part) -> Found | None:
    repository, tag = model.text("repository"), model.text("tag")
    image = ":".join(part for part in (repository, tag) if part)
    return Found(image, model.at("repository")) if image else None


def _resources(model: Part) -> Part:
    """As the chart makes them: of its own keys, unless the model has resources of its own."""
    own = model.part("resources")
    if own.fields:
        return own
    gpu = model.text("requestGPUType") or GPU_RESOURCE
    rows = {
        "requests": {"cpu": "requestCPU", "memory": "requestMemory", gpu: "requestGPU"},
        "limits": {"cpu": "limitCPU", "memory": "limitMemory"},
    }
    made = {part: {key: model.fields[name] for key, name in keys.items() if model.has(name)} for part, keys in rows.items()}
    return Part(model.path, model.ledger, {part: Found(Part(model.path, model.ledger, keys), model.path) for part, keys in made.items()})


def _env(shared: Part, model: Part) -> list[Part]:
    """Variables as the chart writes them: the two secrets by reference where the values say one."""
    rows: list[Part] = []
    for name, part, key in (("HF_TOKEN", model, "hf_token"), ("VLLM_API_KEY", shared, "vllmApiKey")):
        source, reference = part.at(key), part.part(key)
        made = f"{source}[]"  # a place that no file has: what else stands at the source is not taken with these
        fields: dict[str, Found] = {"name": Found(name, made)}
        if reference.fields:
            keys = {"name": reference.fields.get("secretName"), "key": reference.fields.get("secretKey")}
            secret = Part(made, model.ledger, {key: found for key, found in keys.items() if found is not None})
            fields["valueFrom"] = Found(Part(made, model.ledger, {"secretKeyRef": Found(secret, made)}), made)
        elif part.peek(key):
            fields["value"] = Found(str(part.peek(key)), source)
        if len(fields) > 1:
            rows.append(Part(source, model.ledger, fields))
    return [*model.entries("env"), *shared.entries("env"), *rows]


def _tokens(shared: Part, model: Part) -> Iterator[str]:
    """What the chart writes after `vllm serve MODEL`."""
    config, cache = model.part("vllmConfig"), model.part("lmcacheConfig")
    yield f"--port={shared.whole('containerPort') or DEFAULT_PORT}"
    if model.truth("enableLoRA"):
        yield "--enable-lora"
    if model.truth("enableTool"):
        yield "--enable-auto-tool-choice"
    for key, flag in _TEXTS.items():
        if (value := model.text(key)) is not None:
            yield f"{flag}={value}"
    yield from _switches(model, config)
    for key, flag in _SIZES.items():
        if (value := config.text(key)) is not None:
            yield f"{flag}={value}"
    if cache.truth("enabled"):
        role = cache.text("kvRole") or "kv_both"
        yield "--kv-transfer-config=" + json.dumps({"kv_connector": "LMCacheConnectorV1", "kv_role": role}, separators=(",", ":"))
    yield from config.words("extraArgs")


def _switches(model: Part, config: Part) -> Iterator[str]:
    for key, flag in _SWITCHES.items():
        if isinstance(config.peek(key), bool):
            yield f"--{flag}" if config.truth(key) else f"--no-{flag}"
    if _switches_caching_off(model):
        yield "--no-enable-prefix-caching"
