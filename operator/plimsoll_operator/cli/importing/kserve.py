"""KServe's LLMInferenceService, with its prefill pool, and InferenceService whose predictor is vLLM. Translators of `registry`.

Follows KServe's own types (pkg/apis/serving): what its LLMInferenceServiceConfigs and ServingRuntimes add is in the cluster and not in the
file, the image above all, and is assumed.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft, Imported
from plimsoll_operator.cli.importing.read import entries, mapping, text, whole, words
from plimsoll_operator.cli.importing.server import Server, lay_server, servers_of
from plimsoll_operator.cli.importing.stores import lay_store

_GROUP: Final = "serving.kserve.io/"
_RUNTIMES: Final = ("ServingRuntime", "ClusterServingRuntime")
_CONTAINER, _NAMED, _SERVER_IMAGE = "kserve-container", "{{.Name}}", "huggingfaceserver"
_ADDITIONAL: Final = "VLLM_ADDITIONAL_ARGS"
_PARALLEL: Final = {"tensor": "--tensor-parallel-size", "pipeline": "--pipeline-parallel-size", "data": "--data-parallel-size"}
_INSTEAD: Final = {
    "router": "gateway, route and scheduler stay KServe's: point them at the Service that has the deployment's name",
    "baseRefs": "what that configuration adds is not in this file: add it to spec.engine yourself",
    "worker": "write the number of nodes into spec.placement.maxNodesPerReplica; the plan makes the workers",
    "scaling": "scale the InferenceDeployment, which has a scale subresource",
    "workload": "write --kv-transfer-config or --kv-offloading-size into extraArgs",
}


def takes_llm(obj: Manifest) -> bool:
    """Whether it is an LLMInferenceService."""
    return obj.get("kind") == "LLMInferenceService" and str(obj.get("apiVersion", "")).startswith(_GROUP)


def translate_llm(obj: Manifest, _others: Sequence[Manifest], choices: Choices) -> tuple[Imported, ...]:
    """The pool that answers, and the one that prefills where there is one. Raises InvalidInput naming the field."""
    spec = mapping(obj, "spec")
    pools = [("", spec, "spec")] + ([("-prefill", mapping(spec, "prefill"), "spec.prefill")] if spec.get("prefill") else [])
    return tuple(_pool(obj, suffix, pool, path, choices) for suffix, pool, path in pools)


def _pool(obj: Manifest, suffix: str, pool: Manifest, path: str, choices: Choices) -> Imported:
    metadata, model = mapping(obj, "metadata"), mapping(obj, "spec", "model")
    name = (text(metadata.get("name")) or "vllm") + suffix
    draft = Draft(origin=f"LLMInferenceService {name.removesuffix(suffix)}" + (", its prefill" if suffix else ""), choices=choices)
    draft.name(name, text(metadata.get("namespace")), "metadata.name")
    draft.put("spec.replicas", whole(pool.get("replicas")), f"{path}.replicas")
    called = _lay_uri(draft, text(model.get("uri")), text(model.get("name")), "spec.model.uri")
    pod, at = mapping(pool, "template"), f"{path}.template"
    place, container = _main(pod)
    said = [f"{flag}={parallel}" for key, flag in _PARALLEL.items() if (parallel := whole(mapping(pool, "parallelism").get(key)))]
    said += ["--enable-expert-parallel"] if mapping(pool, "parallelism").get("expert") else []
    if text(model.get("name")) not in (None, called):
        said.append(f"--served-model-name={model['name']}")
    lay_server(draft, _server(pod, at, place, container, said, called))
    for key in ("router", "baseRefs", "worker", "scaling", "workload"):
        if pool.get(key) and not (key == "worker" and suffix):
            draft.lost(f"{path}.{key}", f"is not carried over: {_INSTEAD[key]}")
    if model.get("lora"):
        draft.lost("spec.model.lora", "is not carried over: set spec.engine.lora, and name the adapters with --lora-modules in extraArgs")
    return draft.finish()


def _server(pod: Manifest, path: str, place: int, container: Manifest, said: list[str], model: str) -> Server:
    """The container's own command where it has one, else what KServe's starts with what the file adds."""
    at = f"{path}.containers[{place}]"
    rest = [row for _, row in entries(container.get("env")) if row.get("name") != _ADDITIONAL]
    added = next((text(row.get("value")) for _, row in entries(container.get("env")) if row.get("name") == _ADDITIONAL), None)
    try:
        more = shlex.split(added or "")
    except ValueError as error:
        raise InvalidInput(f"{at}.env", None, f"{_ADDITIONAL} is no line that a shell would read: {error}") from error
    made = {**container, "env": rest}
    listed = pod.get("containers")
    containers = [made if row == place else other for row, other in enumerate(listed)] if isinstance(listed, list) and listed else [made]
    whole_pod = {**pod, "containers": containers}
    own = next((one for one in servers_of(whole_pod, path) if one.place == place), None) if container.get("command") else None
    tokens = own.tokens if own is not None else words(container.get("args"))
    field = f"{at}.env" if more and not tokens else f"{at}.args"
    return Server(
        pod=whole_pod, path=path, place=place, tokens=(*tokens, *said, *more), field=field, model=model, model_field="spec.model.uri"
    )


def _main(pod: Manifest) -> tuple[int, Manifest]:
    """The container that KServe calls main, or the first; an empty one where the file leaves it to KServe."""
    rows = entries(pod.get("containers"))
    return next((row for row in rows if row[1].get("name") == "main"), rows[0] if rows else (0, {"name": "main"}))


def _lay_uri(draft: Draft, uri: str | None, name: str | None, field: str) -> str:
    """The model's name; what the address names goes to its source. Raises InvalidInput of a store that no source can name."""
    if uri is not None and "://" in uri:
        return lay_store(draft, uri, name, field)
    if uri or name:
        return uri or name or ""
    raise InvalidInput(field, None, "names no model: write hf:// with the model's hub id")


def takes_predictor(obj: Manifest) -> bool:
    """Whether it is an InferenceService."""
    return obj.get("kind") == "InferenceService" and str(obj.get("apiVersion", "")).startswith(_GROUP)


def translate_predictor(obj: Manifest, others: Sequence[Manifest], choices: Choices) -> tuple[Imported, ...]:
    """A predictor of KServe's Hugging Face runtime, of one in the same file, or containers that run vLLM; nothing of another.

    Raises InvalidInput.
    """
    predictor, metadata = mapping(obj, "spec", "predictor"), mapping(obj, "metadata")
    model, path = mapping(predictor, "model"), "spec.predictor"
    name = text(metadata.get("name")) or "vllm"
    draft = Draft(origin=f"InferenceService {name}", choices=choices)
    draft.name(name, text(metadata.get("namespace")), "metadata.name")
    draft.put("spec.replicas", whole(predictor.get("minReplicas")), f"{path}.minReplicas")
    if model and not _is_vllm(model):
        return ()
    server: Server | None
    if model:
        server = _by_its_runtime(draft, predictor, model, name, others) or _by_the_hugging_face_runtime(draft, predictor, model)
    else:
        server = next(servers_of(predictor, path), None) or _of_the_hugging_face_image(draft, predictor)
    if server is None:
        return ()
    lay_server(draft, server)
    return (draft.finish(),)


def _by_its_runtime(draft: Draft, predictor: Manifest, model: Manifest, name: str, others: Sequence[Manifest]) -> Server | None:
    """With the ServingRuntime that it names, where the same file has it: KServe puts the predictor's arguments behind the runtime's."""
    wanted = text(model.get("runtime"))
    found = next((row for row in others if row.get("kind") in _RUNTIMES and mapping(row, "metadata").get("name") == wanted), None)
    if wanted is None or found is None:
        return None
    runtime = mapping(found, "spec")
    container = next((row for _, row in entries(runtime.get("containers")) if row.get("name") == _CONTAINER), None)
    if container is None:
        return None
    own = {key: value for key, value in model.items() if key in ("image", "resources", "volumeMounts")}
    arguments = [word.replace(_NAMED, name) for word in (*words(container.get("args")), *words(model.get("args")))]
    env = [row for part in (container, model) for _, row in entries(part.get("env"))]
    pod = {key: value for key, value in predictor.items() if key not in ("model", "minReplicas", "maxReplicas")}
    pod["volumes"] = [row for part in (runtime, predictor) for _, row in entries(part.get("volumes"))]
    pod["containers"] = [{**container, **own, "args": arguments, "env": env}]
    server = next(servers_of(pod, "spec.predictor"), None)
    if server is None:
        return None
    at = "spec.predictor.model"
    called = _lay_uri(draft, text(model.get("storageUri")), None, f"{at}.storageUri")
    return replace(server, at=at, field=f"{at}.args", model=called, model_field=f"{at}.storageUri")


def _by_the_hugging_face_runtime(draft: Draft, predictor: Manifest, model: Manifest) -> Server:
    path = "spec.predictor"
    pod = {key: value for key, value in predictor.items() if key not in ("model", "minReplicas", "maxReplicas")}
    called, tokens = _of_the_runtime(draft, model, f"{path}.model")
    pod["containers"] = [{key: value for key, value in model.items() if key in ("image", "env", "resources", "volumeMounts")}]
    at = f"{path}.model"
    return Server(pod=pod, path=path, place=0, at=at, tokens=tokens, field=f"{at}.args", model=called, model_field=f"{at}.args")


def _of_the_hugging_face_image(draft: Draft, predictor: Manifest) -> Server | None:
    """A container of KServe's own server, whose image is no vLLM's: it goes, and what its arguments say stays."""
    path = "spec.predictor"
    for place, container in entries(predictor.get("containers")):
        if _SERVER_IMAGE not in (text(container.get("image")) or "") or container.get("command"):
            continue
        at = f"{path}.containers[{place}]"
        called, tokens = _of_the_runtime(draft, container, at)
        draft.lost(f"{at}.image", f"is not carried over: {container['image']} starts KServe's own server, and the plan starts vllm serve")
        rows = [dict(row) for _, row in entries(predictor.get("containers"))]
        rows[place] = {key: value for key, value in container.items() if key != "image"}
        pod = {**predictor, "containers": rows}
        return Server(pod=pod, path=path, place=place, tokens=tokens, field=f"{at}.args", model=called, model_field=f"{at}.args")
    return None


def _is_vllm(model: Manifest) -> bool:
    kind = str(mapping(model, "modelFormat").get("name", "")).lower()
    return kind in ("huggingface", "vllm") or "vllm" in str(model.get("runtime", "")).lower()


def _of_the_runtime(draft: Draft, model: Manifest, path: str) -> tuple[str, tuple[str, ...]]:
    """The model and vLLM's arguments out of those of KServe's server, which has four of its own."""
    own: dict[str, str] = {}
    rest: list[str] = []
    pending = list(words(model.get("args")))
    while pending:
        flag, equals, value = pending.pop(0).partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if key == "disable_vllm":
            own["backend"] = "huggingface"
        elif key in ("model_id", "model_name", "model_revision", "backend", "model_dir"):
            own[key] = value if equals else (pending.pop(0) if pending else "")
        else:
            rest.append(flag + equals + value)
    if own.get("backend") == "huggingface":
        raise InvalidInput(
            f"{path}.args", None, "asks for --backend=huggingface (or --disable_vllm), which is not vLLM: leave it out to serve by vLLM"
        )
    rest += [f"--served-model-name={own['model_name']}"] if own.get("model_name") else []
    rest += [f"--revision={own['model_revision']}"] if own.get("model_revision") else []
    called = own.get("model_id") or _lay_uri(draft, text(model.get("storageUri")), own.get("model_name"), f"{path}.storageUri")
    return called, tuple(rest)
