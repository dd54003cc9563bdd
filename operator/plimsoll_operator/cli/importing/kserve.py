"""KServe's LLMInferenceService, with its prefill pool: the deployment that answers, and the one that prefills. A translator of `registry`.

Follows KServe's own types (pkg/apis/serving): what its LLMInferenceServiceConfigs add is in the cluster and not in the file, the image
above all, and is assumed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft
from plimsoll_operator.cli.importing.pod import lay_metadata
from plimsoll_operator.cli.importing.read import Found, Others, Part
from plimsoll_operator.cli.importing.same import take_what_says_nothing
from plimsoll_operator.cli.importing.server import Server, lay_server, servers_of
from plimsoll_operator.cli.importing.shell import commands
from plimsoll_operator.cli.importing.stores import lay_uri
from plimsoll_operator.cli.importing.words import Budget

GROUP: Final = "serving.kserve.io/"
FOLDERS: Final = ("/mnt/models", "/mnt/models/")
"""Where KServe puts a model that is named by its address."""
_ADDITIONAL: Final = "VLLM_ADDITIONAL_ARGS"
_PARALLEL: Final = {"tensor": "--tensor-parallel-size", "pipeline": "--pipeline-parallel-size", "data": "--data-parallel-size"}
_INSTEAD: Final = {
    "router": "gateway, route and scheduler stay KServe's: point them at the Service that has the deployment's name",
    "baseRefs": "what that configuration adds is not in this file: add it to spec.engine yourself",
    "worker": "write the number of nodes into spec.placement.maxNodesPerReplica; the plan makes the workers",
    "scaling": "scale the InferenceDeployment, which has a scale subresource",
    "workload": "write --kv-transfer-config or --kv-offloading-size into extraArgs",
    "storageInitializer": "the engine reads the weights itself, from spec.model.source",
}
_OF_PARALLELISM: Final = {
    "dataLocal": "how the engines of a replica are laid over its nodes follows from the plan",
    "dataRPCPort": "the plan gives the engines of a replica their ports",
}
_LORA: Final = "set spec.engine.lora, and name the adapters with --lora-modules in extraArgs"


def takes(obj: Manifest) -> bool:
    """Whether it is an LLMInferenceService."""
    return obj.get("kind") == "LLMInferenceService" and str(obj.get("apiVersion", "")).startswith(GROUP)


def translate(obj: Part, _others: Others, choices: Choices) -> tuple[Draft, ...]:
    """The pool that answers, and the one that prefills where there is one. Raises InvalidInput naming the field."""
    take_what_says_nothing(obj)
    spec = obj.part("spec")
    drafts = [_pool(obj, "", spec.with_fields({"prefill": None}), choices)]
    if spec.part("prefill").fields:
        drafts.append(_pool(obj, "-prefill", spec.part("prefill"), choices))
    return tuple(drafts)


def _pool(obj: Part, suffix: str, pool: Part, choices: Choices) -> Draft:
    metadata, model, parallelism = obj.part("metadata"), obj.part("spec", "model"), pool.part("parallelism")
    name = metadata.text("name") or "vllm"
    called_itself = f"LLMInferenceService {name}" + (", its prefill" if suffix else "")
    draft = Draft(origin=called_itself, ledger=obj.ledger, root=pool.path if suffix else "", choices=choices)
    draft.name(name + suffix, metadata.text("namespace"), metadata.at("name"))
    draft.put("spec.replicas", pool.whole("replicas"), pool.at("replicas"))
    lay_metadata(draft, pool)
    said = [f"{flag}={size}" for key, flag in _PARALLEL.items() if (size := parallelism.whole(key))]
    nodes = _nodes(parallelism)
    said += ["--enable-expert-parallel"] if parallelism.truth("expert") else []
    served = model.text("name")
    called = lay_uri(draft, model.text("uri"), served, model.at("uri"))
    if served not in (None, called):
        said.append(f"--served-model-name={served}")
    lay_server(draft, replace(_server(pool, said, called, model.at("uri")), nodes=nodes))
    if not suffix:
        _lay_speculator(draft, pool.part("speculator"))
    elif obj.part("spec").has("speculator"):
        draft.assume(
            obj.part("spec").at("speculator"), "the pool that prefills drafts nothing: give it spec.engine.speculative if it should"
        )
    for part, instead in ((pool, _INSTEAD), (parallelism, _OF_PARALLELISM), (model, {"lora": _LORA})):
        for key, what in instead.items():
            if part.has(key) and part.at(key) not in part.ledger.taken:
                draft.lost(part.at(key), f"is not carried over: {what}")
    return draft


def _nodes(parallelism: Part) -> int:
    """Over how many nodes a replica's engines are laid, where so many of them are on each."""
    data, local = parallelism.peek("data"), parallelism.peek("dataLocal")
    whole = isinstance(data, int) and isinstance(local, int) and 0 < local <= data and data % local == 0
    return data // (parallelism.whole("dataLocal") or 1) if whole else 1


def _lay_speculator(draft: Draft, speculator: Part) -> None:
    """The drafts' method, model and number; what else its configuration says is left to be named."""
    config, address = speculator.part("config"), speculator.part("model").peek("uri")
    made: dict[str, Any] = {"method": config.text("method"), "numSpeculativeTokens": config.whole("num_speculative_tokens")}
    if isinstance(address, str) and address.startswith("hf://"):
        speculator.part("model").take("uri")
        made["model"] = address.removeprefix("hf://")
    if made["method"] is not None:
        draft.put("spec.engine.speculative", {key: value for key, value in made.items() if value is not None}, speculator.path)


def _server(pool: Part, said: list[str], model: str, model_field: str) -> Server:
    """The container's own command where it has one, else what KServe's starts with what the file adds."""
    pod = pool.part("template")
    rows = pod.entries("containers") or [Part(pod.at("containers") + "[0]", pod.ledger, {})]
    main = next((row for row in rows if row.peek("name") == "main"), rows[0])
    env = main.entries("env")
    added = next((row for row in env if row.peek("name") == _ADDITIONAL), None)
    made = main.with_fields({"env": Found([row for row in env if row is not added], main.at("env")) if env else None})
    whole_pod = pod.with_fields({"containers": Found([made if row is main else row for row in rows], pod.at("containers"))})
    own = next((one for one in servers_of(whole_pod) if one.container is made), None) if made.has("command") else None
    tokens = own.tokens if own is not None else main.words("args")
    more = _words_of(added)
    field = added.path if added is not None and not tokens else main.at("args")
    return Server(
        pod=whole_pod, container=made, tokens=(*tokens, *said, *more), field=field, model=model, model_field=model_field, folders=FOLDERS,
        exports=own.exports if own is not None else (), beside=own.beside if own is not None else (),
        assumed=own.assumed if own is not None else (),
    )  # fmt: skip


def _words_of(added: Part | None) -> tuple[str, ...]:
    """What KServe's script evaluates behind its own arguments."""
    if added is None:
        return ()
    added.take("name")
    written = added.text("value") or ""
    found = list(commands(written, added.path, {}, (), Budget(added.path)))
    return tuple(word for one in found for word in one.words)
