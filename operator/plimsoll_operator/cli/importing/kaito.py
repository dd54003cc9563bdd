"""KAITO's Workspace and InferenceSet: a preset by name, the ConfigMap of its arguments, or one's own pod. One translator of `registry`.

Sources: kaito-project/kaito, api/v1beta1, presets/workspace/models/supported_models.yaml and docs of `inference_config.yaml`. KAITO
chooses sizes by the machine's GPUs; here the decision does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft
from plimsoll_operator.cli.importing.kaito_presets import PRESETS
from plimsoll_operator.cli.importing.nodes import lay_instance_type
from plimsoll_operator.cli.importing.pod import lay_metadata
from plimsoll_operator.cli.importing.read import Found, Others, Part, mapping, text_of
from plimsoll_operator.cli.importing.same import take_what_says_nothing
from plimsoll_operator.cli.importing.server import Server, lay_server, servers_of
from plimsoll_operator.cli.manifests import documents
from plimsoll_operator.text import one_line

_GROUP: Final = "kaito.sh/"
_CONFIG_KEY: Final = "inference_config.yaml"
_RUNTIME_NOTE: Final = "kaito.sh/runtime"


_LABELS: Final = "KAITO puts these labels on nodes: say yours in spec.placement.nodeSelector"
_OF_THE_SET: Final = {
    "labelSelector": _LABELS,
    "nodeCountLimit": "Plimsoll makes no nodes, and books what there is",
    "updateStrategy": "whether an update starts the new replica before it stops the old one follows from the GPUs that are free",
}
_OF_THE_RESOURCE: Final = {
    "count": "how many nodes a replica takes follows from the plan: say in spec.placement.maxNodesPerReplica how many it may",
    "labelSelector": _LABELS,
    "preferredNodes": "say in spec.placement.nodeSelector which nodes may be used",
}


def takes(obj: Manifest) -> bool:
    """Whether it is a Workspace or a set of them."""
    return obj.get("kind") in ("Workspace", "InferenceSet") and str(obj.get("apiVersion", "")).startswith(_GROUP)


def translate(obj: Part, others: Others, choices: Choices) -> tuple[Draft, ...]:
    """One InferenceDeployment; nothing of a workspace that tunes. Raises InvalidInput naming the field."""
    of_a_set = obj.peek("kind") == "InferenceSet"
    body = obj.part("spec", "template") if of_a_set else obj
    inference, metadata = body.part("inference"), obj.part("metadata")
    if not inference.fields:
        return ()
    name = metadata.text("name") or "vllm"
    draft = Draft(origin=f"{obj.peek('kind')} {name}", ledger=obj.ledger, choices=choices)
    draft.name(name, metadata.text("namespace"), metadata.at("name"))
    _lay_runtime(draft, metadata.part("annotations"))
    take_what_says_nothing(obj)
    if of_a_set:
        spec = obj.part("spec")
        draft.put("spec.replicas", spec.whole("replicas"), spec.at("replicas"))
        _say(draft, spec, _OF_THE_SET)
        lay_metadata(draft, body.part("metadata"))
    if inference.part("template").fields:
        servers = list(servers_of(inference.part("template", "spec")))
        if not servers:
            return ()
        lay_metadata(draft, inference.part("template", "metadata"))
        lay_server(draft, servers[0])
    else:
        lay_server(draft, _of_the_preset(draft, inference, others))
    resource = body.part("resource")
    lay_instance_type(draft, resource)
    _lay_partition(draft, resource.part("partition"))
    if resource.has("instanceType"):
        say = "nodes of this type are asked for; KAITO also makes them, and Plimsoll makes no nodes"
        draft.assume(resource.at("instanceType"), say)
    _say(draft, resource, _OF_THE_RESOURCE)
    instead = "set spec.engine.lora, and name the adapters with --lora-modules in extraArgs"
    _say(draft, inference, {"adapters": instead})
    return (draft,)


def _say(draft: Draft, part: Part, instead: dict[str, str]) -> None:
    for key, what in instead.items():
        if part.has(key):
            draft.lost(part.at(key), f"is not carried over: {what}")


def _lay_partition(draft: Draft, partition: Part) -> None:
    """A slice of a GPU: which, the label of the nodes' product says, and KAITO's profile leaves the product open."""
    if partition.peek("mode") != "mig":
        return
    draft.put("spec.placement.sharing", partition.take("mode"), partition.at("mode"))
    if partition.has("profile"):
        say = "is not carried over: name the slices' product in spec.placement.gpuProducts, as nodes are labelled with it"
        draft.lost(partition.at("profile"), say)


def _lay_runtime(draft: Draft, annotations: Part) -> None:
    runtime = annotations.text(_RUNTIME_NOTE)
    if runtime not in (None, "vllm"):
        note = f"asks for KAITO's runtime {runtime}, which is not vLLM: here it is served by vLLM"
        draft.assume(annotations.at(_RUNTIME_NOTE), note)


def _of_the_preset(draft: Draft, inference: Part, others: Others) -> Server:
    preset = inference.part("preset")
    options = preset.part("presetOptions")
    called = preset.text("name") or ""
    if preset.peek("accessMode") == "public":
        preset.take("accessMode")
    model = PRESETS.get(called, called if "/" in called else None)
    if model is None:
        limit = "is a preset whose model is not known here: write the model's hub id, as KAITO takes it too"
        raise InvalidInput(preset.at("name"), called, limit)
    fields: dict[str, Found] = {}
    secret, source = options.text("modelAccessSecret"), options.at("modelAccessSecret")
    if secret is not None:
        row = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": "HF_TOKEN"}}}
        fields["env"] = Found([Part.of(row, source, draft.ledger)], source)
    if options.has("image"):
        fields["image"] = options.fields["image"]
    container = Part(preset.path, draft.ledger, fields)
    return Server(
        pod=Part(inference.path, draft.ledger, {"containers": Found([container], inference.path)}), container=container,
        tokens=_of_the_config(draft, inference, others), field=inference.at("config"), model=model, model_field=preset.at("name"),
        pinned=False,
    )  # fmt: skip


def _of_the_config(draft: Draft, inference: Part, others: Others) -> tuple[str, ...]:
    """Arguments of the ConfigMap that the workspace names, where the same file holds it."""
    config = inference.text("config")
    if config is None:
        return ()
    found = others.find(("ConfigMap",), config)
    written = text_of(mapping(found, "data").get(_CONFIG_KEY))
    if found is None or written is None:
        draft.lost(inference.at("config"), f"is not carried over: the ConfigMap {config} is not in the file; read them together")
        return ()
    beside = draft.ledger.open_beside(found)
    take_what_says_nothing(beside)
    beside.part("metadata").text("name")
    beside.part("metadata").text("namespace")
    beside.part("data").take(_CONFIG_KEY)
    tokens: list[str] = []
    for document in documents(Path(inference.at("config")), written):
        rows = dict(document) if isinstance(document, dict) else {}
        vllm = rows.pop("vllm", None)
        for key, value in (vllm if isinstance(vllm, dict) else {}).items():
            flag = str(key).replace("_", "-")
            if isinstance(value, bool):
                tokens.append(f"--{flag}" if value else f"--no-{flag}")
            elif text_of(value) is not None:
                tokens.append(f"--{flag}={value}")
            elif value is not None:
                tokens.append(f"--{flag}={json.dumps(value)}")
        for key in rows:
            where = f"{beside.part('data').at(_CONFIG_KEY)}[{one_line(str(key), 60)}]"
            draft.lost(where, "is not carried over: it is KAITO's, and no argument of vLLM")
    return tuple(tokens)
