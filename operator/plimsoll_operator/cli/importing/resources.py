"""What the engine's container asks of its node: GPUs, which the layout answers, and host memory, CPU and devices, which the API has.

Called by `server` and `pod`. Knows no format.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api.template import DEVICE
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.read import Part, text_of
from plimsoll_operator.decision.checks.image_builds import built_for
from plimsoll_operator.decision.checks.images import NO_REFERENCE, read_reference
from plimsoll_operator.names import AMD_RESOURCE, GPU_RESOURCE, MIG_RESOURCE_PREFIX, SHARED_RESOURCE

_TARGET: Final = "spec.template.resources"
_OTHERS: Final = (
    AMD_RESOURCE,
    "aws.amazon.com/neuron",
    "google.com/tpu",
    "gpu.intel.com/",
    "habana.ai/",
    "huawei.com/Ascend",
    "intel.com/gpu",
)
"""Resources of accelerators that are no GPUs of NVIDIA's."""
_COUNT: Final = re.compile(r"[0-9]{1,4}")


def gpus_of(container: Part) -> tuple[str, int] | None:
    """The resource that the container's GPUs are, and how many; None where it asks for none by count.

    Raises InvalidInput of another accelerator.
    """
    found: tuple[str, int] | None = None
    for key in ("limits", "requests"):
        asked = container.part("resources", key)
        for name in asked.fields:
            if name.startswith(_OTHERS):
                raise InvalidInput(
                    asked.at(name), None, f"{name} is no GPU of NVIDIA's, for which plans are: keep as it is what runs on it"
                )
            count = text_of(asked.peek(name))
            if found in (None, (name, int(count) if count and _COUNT.fullmatch(count) else -1)) and _is_gpu(name) and count is not None:
                if _COUNT.fullmatch(count) and int(count):
                    asked.take(name)
                    found = name, int(count)
                elif _COUNT.fullmatch(count):
                    asked.take(name)
    return found


def refuse_other_builds(image: str, source: str) -> None:
    """An image that is no reference to one, or whose name says that it is built for no GPU of NVIDIA's. Raises InvalidInput."""
    if "@" in image and read_reference(image) is None:
        raise InvalidInput(source, None, NO_REFERENCE)
    what = built_for(image)
    if what:
        raise InvalidInput(
            source, None, f"is vLLM built for {what}, as its name says, and plans are for NVIDIA's GPUs: keep as it is what runs on it"
        )


def lay_resources(draft: Draft, container: Part) -> None:
    """CPU and host memory as floors, with their limits; network devices, huge pages. Kubernetes takes a limit for an absent request."""
    limits, requests = container.part("resources", "limits"), container.part("resources", "requests")
    capped: dict[str, Any] = {}
    for key in ("cpu", "memory"):
        asked = requests if requests.has(key) else limits
        draft.put(f"{_TARGET}.{key}", asked.take(key), asked.at(key))
        if limits.has(key):
            capped[key] = limits.take(key)
            draft.put(f"{_TARGET}.limits.{key}", capped[key], limits.at(key))
    devices: dict[str, str] = {}
    for part in (limits, requests):
        for key in part.fields:
            count = text_of(part.peek(key))
            if re.fullmatch(DEVICE, key) and count is not None and devices.get(key, count) == count:
                devices[key] = count
                part.take(key)
                draft.merge(f"{_TARGET}.devices", key, count, part.at(key))


def lay_requests_beside(container: Part) -> dict[str, Any]:
    """CPU and host memory of a container beside the engine, as the API writes them."""
    resources = container.part("resources")
    made = {key: resources.part("requests").take(key) for key in ("cpu", "memory") if resources.part("requests").has(key)}
    capped = {key: resources.part("limits").take(key) for key in ("cpu", "memory") if resources.part("limits").has(key)}
    return {**made, **({"limits": capped} if capped else {})}


def _is_gpu(name: str) -> bool:
    return name in (GPU_RESOURCE, SHARED_RESOURCE) or name.startswith(MIG_RESOURCE_PREFIX)
