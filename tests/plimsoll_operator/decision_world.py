"""Nodes, a Store over files and deployments, for the tests of the decision."""

import json

from plimsoll_operator.api import GPUPool, parse_inference_deployment, parse_object
from plimsoll_operator.capacity import CapacityIndex, corrections_of, pool_manifest
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.refusal.changes import apply_patch
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"


def node(name, product, count, memory, *, host="1500Gi", cpu="190", disk="1000Gi", labels=None, taints=()):
    own = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": str(count), "nvidia.com/gpu.memory": str(memory)}
    return {
        "metadata": {"name": name, "labels": own | (labels or {})},
        "spec": {"taints": list(taints)},
        "status": {
            "allocatable": {"cpu": cpu, "memory": host, "ephemeral-storage": disk, "nvidia.com/gpu": str(count)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


H100 = node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559)
L4 = node("l4", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47")
T4 = node("t4", "Tesla-T4", 1, 15360, host="30Gi", cpu="7500m")


class Files:
    """A Store over nodes and profiles, as the command line has it."""

    def __init__(self, *nodes, corrections=(), profiles=(), policies=(), calibrations=(), keys=(), lws=False, held=None, protected=False):
        index = CapacityIndex(keys, corrections=corrections_of([parse_object(GPUPool, pool) for pool in corrections]))
        for item in nodes:
            index.node_event("ADDED", item)
        self.pools = [parse_object(GPUPool, pool_manifest(pool)) for pool in index.pools()]
        self.profiles, self.policies, self.learned = profiles, policies, calibrations
        self.held, self.protected, self.lws = held or {}, protected, lws

    def model_profile(self, namespace, name):
        return next((p for p in self.profiles if (p.metadata.namespace, p.metadata.name) == (namespace, name)), None)

    def cluster_model_profile(self, name):
        return self.model_profile("", name)

    def model_profiles(self, namespace, model):
        return [p for p in self.profiles if p.metadata.namespace == namespace and p.spec.model == model]

    def cluster_model_profiles(self, model):
        return self.model_profiles("", model)

    def gpu_pools(self):
        return self.pools

    def fit_policies(self):
        return self.policies

    def calibrations(self):
        return self.learned

    def namespace_labels(self, namespace):
        return {"kubernetes.io/metadata.name": namespace}

    def uses(self, namespace):
        return self.held

    def serves_leader_worker_sets(self):
        return self.lws

    def bypass_is_protected(self):
        return self.protected


def manifest(model=LLAMA_8B, *, version="0.19.0", engine=None, **spec):
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceDeployment",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {"model": {"name": model}, "engine": {"image": f"vllm/vllm-openai:v{version}", **(engine or {})}, **spec},
    }


def deployment(*args, **kwargs):
    return parse_inference_deployment(manifest(*args, **kwargs))


def verdict(*args, store=None, **kwargs):
    return decide(facts_for(deployment(*args, **kwargs), store or Files(H100, L4, T4), applied_plan=None))


def offered(offer, *args, store=None, **kwargs):
    """The verdict on the deployment with an offer's patch applied, by way of its manifest as kubectl would."""
    patched = apply_patch(manifest(*args, **kwargs), json.loads(offer.patch_json))
    return decide(facts_for(parse_inference_deployment(patched), store or Files(H100, L4, T4), applied_plan=None))
