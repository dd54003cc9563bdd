"""The reasons of verdicts. Read by the decision, which gives them, and by all who show them."""

from __future__ import annotations

from plimsoll_operator.reasons.explained import Explained


class Reason(Explained):
    """Every reason that a verdict may carry, and so a condition, event or metric label."""

    FITS = ("Fits", "The deployment starts as it is written and serves its workload.", "Nothing to do.")
    RESIZED = (
        "Resized",
        "A pinned value was moved so that it starts; only fields in spec.fit.mayChange move.",
        "Read status.plan for the new values.",
    )
    # Rejections
    INSUFFICIENT_GPU_MEMORY = (
        "InsufficientGpuMemory",
        "Weights, activation peak and overheads of one rank exceed gpu-memory-utilization x the GPU's CUDA-visible memory.",
        "Raise tensorParallelSize, use a quantised checkpoint, or a larger GPU.",
    )
    INSUFFICIENT_KV_CACHE = (
        "InsufficientKvCache",
        "The engine loads, but what is left for the KV cache does not hold one request of maxModelLen tokens (or the stated workload).",
        "Lower maxModelLen or maxNumSeqs, use an fp8 KV cache, raise tensorParallelSize, or a larger GPU.",
    )
    INSUFFICIENT_GPUS_PER_NODE = (
        "InsufficientGpusPerNode",
        "No node has as many GPUs as one replica's ranks.",
        "Lower tensorParallelSize or allow more nodes a replica.",
    )
    WORKLOAD_NOT_SERVED = (
        "WorkloadNotServed",
        "A value pinned in spec.engine is less than what the requests of spec.workload need.",
        "Raise or remove the pinned value, or correct the request classes.",
    )
    ENGINE_REFUSES = (
        "EngineRefuses",
        "vLLM itself would stop at a check of its arguments.",
        "The message says which check; `plimsoll estimate` reproduces it.",
    )
    NO_MATCHING_POOL = ("NoMatchingPool", "Placement names no pool that exists.", "Compare spec.placement with `plimsoll capacity`.")
    HOST_MEMORY = (
        "HostMemory",
        "No node has the host memory that loading needs.",
        "`plimsoll estimate` prints the need; use larger nodes or fewer ranks a node.",
    )
    HOST_CPU = ("HostCpu", "No node has the CPU that the pod asks for.", "Lower the request in spec.template or use larger nodes.")
    EPHEMERAL_STORAGE = (
        "EphemeralStorage",
        "No node has the disk for what the pod writes: downloaded weights, caches, size limits of scratch volumes.",
        "Load weights from a volume (spec.model.source.persistentVolumeClaim), or set HF_HOME to a claim of spec.template.volumes.",
    )
    SHARING_UNSAFE = (
        "SharingUnsafe",
        "On time-sliced GPUs nothing keeps replicas apart: two could land on one card and exceed it.",
        "Lower gpuMemoryUtilization to the share of one replica, use MIG, or exclusive GPUs.",
    )
    LEADER_WORKER_SET_MISSING = (
        "LeaderWorkerSetMissing",
        "It fits several nodes a replica, and nothing in this cluster makes such replicas.",
        "Install LeaderWorkerSet (lws.sigs.k8s.io); files of nodes say nothing of it: `plimsoll plan --leader-worker-set`.",
    )
    POLICY_CAP = (
        "PolicyCap",
        "The namespace's FitPolicy caps GPUs or predicted memory, or does not list what the message names (an account, a field to move).",
        "Ask the administrator, or lower replicas.",
    )
    POLICY_FORBIDS = (
        "PolicyForbids",
        "The namespace's FitPolicy does not allow an image, a priority class, a toleration, or what loads code into the engine;"
        " or an annotation of the pods hands out devices beside the plan, which no policy allows.",
        "Use what allowedImages, allowedPriorityClasses and allowedTolerations name, or ask the administrator; leave the annotation out.",
    )
    POLICY_UNREADABLE = (
        "PolicyUnreadable",
        "The FitPolicy that holds for the namespace cannot be read, or is not known yet: nothing is admitted under it. Running pods stay.",
        "`kubectl get fitpolicies` names it and its Accepted condition the field: correct it, or run the release it was written for.",
    )
    NOT_SUPPORTED_YET = (
        "NotSupportedYet",
        "A field or flag moves GPU memory and there is no rule for it yet.",
        "Leave it out, or pin what it would change.",
    )
    MODEL_MISMATCH = ("ModelMismatch", "The profile is of another model or revision than the spec.", "Name the right profile.")
    INVALID_SPEC = ("InvalidSpec", "The InferenceDeployment itself is at fault.", "The message names the field, the value and the limit.")
    # Undecided
    UNKNOWN_MODEL = (
        "UnknownModel",
        "No shape of this model is known, so nothing can be predicted. No pods are made.",
        "Give spec.model.profile or a ModelProfile.",
    )
    UNSUPPORTED_MODEL = (
        "UnsupportedModel",
        "The shape is known, its architecture has no rule. No pods are made.",
        "`plimsoll models` shows what is known.",
    )
    UNKNOWN_ENGINE = ("UnknownEngine", "The vLLM release is not known, or too far ahead of the newest known.", "Set spec.engine.version.")
    KERNELS_NOT_KNOWN = (
        "KernelsNotKnown",
        "Whether vLLM of this release has code for this GPU depends on how it was installed, or nothing was published for the GPU's host.",
        "Use a release that the message names.",
    )
    VENDOR_UNSUPPORTED = (
        "VendorUnsupported",
        "The GPUs that could run it, or what its image is built for, are not NVIDIA's: no memory rules are known there. No pods are made.",
        "`plimsoll capacity` shows them. Choose NVIDIA GPUs and an image built for CUDA.",
    )
    NO_CAPACITY_KNOWN = (
        "NoCapacityKnown",
        "No GPU pool is known at all.",
        "Label GPU nodes (GPU feature discovery) or declare a GPUPool.",
    )
    NO_KNOWN_POOL = (
        "NoKnownPool",
        "It fits no known pool, but would fit other products, and the policy says capacity may still come.",
        "Add such nodes.",
    )
    LABEL_NOT_INDEXED = (
        "LabelNotIndexed",
        "A nodeSelector uses a label that GPUPools are not split by, so pools alone do not tell which of their nodes are meant.",
        "Nothing to do: the controller looks at the nodes themselves and decides.",
    )
    TOO_COMPLEX = (
        "TooComplex",
        "Deciding would take more estimates, or at the webhook more work, than one decision may. No pods are made.",
        "Pin parallel sizes or batch sizes, or list fewer products in placement.gpuProducts.",
    )
    OUT_OF_TIME = (
        "OutOfTime",
        "The decision did not end within the time that its caller has. No pods are made.",
        "The controller decides again by itself; where that ends the same way, pin parallel sizes or use a simpler profile.",
    )
