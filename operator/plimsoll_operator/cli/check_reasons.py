"""What every check of the estimator means and what to do about it. Data: knows sentences, no numbers.

Read by `plimsoll explain`, beside the operator's own `reasons`. What a check is about is said where it is defined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator import Check
from plimsoll_operator.reasons import Reason

CHECKS: Final[Mapping[Check, tuple[str, str]]] = {  # check -> (what it means, what to do)
    Check.DTYPE_UNSUPPORTED: ("The GPU or the model cannot run this dtype.", "Use the one the message names."),
    Check.UNKNOWN_QUANTIZATION: ("vLLM of this release has no such quantisation method.", "Check the release or the checkpoint."),
    Check.DEPRECATED_QUANTIZATION: (
        "The method needs --allow-deprecated-quantization in this release.",
        "Pass it, or convert the checkpoint.",
    ),
    Check.QUANTIZATION_MISMATCH: ("--quantization contradicts the checkpoint's own settings.", "Leave it out."),
    Check.QUANTIZATION_UNSUPPORTED: (
        "vLLM of this release no longer reads checkpoints that are quantised in this way.",
        "Use another checkpoint, or an older release.",
    ),
    Check.QUANTIZATION_UNSUPPORTED_ON_GPU: (
        "The GPU's compute capability is below what the quantisation method needs.",
        "Use another GPU or format.",
    ),
    Check.QUANTIZATION_NEEDS_CHECKPOINT: (
        "The method only reads checkpoints that are already quantised, and this one is not.",
        "Use a quantised checkpoint, or a method that quantises while loading, such as fp8.",
    ),
    Check.KV_CACHE_DTYPE_UNSUPPORTED: (
        "The checkpoint, the model or the GPU cannot hold its cache in this dtype, or there is no rule for it.",
        "Use auto, or fp8 where the message allows it.",
    ),
    Check.CONTEXT_TOO_LONG: ("max-model-len exceeds what the model was made for.", "Lower it; vLLM refuses the rest."),
    Check.TOKENS_BELOW_SEQS: ("max-num-batched-tokens is below max-num-seqs.", "Raise the first or lower the second."),
    Check.TOKENS_BELOW_CONTEXT: (
        "Without chunked prefill max-num-batched-tokens must reach max-model-len.",
        "Raise it, or leave chunked prefill on.",
    ),
    Check.CHUNKED_PREFILL_NEEDED: (
        "Prefix caching keeps the model's last states at the borders of chunks, so it wants prefill in chunks.",
        "Leave chunked prefill on, or switch prefix caching off.",
    ),
    Check.TOKENS_BELOW_STATE_BLOCK: (
        "Prefix caching keeps the model's last states at the borders of blocks, and one block is longer than max-num-batched-tokens.",
        "Raise max-num-batched-tokens to the block's length, or switch prefix caching off.",
    ),
    Check.LIMITS_WITHOUT_MODALITY: (
        "--limit-mm-per-prompt is given, and the model takes no images, videos or sound.",
        "Leave it out, or use a release from 0.10.1 on.",
    ),
    Check.EXPERTS_NOT_SPREAD: (
        "--enable-eplb moves experts between GPUs, and here they are not spread over any: vLLM stops.",
        "Add --enable-expert-parallel and more than one GPU to a replica, or leave it out.",
    ),
    Check.PROCESSOR_CACHE_NOT_SHARED: (
        "--mm-shm-cache-max-object-size-mb limits a processor cache in shared memory, and this one is not: vLLM stops.",
        "Add --mm-processor-cache-type=shm, or leave the limit out.",
    ),
    Check.TOKENIZER_NOT_MISTRALS: (
        "--reasoning-parser=mistral reads what Mistral's tokenizer marks, and this model has another: vLLM stops.",
        "Name the reasoning parser of the model's own line, or leave the flag out.",
    ),
    Check.NO_MISTRAL_CONFIG: (
        "--config-format=mistral has vLLM read params.json, which checkpoints of other publishers lack: vLLM stops.",
        "Leave the flag out: config.json is read then.",
    ),
    Check.RENDERERS_SHARE_CACHE: (
        "Several renderer threads would share the cache of the multimodal processor, which this release does not let them.",
        "Leave --renderer-num-workers at 1, or switch the cache off with --mm-processor-cache-gb=0.",
    ),
    Check.LONG_PREFILL_ABOVE_CONTEXT: (
        "--long-prefill-token-threshold is above max_model_len, so that no prompt could be long: vLLM stops.",
        "Lower the threshold or leave it out.",
    ),
    Check.HEADS_NOT_DIVISIBLE: ("Attention heads do not divide by the tensor parallel size.", "Choose a size that divides them."),
    Check.KV_HEADS_NOT_DIVISIBLE: (
        "KV heads and tensor parallel size do not divide one another.",
        "Choose a power of two up to the number of heads.",
    ),
    Check.NOT_DIVISIBLE: (
        "A dimension of the model does not divide by the parallel size.",
        "Choose a size that divides heads, experts and widths.",
    ),
    Check.QUANTIZATION_BLOCK_MISMATCH: (
        "Tensor parallelism cuts through the quantisation's blocks.",
        "Use a smaller tensorParallelSize, or experts.",
    ),
    Check.QUANTIZATION_GROUP_MISMATCH: ("Tensor parallelism cuts through the quantisation's groups.", "Use a smaller tensorParallelSize."),
    Check.TOO_MANY_RANKS_FOR_EXPERTS: ("There are more ranks than experts.", "Use a smaller tensorParallelSize."),
    Check.TENSOR_PARALLEL_UNSUPPORTED: (
        "vLLM of this release runs the whole of this architecture on one GPU.",
        "Use tensorParallelSize 1, or another release.",
    ),
    Check.PIPELINE_PARALLEL_UNSUPPORTED: ("vLLM has no pipeline parallelism for this architecture.", "Use tensor parallelism."),
    Check.NO_EXPERTS: ("Expert parallelism was asked of a model without experts.", "Leave it out."),
    Check.NODES_UNSUPPORTED: ("This vLLM release spans nodes only on a Ray cluster made beforehand.", "Use a release from 0.11.1 on."),
    Check.NODES_NOT_DIVISIBLE: ("Ranks or engines do not divide evenly over the nodes.", "Choose sizes that the number of nodes divides."),
    Check.DECODE_CONTEXT_PARALLEL_UNSUPPORTED: (
        "Decode context parallelism shards caches of full attention only, and this model keeps others beside them.",
        "Leave decodeContextParallelSize out.",
    ),
    Check.DECODE_CONTEXT_PARALLEL_NOT_DIVISIBLE: (
        "The tensor parallel size does not divide by the decode context parallel size.",
        "Choose a divisor.",
    ),
    Check.DECODE_CONTEXT_PARALLEL_NEEDS_LATENT_ATTENTION: (
        "vLLM of this release shards the cache of latent attention (MLA) only.",
        "Leave decodeContextParallelSize out, or use a release from 0.11.1 on.",
    ),
    Check.DECODE_CONTEXT_PARALLEL_NEEDS_TENSOR_PARALLEL: (
        "Decode context parallelism shares tensor parallel ranks.",
        "Raise tensorParallelSize.",
    ),
    Check.DECODE_CONTEXT_PARALLEL_TOO_LARGE: ("There are too few query heads a KV head for this size.", "Lower it."),
    Check.LORA_UNSUPPORTED: ("vLLM of this release serves no LoRA adapters for this model class.", "Leave spec.engine.lora out."),
    Check.LORA_RANK_UNSUPPORTED: ("The largest rank is none of the steps that vLLM of this release has.", "Use the next larger step."),
    Check.LORA_VOCABULARY_TOO_LARGE: ("vLLM's LoRA kernels bound the vocabulary.", "Leave spec.engine.lora out."),
    Check.SPECULATIVE_METHOD_UNSUPPORTED: ("vLLM of this release does not have the method.", "Use another method or release."),
    Check.SPECULATIVE_MODEL_MISSING: ("The method needs a draft model.", "Set spec.engine.speculative.model."),
    Check.SPECULATIVE_MODULES_MISSING: (
        "The model has no prediction modules of its own, or vLLM of this release no class for them.",
        "Use a draft model, an EAGLE head or ngram, or a release that has the class.",
    ),
    Check.SPECULATIVE_MODULES_UNCOUNTED: (
        "The model's config.json does not say how many prediction modules the checkpoint has.",
        "Give the shape as published by a ModelProfile, with num_nextn_predict_layers; or use a draft model, an EAGLE head or ngram.",
    ),
    Check.SPECULATIVE_TOKENS_UNEVEN: ("Each prediction module proposes its tokens in turn.", "Use a multiple of the modules."),
    Check.SPECULATIVE_TARGET_UNSUPPORTED: ("vLLM of this release takes no EAGLE-3 drafts for this model class.", "Use another method."),
    Check.SPECULATIVE_DRAFT_UNSUPPORTED: (
        "vLLM of this release has no EAGLE class for such a draft.",
        "Use a draft that was trained as an EAGLE head for this model, or method draft_model.",
    ),
    Check.SPECULATIVE_VOCABULARY_DIFFERS: ("Draft and target must speak the same tokens.", "Use a draft of the same family."),
    Check.CONFIG_CLASS_UNKNOWN: (
        "vLLM of this release reads such a config only by Python code that the checkpoint brings.",
        "Add --trust-remote-code to spec.engine.extraArgs where you trust that code and the FitPolicy's codeLoading allows it,"
        " or use a release that has the class.",
    ),
    Check.NO_KERNELS: (
        "vLLM of this release has no code for this GPU: it ends with 'no kernel image is available for execution on the device'.",
        "Use a release that the message names, or another GPU.",
    ),
    Check.NO_ATTENTION_BACKEND: (
        "No attention backend of this release, or not the one that is named, runs the model on this GPU.",
        "Leave `--attention-backend` out, or use another GPU or KV cache dtype.",
    ),
    Check.FLASHINFER_SAMPLER_UNSUPPORTED: (
        "VLLM_USE_FLASHINFER_SAMPLER=1 asks for FlashInfer's sampler on a GPU that FlashInfer does not support: vLLM stops.",
        "Leave the variable out: vLLM samples without FlashInfer then.",
    ),
    Check.NO_ATTENTION_CACHE: (
        "The model attends in both directions and keeps no KV cache; vLLM of this release plans it only as a pooling model.",
        "Pass --runner pooling in extraArgs, or use a release from 0.26 on.",
    ),
    Check.KV_PAGE_SIZES_DIFFER: (
        "Cache pages of the model's layers cannot be brought to one size.",
        "Use another KV cache dtype or release.",
    ),
    Check.KV_CACHES_DIFFER: (
        "Without the hybrid KV cache manager all layers must keep one kind of cache, and this model's do not.",
        "Leave out what switches it off: --disable-hybrid-kv-cache-manager, or events of the cache before vLLM 0.20.",
    ),
    Check.HYBRID_CACHE_UNSUPPORTED: (
        "--no-disable-hybrid-kv-cache-manager asks for caches in groups beside something that this release does not combine with them.",
        "Leave the flag out: vLLM then decides by itself.",
    ),
    Check.UNKNOWN_ROPE_TYPE: ("vLLM of this release does not know the model's rope scaling.", "Use a newer release."),
    Check.ROTARY_POSITIONS_REQUIRED: (
        "The class builds its vision tower with rotary positions only, and the config says otherwise.",
        "Check the profile against the model's config.json.",
    ),
    Check.UNSUPPORTED_ATTENTION: (
        "The class is built without the attention that the config describes.",
        "Check the profile against the model's config.json.",
    ),
    Check.LANGUAGE_MODEL_UNNAMED: (
        "The config names no class for the language model behind its tower, and Transformers lists none for such a type.",
        "Name the class under text_config.architectures, or use another checkpoint.",
    ),
    Check.UNSUPPORTED_MODEL_VERSION: (
        "The release does not read this generation of the model.",
        "Use a release that the message names.",
    ),
    Check.FREE_MEMORY_BELOW_REQUESTED: (
        "Less is free on the GPU at start than gpu-memory-utilization x total: other processes, or contexts, hold the rest.",
        "Lower gpuMemoryUtilization or keep others off the card.",
    ),
    Check.OUT_OF_MEMORY_LOADING: (
        "The weights alone exceed what is free on the GPU.",
        "Raise tensorParallelSize or use a quantised checkpoint.",
    ),
    Check.OUT_OF_MEMORY_PROFILING: (
        "Weights and the profile run together exceed what is free.",
        "Lower maxNumBatchedTokens or maxNumSeqs.",
    ),
    Check.OUT_OF_MEMORY_GRAPH_PROFILING: (
        "Before the cache is sized, graphs are captured on trial in one of a block a sequence: with recurrent state that takes gigabytes.",
        "Lower maxNumSeqs (before 0.26 cudagraph_capture_sizes), or set enforceEager.",
    ),
    Check.NO_KV_CACHE_MEMORY: ("Weights and overheads leave less than one KV block.", "As for InsufficientGpuMemory."),
    Check.KV_CACHE_TOO_SMALL: (
        "One request of max-model-len tokens needs more KV cache than is left.",
        "Use the estimated length or less, an fp8 KV cache, more GPUs, or fewer sequences.",
    ),
    Check.CANNOT_FIT_MAX_MODEL_LEN: ("max-model-len auto finds no length that fits.", "As for InsufficientGpuMemory."),
    Check.STATE_BLOCKS_BELOW_SEQS: (
        "A model with recurrent state needs one state block a sequence when graphs are captured, and has fewer than max-num-seqs.",
        "Lower max-num-seqs to the number of blocks, or give it more memory.",
    ),
    Check.OUT_OF_MEMORY_KERNEL_WARM_UP: (
        "The cache is sized, then the warm-up of DeepGEMM's kernels (fp8 weights in blocks) finds too little memory outside the budget.",
        "Lower maxNumBatchedTokens or gpuMemoryUtilization.",
    ),
    Check.OUT_OF_MEMORY_GRAPH_CAPTURE: (
        "The cache is sized, then CUDA graphs find too little memory outside the budget.",
        "Lower gpuMemoryUtilization, capture fewer sizes, or set enforceEager.",
    ),
    Check.OUT_OF_MEMORY_SAMPLER_WARM_UP: (
        "The cache is sized, then the sampler's warm-up finds too little memory outside the budget.",
        "Lower maxNumSeqs or gpuMemoryUtilization.",
    ),
    Check.ENGINE_TOO_OLD: ("The release is older than the V1 engine's rules.", "Use 0.8 or later."),
    Check.ENGINE_UNKNOWN: ("There are no rules for this release.", "Use 0.8 or later."),
    Check.ENGINE_FALLS_BACK: (
        "vLLM up to 0.10.2 runs this on its V0 engine, whose memory has no rules here.",
        "Use a release that the message names, or leave out what it names.",
    ),
    Check.ENGINE_FALLS_BACK_FOR_STAGES: (
        "vLLM before 0.9.1 runs pipeline stages on its V0 engine, whose memory has no rules here.",
        "Use pipelineParallelSize 1, or 0.9.1 or later.",
    ),
    Check.KERNELS_NOT_KNOWN: (Reason.KERNELS_NOT_KNOWN.means, Reason.KERNELS_NOT_KNOWN.to_do),
    Check.UNKNOWN_GPU: (
        "The GPU product is not in the table and its generation cannot be told.",
        "`plimsoll gpus` lists the known ones; else give --gpu-compute-capability.",
    ),
    Check.UNKNOWN_GPU_MEMORY: ("Nothing says how much memory the GPU has.", "Give --gpu-memory-mib."),
    Check.ARCHITECTURE_NOT_IN_RELEASE: (
        "Other releases of vLLM know the architecture, this one does not.",
        "Use one of the releases that the message names.",
    ),
    Check.UNSUPPORTED_ARCHITECTURE: (
        "The architecture is in no registry here: no guess is made.",
        "The message names the ones it resembles.",
    ),
    Check.UNSUPPORTED_LAYOUT: (
        "There is no rule for this architecture at these parallel sizes.",
        "Use tensorParallelSize 1 and no stages.",
    ),
    Check.UNSUPPORTED_VISION_TOWER: (
        "There is no rule for the model's vision tower.",
        "`plimsoll models` shows what is known; or measure a start.",
    ),
    Check.UNSUPPORTED_AUDIO_TOWER: (
        "There is no rule for the model's audio tower.",
        "`plimsoll models` shows what is known; or measure a start.",
    ),
    Check.UNSUPPORTED_QUANTIZATION: (
        "There is no rule for how this quantisation stores weights.",
        "Use another checkpoint, or measure a start.",
    ),
    Check.UNSUPPORTED_PATTERN: (
        "The checkpoint's quantisation settings name modules by a pattern that is not read here.",
        "List the modules by name in a ModelProfile.",
    ),
    Check.KV_CACHE_FAMILY: ("There is no rule for this architecture's cache.", "`plimsoll models` shows what is known."),
    Check.DECODE_CONTEXT_PARALLEL: (
        "Whether this release shards the cache of such a model is not known.",
        "Leave decodeContextParallelSize out.",
    ),
    Check.LORA_SUPPORT: ("Whether this release serves adapters for this model class is not known.", "Use a release that is known."),
    Check.SPECULATIVE_METHOD: ("There is no rule for this kind of speculative decoding.", "Leave it out, or measure a start."),
}
