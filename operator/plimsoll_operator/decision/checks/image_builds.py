"""For which accelerator, none of NVIDIA's, an image of vLLM is built, as far as its name is sure to say so. Pure; runs in linear time.

Called by `checks` and by the importer. Knows the names that builders are known to give: a word of an accelerator anywhere else in a name
(`vllm-cpu-offload`, `procmon/vllm-openai`) says what somebody does with vLLM, and keeps no pod from starting.
"""

from __future__ import annotations

import re
from typing import Final

from plimsoll_operator.decision.checks.images import Reference, read_reference

_BUILDS: Final = {
    "ascend": "Ascend NPUs", "cpu": "CPUs", "gaudi": "Gaudi", "hpu": "Gaudi", "ipex": "Intel's CPUs and GPUs", "neuron": "AWS Neuron",
    "neuronx": "AWS Neuron", "rocm": "ROCm", "spyre": "IBM Spyre", "tpu": "TPUs", "xpu": "Intel GPUs",
}  # fmt: skip
_WORD: Final = rf"(?P<word>{'|'.join(sorted(_BUILDS, key=len, reverse=True))})(?:(?<=rocm)[0-9.]{{1,8}})?"
_ENDS: Final = "-dev|-nightly|-env|-release-repo|-rhel[0-9]{1,2}|-ubi[0-9]{1,2}|-openai|-server|-amd64|-arm64|-x86_64"
_NAMES: Final = (
    re.compile(rf"(?:vllm|llm-d)(?:[-_](?:openai|server|serving|inference|omni))?[-_]{_WORD}(?:{_ENDS})?"),
    re.compile(rf"vllm[-_]{_WORD}[-_](?:openai|server|serving|inference)"),
    re.compile(r"[a-z0-9_.-]{0,200}-(?P<word>neuronx)"),  # AWS's containers of deep learning: pytorch-inference-vllm-neuronx
)
"""Whole last names: vllm-cpu, vllm-openai-rocm, vllm-cpu-release-repo, vllm-tpu-rhel9, llm-d-xpu."""
_PLAIN: Final = re.compile(r"vllm(?:[-_](?:openai|server|dev|release-repo|ci-test-repo|ci-postmerge-repo))?")
"""Last names that say nothing, of which the tag may."""
_RELEASE: Final = r"(?:v?[0-9][0-9a-z.]{0,40}|[0-9a-f]{7,40}|latest|nightly|main)"
_TAGS: Final = re.compile(rf"(?:{_RELEASE}-)?{_WORD}")
_OWN_TAGS: Final = re.compile(rf"{_WORD}-{_RELEASE}(?:[-_.].*)?")
_OWN: Final = (("docker.io", "vllm"), ("public.ecr.aws", "q9t5s3a7"))
"""Registry and folder of what vLLM's own project publishes, where tags begin with the accelerator too."""
_ROCM_FOLDER, _GAUDI_FOLDER = "rocm", "gaudi-docker"


def built_for(image: str) -> str:
    """For which accelerator, none of NVIDIA's, an image is built as its name says; empty where it says nothing, or is no reference."""
    found = read_reference(image)
    if found is None:
        return ""
    *folders, last = found.path
    if _ROCM_FOLDER in folders and last.startswith("vllm") and "cuda" not in last:
        return _BUILDS["rocm"]
    if _GAUDI_FOLDER in folders or found.registry == "vault.habana.ai":
        return _BUILDS["gaudi"]
    said = next((match for pattern in _NAMES if (match := pattern.fullmatch(last))), None) or _by_its_tag(found)
    return _BUILDS[said["word"]] if said else ""


def _by_its_tag(image: Reference) -> re.Match[str] | None:
    tag = image.tag.lower()
    own = (image.registry, image.path[0]) in _OWN
    if not own and _PLAIN.fullmatch(image.path[-1]) is None:
        return None
    return _TAGS.fullmatch(tag) or (_OWN_TAGS.fullmatch(tag) if own else None)
