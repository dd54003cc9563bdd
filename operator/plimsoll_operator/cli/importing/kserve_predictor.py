"""KServe's InferenceService whose predictor is vLLM: of its Hugging Face runtime, of a runtime in the same file, or a container of its own.

Follows KServe's own types (pkg/apis/serving/v1beta1). What a ServingRuntime of the cluster adds is not in the file, the image above all,
and is assumed. A translator of `registry`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft
from plimsoll_operator.cli.importing.hugging_face import ITS_IMAGE, hugging_face_server, is_its_image, read_arguments
from plimsoll_operator.cli.importing.image import NO_IMAGE
from plimsoll_operator.cli.importing.kserve import FOLDERS, GROUP
from plimsoll_operator.cli.importing.pod import lay_metadata
from plimsoll_operator.cli.importing.read import Found, Others, Part
from plimsoll_operator.cli.importing.same import take_what_says_nothing
from plimsoll_operator.cli.importing.server import Server, lay_server, servers_of
from plimsoll_operator.cli.importing.stores import lay_uri

_RUNTIMES: Final = ("ServingRuntime", "ClusterServingRuntime")
_CONTAINER: Final = "kserve-container"
_NAMED: Final = "{{.Name}}"
_NOT_OF_THE_POD: Final = ("model", "minReplicas", "maxReplicas", "annotations", "labels")
_OF_THE_RUNTIME: Final = ("multiModel", "supportedModelFormats", "protocolVersions", "annotations", "labels")
_INSTEAD: Final = {
    "maxReplicas": "scale the InferenceDeployment, which has a scale subresource",
    "scaleMetric": "scale the InferenceDeployment, which has a scale subresource",
    "scaleTarget": "scale the InferenceDeployment, which has a scale subresource",
    "workerSpec": "pin spec.engine.tensorParallelSize and pipelineParallelSize, and say maxNodesPerReplica in spec.placement",
}
_BESIDE: Final = {
    "transformer": "it is no engine: keep it, and point it at the Service that has the deployment's name",
    "explainer": "it is no engine: keep it, and point it at the Service that has the deployment's name",
}


def takes(obj: Manifest) -> bool:
    """Whether it is an InferenceService."""
    return obj.get("kind") == "InferenceService" and str(obj.get("apiVersion", "")).startswith(GROUP)


def translate(obj: Part, others: Others, choices: Choices) -> tuple[Draft, ...]:
    """A predictor of KServe's Hugging Face runtime, of one in the same file, or containers that run vLLM; nothing of another.

    Raises InvalidInput.
    """
    take_what_says_nothing(obj)
    predictor, metadata = obj.part("spec", "predictor"), obj.part("metadata")
    model = predictor.part("model")
    name = metadata.text("name") or "vllm"
    draft = Draft(origin=f"InferenceService {name}", ledger=obj.ledger, choices=choices)
    draft.name(name, metadata.text("namespace"), metadata.at("name"))
    if model.fields and not _is_vllm(model):
        return ()
    server: Server | None
    if model.fields:
        there = others.find(_RUNTIMES, model.peek("runtime")) is not None
        server = _by_its_runtime(draft, predictor, model, name, others)
        server = server or _by_the_hugging_face_runtime(draft, predictor, model, in_the_file=there)
    else:
        pod = predictor.with_fields(dict.fromkeys(_NOT_OF_THE_POD))
        server = next(servers_of(pod), None) or hugging_face_server(draft, pod)
    if server is None:
        return ()
    least = predictor.whole("minReplicas")
    draft.put("spec.replicas", least, predictor.at("minReplicas"))
    if predictor.peek("maxReplicas") == (1 if least is None else least):
        predictor.take("maxReplicas")
    lay_metadata(draft, predictor)
    lay_server(draft, server)
    for part, instead in ((predictor, _INSTEAD), (obj.part("spec"), _BESIDE)):
        for key, what in instead.items():
            if part.has(key) and part.at(key) not in draft.ledger.taken:
                draft.lost(part.at(key), f"is not carried over: {what}")
    return (draft,)


def _by_its_runtime(draft: Draft, predictor: Part, model: Part, name: str, others: Others) -> Server | None:
    """With the ServingRuntime that it names, where the same file has it: KServe puts the predictor's arguments behind the runtime's."""
    wanted = model.peek("runtime")
    found = others.find(_RUNTIMES, wanted)
    if wanted is None or found is None:
        return None
    beside = draft.ledger.open_beside(found)
    runtime = beside.part("spec")
    rows = runtime.entries("containers")
    main = next((row for row in rows if row.peek("name") == _CONTAINER), None)
    if main is None:
        del draft.ledger.opened[beside.path]
        return None
    arguments = [word.replace(_NAMED, name) for word in (*main.words("args"), *model.words("args"))]
    env = [row for part in (main, model) for row in part.entries("env")]
    own = {key: model.fields[key] for key in ("image", "resources", "volumeMounts", *_POD_LIFE) if model.has(key)}
    at = model.path
    container = main.with_fields({**own, "args": Found(arguments, model.at("args")), "env": Found(env, model.at("env"))})
    pod = _pod(predictor, runtime, [container, *(row for row in rows if row is not main)])
    server = next((one for one in servers_of(pod) if one.container is container), None)
    if server is None:
        del draft.ledger.opened[beside.path]
        return None
    model.take("runtime")
    take_what_says_nothing(beside)
    for key in ("name", "namespace"):
        beside.part("metadata").take(key)
    if runtime.peek("multiModel") is False:
        runtime.take("multiModel")
    runtime.words("protocolVersions")
    for row in runtime.entries("supportedModelFormats"):
        for key in ("name", "version", "autoSelect", "priority"):
            row.take(key)
    lay_metadata(draft, runtime)
    _take_format(model)
    called = lay_uri(draft, model.text("storageUri"), None, model.at("storageUri"))
    return replace(server, field=f"{at}.args", model=called, model_field=model.at("storageUri"), folders=FOLDERS)


_POD_LIFE: Final = ("livenessProbe", "readinessProbe", "startupProbe", "securityContext", "imagePullPolicy", "ports", "lifecycle")


def _pod(predictor: Part, runtime: Part, containers: list[Part]) -> Part:
    """The runtime's pod with what the predictor says over it; lists of both are put together, as KServe does."""
    fields: dict[str, Found | None] = dict(runtime.with_fields(dict.fromkeys(_OF_THE_RUNTIME)).fields)
    fields |= predictor.with_fields(dict.fromkeys(_NOT_OF_THE_POD)).fields
    for key in ("volumes", "tolerations", "imagePullSecrets"):
        rows = [row for part in (runtime, predictor) for row in part.entries(key)]
        fields[key] = Found(rows, predictor.at(key)) if rows else None
    both = {**runtime.part("nodeSelector").fields, **predictor.part("nodeSelector").fields}
    fields["nodeSelector"] = (
        Found(Part(predictor.at("nodeSelector"), predictor.ledger, both), predictor.at("nodeSelector")) if both else None
    )
    fields["containers"] = Found(containers, predictor.at("containers"))
    return Part(predictor.path, predictor.ledger, {key: found for key, found in fields.items() if found is not None})


def _take_format(model: Part) -> None:
    """What says that it is vLLM."""
    model.part("modelFormat").take("name")
    model.take("name")


def _by_the_hugging_face_runtime(draft: Draft, predictor: Part, model: Part, *, in_the_file: bool) -> Server:
    called, tokens = read_arguments(draft, model, model.words("args"))
    _take_format(model)
    kept = model.with_fields(dict.fromkeys(("args", "modelFormat", "runtime", "storageUri", "name")))
    missing = NO_IMAGE
    if is_its_image(model.peek("image")):
        missing, kept = ITS_IMAGE, kept.with_fields({"image": None})
        draft.lost(
            model.at("image"), f"is not carried over: {model.peek('image')} starts KServe's own server, and the plan starts vllm serve"
        )
    pod = predictor.with_fields({**dict.fromkeys(_NOT_OF_THE_POD), "containers": Found([kept], predictor.at("containers"))})
    if model.has("runtime"):
        why = "runs no vllm serve by itself" if in_the_file else f"is not in the file: read it together with its {_RUNTIMES[0]}"
        draft.lost(model.at("runtime"), f"its image and its arguments are not carried over, as it {why}")
    field = model.at("args")
    return Server(
        pod=pod, container=kept, tokens=tokens, field=field, model=called, model_field=field, folders=FOLDERS, missing=missing
    )  # fmt: skip


def _is_vllm(model: Part) -> bool:
    kind = str(model.part("modelFormat").peek("name") or "").lower()
    return kind in ("huggingface", "vllm") or "vllm" in str(model.peek("runtime") or "").lower()
