"""Names that more than one part writes or reads on objects of the cluster, each spelled here alone: a test looks for a second spelling.

Our API's group, our labels and annotations, the GPU resources and node labels of NVIDIA's plug-ins, and how a commit looks. What only
one part knows stays with it. Only text; knows nothing.
"""

from __future__ import annotations

import re
from typing import Final

# The API
GROUP: Final = "inference.plimsoll.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "inference.plimsoll.dev/v1alpha1"

# Labels of what Plimsoll makes
NAME_LABEL: Final = "inference.plimsoll.dev/name"
"""On an engine's pods and whatever runs them: the InferenceDeployment they are of."""
WORKER_LABEL: Final = "inference.plimsoll.dev/worker-of"
READER_LABEL: Final = "inference.plimsoll.dev/reader"
"""On every reader pod, with the reading's key as its value. Engine pods carry another one (NAME_LABEL)."""
APP_NAME_LABEL: Final = "app.kubernetes.io/name"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
MANAGED_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_VALUE: Final = "plimsoll"
"""On what the controller has made: whoever takes it off keeps the object."""
MANAGED_SELECTOR: Final = "app.kubernetes.io/managed-by=plimsoll"

# Annotations of a child, and of a pod's template the digest
PLAN_ANNOTATION: Final = "inference.plimsoll.dev/plan"
PLAN_DIGEST_ANNOTATION: Final = "inference.plimsoll.dev/plan-digest"
GENERATION_ANNOTATION: Final = "inference.plimsoll.dev/generation"
SPEC_DIGEST_ANNOTATION: Final = "inference.plimsoll.dev/spec-digest"
TEMPLATE_DIGEST_ANNOTATION: Final = "inference.plimsoll.dev/template-digest"
DECIDED_ANNOTATION: Final = "inference.plimsoll.dev/decided-at"

# Annotations of an InferenceDeployment
REPLAN_ANNOTATION: Final = "inference.plimsoll.dev/replan"
BYPASS_ANNOTATION: Final = "inference.plimsoll.dev/bypass"

# Annotations of profiles, pools and the webhook's Secret
NOTES_ANNOTATION: Final = "inference.plimsoll.dev/notes"
"""On a profile: what could not be known when it was read, for people."""
UNUSED_ANNOTATION: Final = "inference.plimsoll.dev/unused-since"
INDEXED_ANNOTATION: Final = "inference.plimsoll.dev/indexed-label-keys"
RESOURCE_ANNOTATION: Final = "inference.plimsoll.dev/resource"
SINCE_ANNOTATION: Final = "inference.plimsoll.dev/serving-since"
"""On the webhook's Secret: since when its certificate is served."""

CAPACITY_GATE: Final = "inference.plimsoll.dev/capacity"
"""The scheduling gate of pods whose GPUs are not booked yet."""

# Resources and node labels of GPUs: NVIDIA's device plug-in and feature discovery, AMD's device plug-in, and GKE
GPU_RESOURCE: Final = "nvidia.com/gpu"
"""What pods ask for, and the taint of GPU nodes, where nothing else is said."""
SHARED_RESOURCE: Final = "nvidia.com/gpu.shared"
MIG_RESOURCE_PREFIX: Final = "nvidia.com/mig-"
AMD_RESOURCE: Final = "amd.com/gpu"
PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
COUNT_LABEL: Final = "nvidia.com/gpu.count"
SHARING_LABEL: Final = "nvidia.com/gpu.sharing-strategy"
GKE_LABEL: Final = "cloud.google.com/gke-accelerator"
GKE_PARTITION_LABEL: Final = "cloud.google.com/gke-gpu-partition-size"
GKE_SHARING_LABEL: Final = "cloud.google.com/gke-gpu-sharing-strategy"

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
"""A commit of a model's repository; any other revision is a branch or a tag, which may move."""
SERVICE_ACCOUNT_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where the kubelet mounts a pod's account."""
