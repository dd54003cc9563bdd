"""Reading single node labels within bounds: anyone may have written them, so every value is parsed once and never guessed at.

Called by the label readers `nvidia`, `amd` and `clouds`, and by those who keep of a node only what is read. Knows no pools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from plimsoll_operator.capacity.problems import Finding, Problem
from plimsoll_operator.names import AMD_RESOURCE, GKE_LABEL, GPU_RESOURCE

GPU_RESOURCE_PREFIXES: Final = ("nvidia.com/", "amd.com/", "gpu.intel.com/", "habana.ai/")
# What the readers look at: two nodes that agree in these have the same groups.
READ_PREFIXES: Final = (
    GPU_RESOURCE, "nvidia.com/mig", AMD_RESOURCE, "beta.amd.com/gpu", "gpu.intel.com/", "habana.ai/",
    GKE_LABEL, "cloud.google.com/gke-gpu", "cloud.google.com/gke-max-shared-clients-per-gpu",
    "karpenter.k8s.aws/instance-gpu-", "eks.amazonaws.com/instance-gpu-", "karpenter.azure.com/sku-gpu-",
    "kubernetes.azure.com/accelerator", "accelerator", "gpu.nvidia.com/", "gpu.coreweave.cloud/", "aliyun.accelerator/nvidia_",
    "node.kubernetes.io/instance-type", "node.coreweave.cloud/cpu", "node.coreweave.cloud/type",
)  # fmt: skip
PRODUCT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# A profile's +me and +gfx become .me and .gfx in a resource's name; -me is a profile of its own.
MIG_PROFILE: Final = re.compile(r"(?:\d{1,2}c\.)?\d{1,2}g\.\d{1,4}gb(?:[.-][a-z.]{1,16})?")
COMPUTE_INSTANCE: Final = re.compile(r"(?:^|-)\d{1,2}c\.\d{1,2}g\.")
"""Of profiles and resources: a part of a slice's processors, beside which other parts use the slice's memory."""
MIG_PRODUCT: Final = re.compile(rf"-MIG-{MIG_PROFILE.pattern}$")
_WHOLE: Final = re.compile(r"\d{1,15}")


def whole_number(labels: Mapping[str, str], key: str, findings: list[Finding]) -> int | None:
    """The label as a non-negative int; None when absent, and BadLabel when it is anything else."""
    text = labels.get(key)
    if text is None:
        return None
    if not _WHOLE.fullmatch(text):
        findings.append(Finding(problem=Problem.BAD_LABEL, detail=f"{key} is no whole number"))
        return None
    return int(text)


def excluding(findings: list[Finding]) -> bool:
    """Whether what was found so far keeps the GPUs out of every plan."""
    return any(finding.problem.excludes for finding in findings)
