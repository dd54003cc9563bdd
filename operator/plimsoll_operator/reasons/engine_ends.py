"""What to do about an engine that ended, by the cause that its own log names: in the words of the spec.

Read by the conditions of a deployment and by `plimsoll observe`. Data: knows sentences, no numbers; the causes are the estimator's.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from plimsoll_estimator import FailureCause

_C = FailureCause
NEXT_STEPS: Final = MappingProxyType(
    {
        _C.KV_CACHE_TOO_SMALL: (
            "One request of maxModelLen tokens needs more KV cache than is left: lower spec.engine.maxModelLen, set "
            "kvCacheDtype fp8, or raise gpuMemoryUtilization or tensorParallelSize"
        ),
        _C.NO_KV_CACHE_MEMORY: (
            "Weights and activations leave no GPU memory for a KV cache: raise spec.engine.gpuMemoryUtilization or "
            "tensorParallelSize, lower maxNumBatchedTokens, or take a quantised checkpoint or a larger GPU"
        ),
        _C.GPU_MEMORY_TAKEN: (
            "Something else holds memory of that GPU: see what runs on it (nvidia-smi on the node), and stop it or lower "
            "spec.engine.gpuMemoryUtilization"
        ),
        _C.GPU_MEMORY_CHANGED: (
            "Something else gave memory of that GPU back while the engine measured it: let nothing else use the GPU; the next"
            " start may pass"
        ),
        _C.CUDA_OUT_OF_MEMORY: (
            "The GPU's memory ran out: lower spec.engine.gpuMemoryUtilization, maxNumSeqs or maxNumBatchedTokens, or raise "
            "tensorParallelSize"
        ),
        _C.SAMPLER_OUT_OF_MEMORY: (
            "The GPU's memory ran out while the sampler was warmed up: lower spec.engine.maxNumSeqs or gpuMemoryUtilization"
        ),
        _C.NCCL_FAILED: (
            "The GPUs could not reach one another: see the pod's shared memory (/dev/shm), the interconnect and the NCCL "
            "variables, or set NCCL_DEBUG=INFO in spec.template.env to see more"
        ),
        _C.UNKNOWN_ARGUMENT: (
            "The release does not take this argument: correct spec.engine.extraArgs, or take a release that has it "
            "(spec.engine.image, version)"
        ),
        _C.INVALID_CONFIGURATION: "The release refuses this combination of arguments: correct what its words name in spec.engine",
        _C.NO_KERNEL: (
            "The image has no kernels for this GPU: take an image that is built for it (spec.engine.image), or other GPUs "
            "(spec.placement.gpuProducts)"
        ),
        _C.CAPABILITY_TOO_LOW: (
            "The GPU is too old for this dtype, quantisation or cache: set spec.engine.dtype float16, take another "
            "checkpoint, or other GPUs (spec.placement.gpuProducts)"
        ),
        _C.ARCHITECTURE_UNKNOWN: "The release does not know the model's architecture: take a newer one (spec.engine.image, version)",
        _C.MODEL_GATED: (
            "The model is gated: name a token that was granted access in spec.model.source.huggingFace.tokenSecretRef, and "
            "accept the model's terms on its page"
        ),
        _C.MODEL_NOT_FOUND: "The model is not where the engine looks: correct spec.model.name, its revision or its source",
        _C.DOWNLOAD_FAILED: (
            "The hub cannot be reached from the pod: open the way to it, or serve the model from a volume (spec.model.source)"
        ),
        _C.REMOTE_CODE_NOT_TRUSTED: (
            "The model brings its own code: allow it with --trust-remote-code in spec.engine.extraArgs if you trust the repository"
        ),
        _C.DISK_FULL: "A disk of the pod is full: give its volume more space (spec.template.volumes), or its ephemeral storage",
        _C.HOST_MEMORY: "The pod's host memory or shared memory ran out: give it more in spec.template.resources",
        _C.DRIVER_TOO_OLD: (
            "The node's NVIDIA driver is older than the image's CUDA needs: update the driver, or take an older spec.engine.image"
        ),
        _C.NO_GPU: "The engine sees no GPU: see the node's driver and device plugin, and that the image is built for its GPUs",
        _C.TOO_FEW_GPUS: "The container sees fewer GPUs than the engine has ranks: see the node's device plugin",
        _C.GPU_FAULT: "The GPU or a kernel failed: see the node's kernel log for Xid errors, and try another node or another release",
        _C.PORT_IN_USE: "The engine's port is taken in its pod: change spec.engine.port, or the container beside it that listens there",
        _C.NOT_PERMITTED: (
            "The engine may not read or write a file: see the user of spec.template.securityContext and the owner of its volumes"
        ),
        _C.ENGINE_TIMED_OUT: (
            "The server gave up waiting for its engine: give it longer (VLLM_ENGINE_READY_TIMEOUT_S in spec.template.env), or"
            " faster storage"
        ),
        _C.STOPPED: "It was told to end while it started: give it longer with spec.template.startupProbe",
    }
)
"""Whole sentences without their stop. `Other` has none: nobody knows what to do about it but who reads the log."""
