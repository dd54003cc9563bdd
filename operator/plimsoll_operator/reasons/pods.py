"""Why pods that exist do not come to serve: the reasons that their own status tells.

Found by `controller.booking.pod_trouble`, said by `conditions`. Data: knows no pod.
"""

from __future__ import annotations

from typing import Self

from plimsoll_operator.reasons.conditions import NotReady
from plimsoll_operator.reasons.explained import Explained


class PodsFailReason(Explained):
    """A reason, and `next_step`: the end of the condition's message, without its full stop, where what the pods tell says no better.

    Each is why something is not Ready, with its word of STATUS, and speaks of the pods: the plan in status stands.
    """

    next_step: str
    not_ready: NotReady

    def __new__(cls, name: str, means: str, to_do: str, next_step: str, status: str) -> Self:
        """Made of the three sentences and the word."""
        member = cls._of(name, means, to_do)
        member.next_step = next_step
        member.not_ready = NotReady(status=status, plan_stands=True)
        return member

    IMAGE_NOT_PULLED = (
        "ImageNotPulled",
        "Pods are on their nodes and the image of a container is not pulled; the kubelet tries again by itself.",
        "The message has the registry's words: correct spec.engine.image, or give a pull secret in spec.template.imagePullSecrets.",
        "Correct spec.engine.image, or give the pods a pull secret (spec.template.imagePullSecrets)",
        "ImageNotPulled",
    )
    CONTAINER_NOT_STARTED = (
        "ContainerNotStarted",
        "Pods are on their nodes and a container cannot be made or started: a Secret or ConfigMap is not there, or the command is not.",
        "The message names it. Make it in the namespace, or correct spec.template; the pods then go on by themselves.",
        "Correct what the message names in spec.template, or make it in the namespace",
        "ContainerNotStarted",
    )
    ENGINE_ENDS = (
        "EngineEnds",
        "A container has ended several times before it served; the kubelet starts it again, ever more slowly.",
        "The message says how it ended, and what to do where its log names a cause. Correct the spec, and a new plan replaces the pods.",
        "Read its log (kubectl logs --previous) and correct the spec; it is started again meanwhile",
        "CrashLoop",
    )
    NODE_NOT_READY = (
        "NodeNotReady",
        "Pods are on a node that does not answer, or says that it is not ready: nobody is sent to them.",
        "kubectl describe node says why. Kubernetes gives it up after five minutes; its pods are then made anew where GPUs are free.",
        "See what is wrong with it (kubectl describe node). Its pods serve when it is back; when it is deleted, or Kubernetes "
        "has given it up, they are made anew where GPUs are free",
        "NodeNotReady",
    )
