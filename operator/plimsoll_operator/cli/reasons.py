"""What every reason of a verdict, condition or event means and what to do about it. Data: knows sentences, no numbers.

Read by `plimsoll explain`. The estimator's checks have theirs in `check_reasons`, what is wrong with a pool's nodes in
`capacity.problems`.
"""

from __future__ import annotations

from typing import Final

REASONS: Final = {  # reason -> (what it means, what to do)
    # The decision's reasons
    "Fits": ("The deployment starts as it is written and serves its workload.", "Nothing to do."),
    "Resized": (
        "A pinned value was moved so that it starts; only fields in spec.fit.mayChange move.",
        "Read status.plan for the new values.",
    ),
    "InsufficientGpuMemory": (
        "Weights, activation peak and overheads of one rank exceed gpu-memory-utilization x the GPU's CUDA-visible memory.",
        "Raise tensorParallelSize, use a quantised checkpoint, or a larger GPU.",
    ),
    "InsufficientKvCache": (
        "The engine loads, but what is left for the KV cache does not hold one request of maxModelLen tokens (or the stated workload).",
        "Lower maxModelLen or maxNumSeqs, use an fp8 KV cache, raise tensorParallelSize, or a larger GPU.",
    ),
    "InsufficientGpusPerNode": (
        "No node has as many GPUs as one replica's ranks.",
        "Lower tensorParallelSize or allow more nodes a replica.",
    ),
    "WorkloadNotServed": (
        "A value pinned in spec.engine is less than what the requests of spec.workload need.",
        "Raise or remove the pinned value, or correct the request classes.",
    ),
    "EngineRefuses": (
        "vLLM itself would stop at a check of its arguments.",
        "The message says which check; `plimsoll estimate` reproduces it.",
    ),
    "NoMatchingPool": ("Placement names no pool that exists.", "Compare spec.placement with `plimsoll capacity`."),
    "HostMemory": (
        "No node has the host memory that loading needs.",
        "`plimsoll estimate` prints the need; use larger nodes or fewer ranks a node.",
    ),
    "HostCpu": ("No node has the CPU that the pod asks for.", "Lower the request in spec.template or use larger nodes."),
    "EphemeralStorage": (
        "No node has the disk for what the pod writes: downloaded weights, caches, size limits of scratch volumes.",
        "Load weights from a volume (spec.model.source.persistentVolumeClaim), or set HF_HOME to a claim of spec.template.volumes.",
    ),
    "SharingUnsafe": (
        "On time-sliced GPUs nothing keeps replicas apart: two could land on one card and exceed it.",
        "Lower gpuMemoryUtilization to the share of one replica, use MIG, or exclusive GPUs.",
    ),
    "LeaderWorkerSetMissing": (
        "It fits several nodes a replica, and nothing in this cluster makes such replicas.",
        "Install LeaderWorkerSet (lws.sigs.k8s.io); files of nodes say nothing of it: `plimsoll plan --leader-worker-set`.",
    ),
    "PolicyCap": (
        "The namespace's FitPolicy caps GPUs or predicted memory, or does not list what the message names (an account, a field to move).",
        "Ask the administrator, or lower replicas.",
    ),
    "PolicyForbids": (
        "The namespace's FitPolicy does not allow an image, a priority class, a toleration, or what loads code into the engine; or an "
        "annotation of the pods hands out devices beside the plan, which no policy allows.",
        "Use what allowedImages, allowedPriorityClasses and allowedTolerations name, or ask the administrator; leave the annotation out.",
    ),
    "PolicyUnreadable": (
        "The FitPolicy that holds for the namespace cannot be read, or is not known yet: nothing is admitted under it. Running pods stay.",
        "`kubectl get fitpolicies` names it and its Accepted condition the field: correct it, or run the release it was written for.",
    ),
    "NotSupportedYet": ("A field or flag moves GPU memory and there is no rule for it yet.", "Leave it out, or pin what it would change."),
    "InvalidSpec": ("The InferenceDeployment itself is at fault.", "The message names the field, the value and the limit."),
    "LabelNotIndexed": (
        "A nodeSelector uses a label that GPUPools are not split by, so pools alone do not tell which of their nodes are meant.",
        "Nothing to do: the controller looks at the nodes themselves and decides.",
    ),
    "ModelMismatch": ("The profile is of another model or revision than the spec.", "Name the right profile."),
    "UnknownModel": (
        "No shape of this model is known, so nothing can be predicted. No pods are made.",
        "Give spec.model.profile or a ModelProfile.",
    ),
    "UnsupportedModel": ("The shape is known, its architecture has no rule. No pods are made.", "`plimsoll models` shows what is known."),
    "UnknownEngine": ("The vLLM release is not known, or too far ahead of the newest known.", "Set spec.engine.version."),
    "VendorUnsupported": (
        "The GPUs that could run it are of a vendor (AMD, Intel) for whose engine no memory rules are known. No pods are made.",
        "`plimsoll capacity` shows them. Choose NVIDIA GPUs and an image built for CUDA.",
    ),
    "NoCapacityKnown": ("No GPU pool is known at all.", "Label GPU nodes (GPU feature discovery) or declare a GPUPool."),
    "NoKnownPool": ("It fits no known pool, but would fit other products, and the policy says capacity may still come.", "Add such nodes."),
    "TooComplex": (
        "Deciding would take more estimates, or at the webhook more work, than one decision may. No pods are made.",
        "Pin parallel sizes or batch sizes, or list fewer products in placement.gpuProducts.",
    ),
    "OutOfTime": (
        "The decision did not end within the time that its caller has. No pods are made.",
        "The controller decides again by itself; where that ends the same way, pin parallel sizes or use a simpler profile.",
    ),
    # What ModelResolved says
    "Found": ("The model's shape is known; the message says from where and at which commit.", "Nothing to do."),
    "Resolving": ("The model's shape is being read.", "Wait: it is decided when that has ended."),
    "NotFound": (
        "No profile describes the model, and its source has no such model, revision or file, or hides it from this token.",
        "Check spec.model.name and revision, or apply a ModelProfile (`plimsoll profile`).",
    ),
    "Gated": (
        "The model's terms are not accepted by the account of the token.",
        "Accept them on the hub for the operator's token (chart: hub.tokenSecret), or give the deployment a token of its own.",
    ),
    "Unreachable": (
        "The source did not answer, asks for fewer requests, or is not asked because the controller runs offline.",
        "It is asked again by itself; `plimsoll profile fetch` makes the profile from elsewhere.",
    ),
    "Unsupported": ("What is there cannot be read as a shape; the message says what is known and what is not.", "Apply a ModelProfile."),
    "Ambiguous": (
        "Several files or profiles could be meant, and they differ.",
        "Name one in spec.model.profile.name, or delete what is wrong.",
    ),
    "DigestChanged": (
        "The branch has moved since the plan was made. The pods keep the commit of their plan.",
        "Adopt the new one by a changed spec or the annotation inference.plimsoll.dev/replan.",
    ),
    # What CapacityAvailable says
    "Bound": ("Every replica is on a node.", "Nothing to do."),
    "Booked": ("GPUs are set aside for every replica, wherever the scheduler puts what it sees.", "Nothing to do: pods follow at once."),
    "WaitingForGpus": (
        "Too few GPUs are free that no earlier deployment and no other pending pod may take. The pods exist and wait.",
        "Free GPUs, add nodes, or lower replicas; `kubectl get gpool` shows what is free and booked.",
    ),
    "WaitingForTurn": (
        "Pods whose GPUs are booked earlier are on their way to nodes; until they are there it is not certain what is left.",
        "Nothing to do: it is decided within seconds.",
    ),
    "PodsAbsent": (
        "Pods that the Deployment is asked for do not exist: a quota, Pod Security or an admission webhook refuses them, or it takes time.",
        "The events of its ReplicaSets or StatefulSets say why. GPUs are booked for pods that exist; these get their place when they do.",
    ),
    "NotScheduled": (
        "GPUs were booked, but the scheduler has not bound the pods for ten seconds.",
        "`kubectl describe pod` says why: a volume, a taint, a quota, or another scheduler that does not run.",
    ),
    "InternalError": (
        "An error of the controller itself stopped the work on this object. Other objects are not touched, and it is tried again.",
        "Look for the digest of the message in the controller's log, and report the traceback there.",
    ),
    "ApplyRefused": (
        "The API server refuses the Deployment, LeaderWorkerSet or Service: a quota, a policy or a missing right.",
        "The condition quotes it; what was booked is free for others until it is taken.",
    ),
    # Input
    "InvalidInput": ("The input itself is at fault.", "The message names the field, the value and the limit."),
    "Mismatch": ("The profile named is of another model or revision than the spec.", "Name the right profile."),
    "Invalid": (
        "What was read cannot be believed or understood: the object itself, a profile, a config or a log.",
        "The message names the field or file, the value and the limit.",
    ),
    # How capacity, rollout and pods stand: the other conditions
    "NoPlan": ("No plan is applied, so no GPUs are wanted.", "Feasible says why."),
    "NoneWanted": ("spec.replicas is 0: the plan is kept, nothing is booked.", "Scale up when it is wanted."),
    "FreeUnknown": (
        "Pods of other namespaces may not be listed, so nobody knows what is free.",
        "Empty controller.podNamespaces of the chart, or watch the pods themselves.",
    ),
    "Refused": ("The spec as it stands makes no pods.", "Feasible says why."),
    "Applying": ("The objects of the plan are being made.", "Wait."),
    "RollingOut": ("The pods of the plan are starting.", "Wait; loading weights takes minutes."),
    "Complete": ("All replicas carry the plan and are available.", "Nothing to do."),
    "NameTaken": (
        "An object that is not Plimsoll's has the name of the Deployment, LeaderWorkerSet or Service; it is never taken over.",
        "Rename one of the two. What runs keeps its plan and its GPUs; the rest is made within half a minute of the name being free.",
    ),
    "NotControlled": (
        "Somebody has taken the Deployment, LeaderWorkerSet or Service from its InferenceDeployment: another owner controls it, or none.",
        "The message names the entry of metadata.ownerReferences to remove or to set. What runs keeps its plan and its GPUs.",
    ),
    "ChangedByOthers": (
        "Somebody else changes the Deployment, LeaderWorkerSet or Service that the plan has made; it is put back, at most every 5 minutes.",
        "The message names the other manager. Change the InferenceDeployment instead; an autoscaler is pointed at its scale.",
    ),
    "PodsRefused": (
        "The API server refuses the pods, and will until somebody changes something: Pod Security, a quota, limits, an admission policy.",
        "The message has its own words. Change the namespace's labels, quota or limits, or the spec; pods come by themselves then.",
    ),
    "PodsNotMade": ("A pod could not be made just now; it is tried again.", "Wait; the message has the API server's words."),
    "ImageNotPulled": (
        "Pods are on their nodes and the image of a container is not pulled; the kubelet tries again by itself.",
        "The message has the registry's words: correct spec.engine.image, or give a pull secret in spec.template.imagePullSecrets.",
    ),
    "ContainerNotStarted": (
        "Pods are on their nodes and a container cannot be made or started: a Secret or ConfigMap is not there, or the command is not.",
        "The message names it. Make it in the namespace, or correct spec.template; the pods then go on by themselves.",
    ),
    "EngineEnds": (
        "A container has ended several times before it served; the kubelet starts it again, ever more slowly.",
        "The message says how it ended. Read kubectl logs --previous, correct the spec, and a new plan replaces the pods.",
    ),
    "ProgressDeadlineExceeded": ("The rollout made no progress within its deadline.", "Read the pods' events and logs."),
    "MinimumReplicasAvailable": ("At least one replica is available, or none is wanted.", "Nothing to do."),
    "NoReplicaAvailable": ("No replica is available.", "Progressing says how far they are."),
    "Ready": ("All replicas of the current spec are available.", "Nothing to do."),
    "Progressing": ("Not all replicas of the current spec are available yet.", "Progressing and CapacityAvailable say what they wait for."),
    "NotStalled": ("Nothing stands in the way.", "Nothing to do."),
    # Events
    "PlanApplied": ("The pods' objects carry a new plan.", "Nothing to do."),
    "PlanProposed": (
        "The same spec would be planned differently today; the pods stay as they are.",
        "Compare status.proposedPlan; adopt it with the annotation inference.plimsoll.dev/replan.",
    ),
    "Overridden": (
        "Pods are made against a rejection: by the FitPolicy's mode Warn or the bypass annotation.",
        "Expect the start to fail as predicted; the event has the rejection.",
    ),
    # GPUPools and EngineCalibrations
    "NoDoubts": ("Labels, counts and memory of the pool agree.", "Nothing to do."),
    "PodsSeen": ("Pods of all namespaces are counted, so what is free is known.", "Nothing to do."),
    "ForeignPodsHidden": ("Pods of other namespaces may not be listed.", "Empty controller.podNamespaces of the chart."),
    "Applied": ("Every correction of the EngineCalibration counts.", "Nothing to do."),
    "PartlyApplied": ("Some corrections of the EngineCalibration count.", "The message says why the others do not."),
    "Accepted": ("The FitPolicy is understood and holds.", "Nothing to do."),
    "PartlyKnown": (
        "The FitPolicy holds, without what this release does not know or what can never match: the message names it.",
        "Correct it, or run the release it was written for where that matters.",
    ),
    "Unreadable": (
        "This release cannot read the object. Under a FitPolicy nothing new is admitted; an EngineCalibration corrects nothing.",
        "The message names the field: correct it, or run the release it was written for.",
    ),
    "NotEnoughEvidence": ("No correction of the EngineCalibration counts.", "The message says what evidence is missing."),
}
