"""What is sent: one random object or change per number, the same for the same seed and number.

Called by the actors in `tenants` and by whoever wants to see one again (`python -m tests.fuzz show SEED NUMBER`). Returns bodies of
requests; refuses to know the API server.
"""

import copy
import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tests.fuzz.configs import config, model_name
from tests.fuzz.schemas import GROUP, Hint, draw, matching, spec_of, text, whole
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import KINDS, ApiError, parse_object

Json = Any
API = f"{GROUP}/v1alpha1"
TRIES = 12
FINALIZER = "made.up/finalizer"
KIND_OF = {
    "inferencedeployments": "InferenceDeployment",
    "modelprofiles": "ModelProfile",
    "clustermodelprofiles": "ClusterModelProfile",
    "gpupools": "GPUPool",
    "fitpolicies": "FitPolicy",
    "enginecalibrations": "EngineCalibration",
}
OURS = (
    "plan",
    "plan-digest",
    "generation",
    "spec-digest",
    "template-digest",
    "replan",
    "decided-at",
    "bypass",
    "fake-ready-after",
    "unknown",
)
VERSIONS = ("0.19.0", "0.25.1", "0.33.0", "0.11.0", "0.9.2", "0.8.5", "0.34.0", "0.40.0", "0.7.3", "9999.9999.9999.9999", "0.0")
PRODUCTS = ("NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-40GB", "NVIDIA-L4", "NVIDIA-A10G", "Tesla-T4", "NVIDIA-A100-SXM4-80GB", "ACME-X1")
ARGUMENTS = (
    "--enable-prefix-caching",
    "--max-model-len=4096",
    "--no-such-flag",
    "--cpu-offload-gb",
    "4",
    "--kv-cache-dtype=fp8",
    "--block-size=16",
    "--max-num-seqs=1",
    "--enforce-eager",
    "--hf-overrides={}",
    '--hf-overrides={"num_hidden_layers":2048}',
    "--speculative-config={}",
    "--",
    "-tp=2",
    "--tensor-parallel-size",
    "2",
    "--trust-remote-code",
    '--compilation-config={"level":3}',
    '--limit-mm-per-prompt={"image":9}',
    "--gpu-memory-utilization=1e309",
    "--swap-space=nan",
    "--max-model-len=1k",
    "--max-model-len=" + "9" * 400,
    "--quantization=fp8",
    "",
)


def rng_for(seed: int, number: int) -> random.Random:
    """Return the source of everything that this number's object is made of."""
    return random.Random(f"{seed}/{number}")


def _image(rng: random.Random) -> str:
    version = rng.choice(VERSIONS) if rng.random() < 0.5 else "0.19.0"
    return f"{rng.choice(('vllm/vllm-openai', 'registry.example.com:5000/a/b'))}:{rng.choice(('v', ''))}{version}" + (
        "@sha256:" + "0" * 64 if rng.random() < 0.1 else ""
    )


def _extra(rng: random.Random) -> list[str]:
    return [rng.choice(ARGUMENTS) if rng.random() < 0.8 else text(rng, 512, shortest=1) for _ in range(rng.choice((1, 2, 3, 64)))]


def _often(*values: Json) -> Hint:
    return lambda rng: copy.deepcopy(rng.choice(values))


SIZES = _often(1, 1, 2, 2, 3, 4, 8, 64)
_DEPLOYMENT: Mapping[str, Hint] = {
    "model.name": model_name,
    "model.profile.inline": config,
    "model.profile.name": lambda rng: f"profile-{rng.randint(0, 20)}",
    "model.profile.configMapRef.name": lambda rng: f"config-{rng.randint(0, 10)}",
    "model.source.persistentVolumeClaim.claimName": _often("weights", "weights", "no-such-claim"),
    "model.source.huggingFace.tokenSecretRef.name": _often("token", "no-such-secret"),
    "model.source.persistentVolumeClaim.path": lambda rng: rng.choice((".", "a/b", "$(HOME)", "a\u2028b", "...", "a//b", " ", "é" * 500)),
    "engine.image": _image,
    "engine.version": _often(*VERSIONS[:8]),
    "engine.tensorParallelSize": SIZES,
    "engine.pipelineParallelSize": SIZES,
    "engine.dataParallelSize": SIZES,
    "engine.decodeContextParallelSize": _often(1, 1, 2, 4, 64),
    "engine.maxModelLen": _often(1, 16, 4096, 8192, 131072, 10_000_000, 1 << 31),
    "engine.quantization": _often("fp8", "awq", "gptq", "bitsandbytes", "none", "_", "-"),
    "engine.extraArgs": _extra,
    "engine.speculative.method": _often("ngram", "mtp", "eagle3", "draft_model", "\u2028", "medusa"),
    "engine.speculative.model": model_name,
    "placement.gpuProducts": lambda rng: rng.sample(PRODUCTS, rng.choice((1, 1, 2, 7))),
    "placement.nodeSelector": lambda rng: _selector(rng),
    "placement.maxNodesPerReplica": _often(1, 1, 1, 2, 64),
    "replicas": _often(0, 1, 1, 2, 3, 5, 40, 10_000),
}
_PROFILE: Mapping[str, Hint] = {
    "model": model_name,
    "config": config,
    "origin.configMapRef.name": lambda rng: f"config-{rng.randint(0, 10)}",
}
HINTS: Mapping[str, Mapping[str, Hint]] = {
    "inferencedeployments": _DEPLOYMENT,
    "modelprofiles": _PROFILE,
    "clustermodelprofiles": _PROFILE,
    "gpupools": {"product": _often(*PRODUCTS[4:]), "selector": lambda rng: _selector(rng)},
    "fitpolicies": {"maxGpusPerNamespace": _often(0, 4, 64, 1_000_000)},
    "enginecalibrations": {},
}


def _selector(rng: random.Random) -> dict[str, str]:
    known = (
        ("kubernetes.io/hostname", f"fuzz-{rng.randint(0, 80)}"),
        ("nvidia.com/gpu.family", "ampere"),
        ("fuzz", "true"),
        ("zone", "a"),
        ("topology.kubernetes.io/zone", rng.choice("abc")),
        ("kubernetes.io/arch", "amd64"),
    )
    if rng.random() < 0.2:
        return {f"made.up/{rng.randint(0, 10**6)}": "x" for _ in range(15)}
    return dict(rng.sample(known, rng.choice((1, 1, 2, 4))))


def spec(rng: random.Random, plural: str) -> Json:
    """Return a spec that the kind's own door takes, where some tries find one; one in twenty is sent as first drawn."""
    schema, drawn = spec_of(plural), None
    for _ in range(TRIES):
        density = rng.choice((0.03, 0.1, 0.1, 0.3, 0.8) if plural == "inferencedeployments" else (0.2, 0.4, 0.6, 0.9))
        drawn = draw(rng, schema, hints=HINTS[plural], density=density)
        if plural == "inferencedeployments":
            drawn = _sober(rng, drawn)
        if rng.random() < 0.05 or is_taken(plural, drawn):
            break
    return drawn


def _sober(rng: random.Random, drawn: Json) -> Json:
    """Take most parts of a wish away again: what is odd everywhere is refused before the arithmetic."""
    for name in ("template", "placement", "fit", "workload"):
        if rng.random() < 0.5:
            drawn.pop(name, None)
    if rng.random() < 0.6:
        drawn["model"].pop("source", None)
    if rng.random() < 0.3:
        drawn["model"]["profile"] = {"inline": config(rng)}
    return drawn


def is_taken(plural: str, drawn: Json) -> bool:
    """Whether the door takes it; texts that only it looks into are sent whatever it says of them."""
    name = KIND_OF[plural]
    try:
        parse_object(KINDS[name], {"apiVersion": API, "kind": name, "metadata": {"name": "a", "namespace": "a"}, "spec": drawn})
    except ApiError as error:
        return all(cause.field.endswith((".inline", ".config", ".extraArgs")) for cause in error.causes)
    return True


def annotations(rng: random.Random) -> dict[str, str]:
    """Return annotations of ours with values of anybody's."""
    rows = {f"{GROUP}/{rng.choice(OURS)}": annotation_value(rng) for _ in range(rng.choice((1, 1, 2, 5)))}
    return rows | ({f"{GROUP}/plan": forged_plan(rng)} if rng.random() < 0.6 else {})


def annotation_value(rng: random.Random) -> str:
    """Return one value of an annotation: numbers that no number type takes, and text that no line takes."""
    numbers = ("0", "1", "-1", "9" * 4301, "9" * 200_000, "1e9", "٣", "²", " 1", "0x10", "true", "", "2026-11-25T12:00:00Z", "9999")
    return rng.choice(numbers) if rng.random() < 0.6 else text(rng, rng.choice((10, 300, 20_000)))


_PLAN_VALUES: tuple[Json, ...] = (
    None,
    0,
    -1,
    1,
    65,
    1 << 31,
    1 << 63,
    10**30,
    1e308,
    True,
    "",
    "x",
    "0",
    "NaN",
    [],
    {},
    [None],
    [[]],
    ["x"] * 65,
    [["a", "b"]] * 65,
    "\ud800",
    "\u2028",
    "x" * 5000,
    "@deep:60",
    "@deep:990",
    "@deep:20000",
    "@digits",
    "@inf",
)


def forged_plan(rng: random.Random) -> str:
    """Return a plan annotation with one to three edits."""
    if rng.random() < 0.1:
        return rng.choice(("", "null", "[]", "{}", "{", "0", "[" * 100_000, '{"a":' * 30_000, "9" * 4301, '"' + "\u2028" * 100 + '"'))
    plan = json.loads(json.dumps(asdict(PLAN)))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        place = plan["predicted"] if rng.random() < 0.2 and isinstance(plan.get("predicted"), dict) else plan
        key = rng.choice([*sorted(place), "unheard_of"])
        if rng.random() < 0.1:
            place.pop(key, None)
        else:
            place[key] = rng.choice(_PLAN_VALUES)
    written = json.dumps(plan, sort_keys=True, separators=(",", ":"))
    for depth in (60, 990, 20_000):
        written = written.replace(f'"@deep:{depth}"', "[" * depth + "]" * depth)
    return written.replace('"@digits"', "9" * 4301).replace('"@inf"', "1e999")


def owners(rng: random.Random, uids: Mapping[str, str]) -> list[Json]:
    """Return owner references to the objects named, to others' and to none."""
    rows: list[Json] = []
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        name, uid = rng.choice([*uids.items(), ("nobody", "00000000-0000-0000-0000-000000000000"), ("a" * 253, "\u2028")])
        kind = rng.choice(("InferenceDeployment", "InferenceDeployment", "InferenceDeployment", "ReplicaSet", "LeaderWorkerSet"))
        version = rng.choice((API, API, f"{GROUP}/v9", "apps/v1", "v1"))
        rows.append({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": not rows and rng.random() < 0.8})
    return rows


def labels(rng: random.Random, names: list[str]) -> dict[str, str]:
    """Return labels as the controller would write them, for a name of the list or any."""
    name = rng.choice(names) if names and rng.random() < 0.8 else matching(rng, "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", 63)
    rows = {"app.kubernetes.io/managed-by": "plimsoll", f"{GROUP}/name": name, f"{GROUP}/reader": "x", f"{GROUP}/worker-of": name}
    rows |= {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": name}
    return {key: value for key, value in rows.items() if rng.random() < (0.4 if key.endswith(("reader", "worker-of")) else 0.85)}


def pod_spec(rng: random.Random, *, nodes: list[str]) -> Json:
    """Return a pod that holds GPUs, some of them at once on a node."""
    gpus = rng.choice(("0", "1", "1", "2", "8", "1000", "9223372036854775", "1Pi"))
    resource = rng.choice(("nvidia.com/gpu", "nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"))
    limits = {resource: gpus, "memory": rng.choice(("1Gi", "1Ei", "0", "1m")), "cpu": rng.choice(("1", "1m", "9223372036854775"))}
    container = {
        "name": rng.choice(("vllm", "x")),
        "image": "busy",
        "args": [text(rng, 40) for _ in range(2)],
        "resources": {"limits": limits},
    }
    row: Json = {"containers": [container], "terminationGracePeriodSeconds": rng.choice((0, 1, 30))}
    if rng.random() < 0.45:
        row["nodeName"] = rng.choice(nodes)
    elif rng.random() < 0.5:
        row["schedulingGates"] = [{"name": rng.choice((f"{GROUP}/capacity", "made.up/gate"))}]
    if rng.random() < 0.3:
        row["nodeSelector"] = _selector(rng)
    return row


def workload(rng: random.Random, name: str, uids: Mapping[str, str], nodes: list[str]) -> Json:
    """Return a Deployment by hand in the controller's clothes."""
    selector = {f"{GROUP}/name": name}
    template = {"metadata": {"labels": labels(rng, [name]) | selector, "annotations": annotations(rng)}, "spec": pod_spec(rng, nodes=nodes)}
    template["spec"]["terminationGracePeriodSeconds"] = 0
    template["spec"].pop("nodeName", None)  # the ReplicaSet would make pods without end where the node refuses them
    metadata = {"name": name, "labels": labels(rng, [name, *uids]), "annotations": annotations(rng), "ownerReferences": owners(rng, uids)}
    replicas = rng.choice((0, 0, 1, 2, 500, 2**31 - 1))
    return {
        "metadata": metadata,
        "spec": {"replicas": replicas, "selector": {"matchLabels": selector}, "template": template, "paused": rng.random() < 0.3},
    }


def pod(rng: random.Random, name: str, uids: Mapping[str, str], nodes: list[str]) -> Json:
    """Return a pod by hand that says it is of a deployment."""
    metadata = {"name": name, "labels": labels(rng, list(uids)), "annotations": annotations(rng), "ownerReferences": owners(rng, uids)}
    return {"metadata": metadata, "spec": pod_spec(rng, nodes=nodes)}


def service(rng: random.Random, name: str, uids: Mapping[str, str]) -> Json:
    """Return a Service whose name a deployment may want."""
    metadata = {"name": name, "labels": labels(rng, [name, *uids]), "annotations": annotations(rng), "ownerReferences": owners(rng, uids)}
    return {"metadata": metadata, "spec": {"ports": [{"port": whole(rng, 1, 65535)}], "selector": labels(rng, [name])}}


def config_map(rng: random.Random) -> Json:
    """Return a ConfigMap with a config.json, sometimes more than anybody asked for."""
    value = config(rng) if rng.random() < 0.8 else "x" * rng.choice((0, 1, 65536, 65537, 900_000))
    return {"data": {rng.choice(("config.json", "config.json", "other")): value}}


def metadata_change(rng: random.Random, names: list[str]) -> Json:
    """Return a merge patch of an object's metadata: annotations and labels of ours edited, removed or swapped."""
    change: Json = {}
    if rng.random() < 0.7:
        gone = {f"{GROUP}/{rng.choice(OURS)}": None} if rng.random() < 0.3 else {}
        change["annotations"] = annotations(rng) | gone
    if rng.random() < 0.4:
        given: Json = labels(rng, names)
        change["labels"] = given | ({rng.choice(("app.kubernetes.io/managed-by", f"{GROUP}/name")): None} if rng.random() < 0.5 else {})
    if rng.random() < 0.05:
        change["finalizers"] = [FINALIZER]
    return {"metadata": change}


def node_labels(rng: random.Random) -> dict[str, str | None]:
    """Return labels of a node as feature discovery would write them on a day when nothing is right."""
    numbers = ("0", "-1", "9" * 63, "1e9", "1.5", "", "none", "81559", "40960")
    keys = (
        "nvidia.com/gpu.memory",
        "nvidia.com/gpu.count",
        "nvidia.com/gpu.replicas",
        "nvidia.com/gpu.compute.major",
        "nvidia.com/cuda.driver-version.major",
        "nvidia.com/gpu.sharing-strategy",
        "nvidia.com/mig.strategy",
        "nvidia.com/gpu.product",
        "topology.kubernetes.io/zone",
        "zone",
    )
    values: tuple[str | None, ...] = (
        *numbers,
        "mps",
        "time-slicing",
        "mixed",
        "a",
        "b",
        "Tesla-T4",
        "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
        None,
    )
    return {rng.choice(keys): rng.choice(values) for _ in range(rng.choice((1, 1, 3)))}
