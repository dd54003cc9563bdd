"""KAITO's Workspace and InferenceSet: a preset by name, the ConfigMap of its arguments, or one's own pod. One translator of `registry`.

Sources: kaito-project/kaito, api/v1beta1, presets/workspace/models/supported_models.yaml and docs of `inference_config.yaml`. KAITO
chooses sizes by the machine's GPUs; here the decision does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft, Imported
from plimsoll_operator.cli.importing.pod import lay_instance_type
from plimsoll_operator.cli.importing.read import mapping, text, whole
from plimsoll_operator.cli.importing.server import Server, lay_server, servers_of
from plimsoll_operator.cli.manifests import documents

_GROUP: Final = "kaito.sh/"
_CONFIG_KEY: Final = "inference_config.yaml"
_PRESETS: Final = {
    "deepseek-r1-0528": "deepseek-ai/DeepSeek-R1-0528",
    "deepseek-r1-distill-llama-8b": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
    "deepseek-r1-distill-qwen-14b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "deepseek-v3-0324": "deepseek-ai/DeepSeek-V3-0324",
    "deepseek-v3-1-base": "deepseek-ai/DeepSeek-V3.1-Base",
    "falcon-40b": "tiiuae/falcon-40b",
    "falcon-40b-instruct": "tiiuae/falcon-40b-instruct",
    "falcon-7b": "tiiuae/falcon-7b",
    "falcon-7b-instruct": "tiiuae/falcon-7b-instruct",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "llama-3.3-70b-instruct": "meta-llama/Llama-3.3-70B-Instruct",
    "mistral-7b": "mistralai/Mistral-7B-v0.3",
    "mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.3",
    "phi-2": "microsoft/phi-2",
    "phi-3-medium-128k-instruct": "microsoft/Phi-3-medium-128k-instruct",
    "phi-3-medium-4k-instruct": "microsoft/Phi-3-medium-4k-instruct",
    "phi-3-mini-128k-instruct": "microsoft/Phi-3-mini-128k-instruct",
    "phi-3-mini-4k-instruct": "microsoft/Phi-3-mini-4k-instruct",
    "phi-3.5-mini-instruct": "microsoft/Phi-3.5-mini-instruct",
    "phi-4": "microsoft/phi-4",
    "phi-4-mini-instruct": "microsoft/Phi-4-mini-instruct",
    "qwen2.5-coder-32b-instruct": "Qwen/Qwen2.5-Coder-32B-Instruct",
    "qwen2.5-coder-7b-instruct": "Qwen/Qwen2.5-Coder-7B-Instruct",
    "qwen3-coder-30b-a3b-instruct": "Qwen/Qwen3-Coder-30B-A3B-Instruct",
}
"""Presets by name, with the hub id that KAITO's own lists give (056b8280, 2026-08-21; of earlier releases 0567d7f2, and 429861da for those
of best effort); newer presets are hub ids themselves, as its model_catalog.yaml has them."""
_RUNTIME_NOTE: Final = "kaito.sh/runtime"


def takes(obj: Manifest) -> bool:
    """Whether it is a Workspace or a set of them."""
    return obj.get("kind") in ("Workspace", "InferenceSet") and str(obj.get("apiVersion", "")).startswith(_GROUP)


def translate(obj: Manifest, others: Sequence[Manifest], choices: Choices) -> tuple[Imported, ...]:
    """One InferenceDeployment; nothing of a workspace that tunes. Raises InvalidInput naming the field."""
    of_a_set = obj.get("kind") == "InferenceSet"
    body, prefix = (mapping(obj, "spec", "template"), "spec.template.") if of_a_set else (obj, "")
    inference, metadata = mapping(body, "inference"), mapping(obj, "metadata")
    if not inference:
        return ()
    name = text(metadata.get("name")) or "vllm"
    draft = Draft(origin=f"{obj.get('kind')} {name}", choices=choices)
    draft.name(name, text(metadata.get("namespace")), "metadata.name")
    if of_a_set:
        draft.put("spec.replicas", whole(mapping(obj, "spec").get("replicas")), "spec.replicas")
    path = f"{prefix}inference"
    runtime = text(mapping(metadata, "annotations").get(_RUNTIME_NOTE))
    if runtime not in (None, "vllm"):
        note = f"asks for KAITO's runtime {runtime}, which is not vLLM: here it is served by vLLM"
        draft.assume(f"metadata.annotations[{_RUNTIME_NOTE}]", note)
    if inference.get("template"):
        servers = list(servers_of(mapping(inference, "template", "spec"), f"{path}.template.spec"))
        if not servers:
            return ()
        lay_server(draft, servers[0])
    else:
        lay_server(draft, _of_the_preset(draft, inference, path, others))
    resource = mapping(body, "resource")
    lay_instance_type(draft, text(resource.get("instanceType")), f"{prefix}resource.instanceType")
    if resource.get("instanceType"):
        draft.assume(
            f"{prefix}resource.instanceType", "nodes of this type are asked for; KAITO also makes them, and Plimsoll makes no nodes"
        )
    if resource.get("labelSelector"):
        draft.lost(
            f"{prefix}resource.labelSelector",
            "is not carried over, KAITO puts these labels on nodes: say yours in spec.placement.nodeSelector",
        )
    if inference.get("adapters"):
        draft.lost(f"{path}.adapters", "is not carried over: set spec.engine.lora, and name the adapters with --lora-modules in extraArgs")
    return (draft.finish(),)


def _of_the_preset(draft: Draft, inference: Manifest, path: str, others: Sequence[Manifest]) -> Server:
    preset, options = text(mapping(inference, "preset").get("name")) or "", mapping(inference, "preset", "presetOptions")
    model = _PRESETS.get(preset, preset if "/" in preset else None)
    if model is None:
        limit = "is a preset whose model is not known here: write the model's hub id, as KAITO takes it too"
        raise InvalidInput(f"{path}.preset.name", preset, limit)
    env = []
    if text(options.get("modelAccessSecret")) is not None:
        env = [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": options["modelAccessSecret"], "key": "HF_TOKEN"}}}]
    pod = {"containers": [{"name": "vllm", "env": env}]}
    tokens = _of_the_config(draft, text(inference.get("config")), path, others)
    return Server(
        pod=pod, path=path, place=0, at=f"{path}.preset", tokens=tokens, field=f"{path}.config", model=model,
        model_field=f"{path}.preset.name", pinned=False,
    )  # fmt: skip


def _of_the_config(draft: Draft, config: str | None, path: str, others: Sequence[Manifest]) -> tuple[str, ...]:
    """Arguments of the ConfigMap that the workspace names, where the same file holds it."""
    if config is None:
        return ()
    maps = (row for row in others if row.get("kind") == "ConfigMap" and mapping(row, "metadata").get("name") == config)
    written = text(mapping(next(maps, {}), "data").get(_CONFIG_KEY))
    if written is None:
        draft.lost(f"{path}.config", f"is not carried over: the ConfigMap {config} is not in the file; read them together")
        return ()
    tokens: list[str] = []
    for document in documents(Path(f"{path}.config"), written):
        for key, value in mapping(document, "vllm").items():
            flag = str(key).replace("_", "-")
            if isinstance(value, bool):
                tokens.append(f"--{flag}" if value else f"--no-{flag}")
            elif text(value) is not None:
                tokens.append(f"--{flag}={value}")
    return tuple(tokens)
