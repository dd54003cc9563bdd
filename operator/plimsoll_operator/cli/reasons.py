"""What every reason of a verdict, condition or event means and what to do about it. Data: knows sentences, no numbers.

Read by `plimsoll explain`. What is wrong with a pool's nodes has its sentence in `capacity.problems`.
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
    "LoraUnsupported": ("vLLM of this release serves no LoRA adapters for this model class.", "Leave spec.engine.lora out."),
    "LoraRankUnsupported": ("The largest rank is none of the steps that vLLM of this release has.", "Use the next larger step."),
    "LoraVocabularyTooLarge": ("vLLM's LoRA kernels bound the vocabulary.", "Leave spec.engine.lora out."),
    "LoraSupport": ("Whether this release serves adapters for this model class is not known.", "Use a release that is known."),
    "SpeculativeMethodUnsupported": ("vLLM of this release does not have the method.", "Use another method or release."),
    "SpeculativeModelMissing": ("The method needs a draft model.", "Set spec.engine.speculative.model."),
    "SpeculativeModulesMissing": ("The model has no prediction modules of its own.", "Use a draft model, an EAGLE head or ngram."),
    "SpeculativeTokensUneven": ("Each prediction module proposes its tokens in turn.", "Use a multiple of the modules."),
    "SpeculativeTargetUnsupported": ("vLLM of this release takes no EAGLE-3 drafts for this model class.", "Use another method."),
    "SpeculativeVocabularyDiffers": ("Draft and target must speak the same tokens.", "Use a draft of the same family."),
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
    # The estimator's reasons
    "NoKvCacheMemory": ("Weights and overheads leave less than one KV block.", "As for InsufficientGpuMemory."),
    "MaxModelLenTooLong": ("One request of max-model-len tokens needs more KV cache than there is.", "Use the estimated length or less."),
    "ContextTooLong": ("max-model-len exceeds what the model was made for.", "Lower it; vLLM refuses the rest."),
    "NotDivisible": (
        "A dimension of the model does not divide by the parallel size.",
        "Choose a size that divides heads, experts and widths.",
    ),
    "KvHeadsNotDivisible": (
        "KV heads and tensor parallel size do not divide one another.",
        "Choose a power of two up to the number of heads.",
    ),
    "NoExperts": ("Expert parallelism was asked of a model without experts.", "Leave it out."),
    "PipelineParallelUnsupported": ("vLLM has no pipeline parallelism for this architecture.", "Use tensor parallelism."),
    "NodesUnsupported": ("This vLLM release spans nodes only on a Ray cluster made beforehand.", "Use a release from 0.11.2 on."),
    "NodesNotDivisible": ("Ranks or engines do not divide evenly over the nodes.", "Choose sizes that the number of nodes divides."),
    "DecodeContextParallelUnsupported": (
        "Decode context parallelism shards caches of full attention only, and this model keeps others beside them.",
        "Leave decodeContextParallelSize out.",
    ),
    "MambaBlocksBelowMaxNumSeqs": (
        "A hybrid model needs one state block a sequence when graphs are captured, and has fewer blocks than max-num-seqs.",
        "Lower max-num-seqs to the number of blocks, or give it more memory.",
    ),
    "DtypeUnsupported": ("The GPU or the model cannot run this dtype.", "Use the one the message names."),
    "UnknownQuantization": ("vLLM of this release has no such quantisation method.", "Check the release or the checkpoint."),
    "DeprecatedQuantization": ("The method needs --allow-deprecated-quantization in this release.", "Pass it, or convert the checkpoint."),
    "NoAttentionBackend": ("No attention backend of this release runs the model on this GPU.", "Use another GPU or KV cache dtype."),
    "UnknownRopeType": ("vLLM of this release does not know the model's rope scaling.", "Use a newer release."),
    "UnsupportedArchitecture": ("The architecture is in no registry here: no guess is made.", "The message names the ones it resembles."),
    "UnsupportedQuantization": (
        "There is no rule for how this quantisation stores weights.",
        "Use another checkpoint, or measure a start.",
    ),
    "UnknownGpu": ("The GPU product is not in the table and its generation cannot be told.", "`plimsoll gpus` lists the known ones."),
    "UnknownGpuMemory": ("Nothing says how much memory the GPU has.", "Give --gpu-memory-mib."),
    "EngineTooOld": ("The release is older than the V1 engine's rules.", "Use 0.8 or later."),
    "KvCacheTooSmall": (
        "One request of max-model-len tokens needs more KV cache than is left.",
        "Use the estimated length or less, an fp8 KV cache, more GPUs, or fewer sequences.",
    ),
    "HeadsNotDivisible": ("Attention heads do not divide by the tensor parallel size.", "Choose a size that divides them."),
    "TokensBelowSeqs": ("max-num-batched-tokens is below max-num-seqs.", "Raise the first or lower the second."),
    "TokensBelowContext": (
        "Without chunked prefill max-num-batched-tokens must reach max-model-len.",
        "Raise it, or leave chunked prefill on.",
    ),
    "QuantizationMismatch": ("--quantization contradicts the checkpoint's own settings.", "Leave it out."),
    "QuantizationUnsupportedOnGpu": (
        "The GPU's compute capability is below what the quantisation method needs.",
        "Use another GPU or format.",
    ),
    "KvCacheDtypeNotSupported": ("The model or GPU cannot hold its cache in this dtype.", "Use auto."),
    "KvPageSizesDiffer": ("Cache pages of the model's layers cannot be brought to one size.", "Use another KV cache dtype or release."),
    "DecodeContextParallelNeedsTensorParallel": ("Decode context parallelism shares tensor parallel ranks.", "Raise tensorParallelSize."),
    "DecodeContextParallelNotDivisible": (
        "The tensor parallel size does not divide by the decode context parallel size.",
        "Choose a divisor.",
    ),
    "DecodeContextParallelTooLarge": ("There are too few query heads a KV head for this size.", "Lower it."),
    "FreeMemoryBelowRequested": (
        "Less is free on the GPU at start than gpu-memory-utilization x total: other processes, or contexts, hold the rest.",
        "Lower gpuMemoryUtilization or keep others off the card.",
    ),
    "OutOfMemoryLoading": ("The weights alone exceed what is free on the GPU.", "Raise tensorParallelSize or use a quantised checkpoint."),
    "OutOfMemoryProfiling": ("Weights and the profile run together exceed what is free.", "Lower maxNumBatchedTokens or maxNumSeqs."),
    "OutOfMemoryGraphCapture": (
        "The cache is sized, then CUDA graphs find too little memory outside the budget.",
        "Lower gpuMemoryUtilization, capture fewer sizes, or set enforceEager.",
    ),
    "OutOfMemorySamplerWarmUp": (
        "The cache is sized, then the sampler's warm-up finds too little memory outside the budget.",
        "Lower maxNumSeqs or gpuMemoryUtilization.",
    ),
    "StateBlocksBelowSeqs": (
        "A hybrid model needs one state block a sequence when graphs are captured, and has fewer blocks than max-num-seqs.",
        "Lower max-num-seqs to the number of blocks, or give it more memory.",
    ),
    "CannotFitMaxModelLen": ("max-model-len auto finds no length that fits.", "As for InsufficientGpuMemory."),
    "QuantizationGroupMismatch": ("Tensor parallelism cuts through the quantisation's groups.", "Use a smaller tensorParallelSize."),
    "QuantizationBlockMismatch": (
        "Tensor parallelism cuts through the quantisation's blocks.",
        "Use a smaller tensorParallelSize, or experts.",
    ),
    "TooManyRanksForExperts": ("There are more ranks than experts.", "Use a smaller tensorParallelSize."),
    "SpeculativeMethod": ("There is no rule for this kind of speculative decoding.", "Leave it out, or measure a start."),
    "KvCacheFamily": ("There is no rule for this architecture's cache.", "`plimsoll models` shows what is known."),
    "KvCacheDtype": ("There is no rule for this KV cache dtype on this model.", "Use auto or fp8."),
    "EngineUnknown": ("There are no rules for this release.", "Use 0.8 or later."),
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
    "ChangedByOthers": (
        "Somebody else changes the Deployment, LeaderWorkerSet or Service that the plan has made; it is put back, at most every 5 minutes.",
        "The message names the other manager. Change the InferenceDeployment instead; an autoscaler is pointed at its scale.",
    ),
    "PodsRefused": (
        "The API server refuses the pods, and will until somebody changes something: Pod Security, a quota, limits, an admission policy.",
        "The message has its own words. Change the namespace's labels, quota or limits, or the spec; pods come by themselves then.",
    ),
    "PodsNotMade": ("A pod could not be made just now; it is tried again.", "Wait; the message has the API server's words."),
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
