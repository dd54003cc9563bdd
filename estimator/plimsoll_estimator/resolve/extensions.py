"""vLLM's checks of LoRA slots and of speculative decoding: ranks, classes, methods and drafts, by release.

Called by `resolve`. Raises EngineRefusal where that release stops, Unsupported where no source was read or no memory rule exists.
Refuses to know bytes.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.models.releases import registered_in
from plimsoll_estimator.reader import PREDICTION_MODULES, language
from plimsoll_estimator.resolve.checks import check_parallel
from plimsoll_estimator.resolve.facts import interface
from plimsoll_estimator.resolve.releases import argument_rules
from plimsoll_estimator.shape import Shape

_WITHOUT_MODEL: Final = frozenset({"ngram", "ngram_gpu", "suffix"})


def check_lora(shape: Shape, args: EngineArgs, version: EngineVersion) -> None:
    """vLLM config/lora.py, v1/worker/lora_model_runner_mixin.py and lora/layers/logits_processor.py."""
    if not args.enable_lora:
        return
    if args.max_loras is not None and args.max_loras < 1:
        raise InvalidInput("engine_args.max_loras", args.max_loras, "must be at least 1")
    known = interface("takes_lora", shape.architecture, version)
    if known is None:
        raise Unsupported(Check.LORA_SUPPORT, f"whether {shape.architecture} takes LoRA adapters in vLLM {version} is not known")
    if not known:
        raise EngineRefusal(Check.LORA_UNSUPPORTED, f"{shape.architecture} does not support LoRA in vLLM {version}")
    rules = argument_rules(version)
    ranks = rules.lora_ranks
    if args.max_lora_rank is not None and args.max_lora_rank not in ranks:
        raise EngineRefusal(
            Check.LORA_RANK_UNSUPPORTED, f"max_lora_rank ({args.max_lora_rank}) must be one of {', '.join(map(str, ranks))}"
        )
    limit = rules.lora_vocabulary
    vocabulary = shape.size.vocab_size
    # A tied head is the embedding itself, which has no such limit.
    if vocabulary > limit and shape.size.tied is False:
        raise EngineRefusal(
            Check.LORA_VOCABULARY_TOO_LARGE, f"with LoRA the vocabulary ({vocabulary}) must be at most {limit} in vLLM {version}"
        )


def check_speculation(config: HfConfig, shape: Shape, args: EngineArgs, version: EngineVersion, tp: int, pp: int) -> None:
    """vLLM config/speculative.py: the method, its drafts and their number."""
    tokens, draft = args.num_speculative_tokens or 0, args.speculative_model_config
    if not tokens:
        return
    method = args.drafts_by
    if interface("speculative_methods", method, version) is False:
        raise EngineRefusal(Check.SPECULATIVE_METHOD_UNSUPPORTED, f"vLLM {version} has no speculative method {method}")
    if not args.drafts_by_modules and not args.drafts_by_model and method not in _WITHOUT_MODEL:
        raise Unsupported(Check.SPECULATIVE_METHOD, f"no memory rule for speculative method {method}")
    if args.drafts_by_model and draft is None:
        raise EngineRefusal(Check.SPECULATIVE_MODEL_MISSING, f"speculative method {method} needs a draft model")
    if pp > 1:
        _check_stages(args, version)
    if args.drafts_by_modules:
        _check_modules(config, shape, tokens, method, version)
    if method == "eagle3":
        _check_eagle3_target(shape, version)
    if draft is not None:
        _check_draft(shape, draft, args, version, tp)


def _check_draft(shape: Shape, draft: HfConfig, args: EngineArgs, version: EngineVersion, tp: int) -> None:
    """What the draft's own configuration may be."""
    if args.drafts_by == "draft_model":
        _check_draft_model(shape, draft, version)
    if args.drafts_by_eagle and argument_rules(version).names_eagle_classes:
        _check_eagle_class(draft, args.drafts_by, version)
    if args.drafts_by_model:
        # The draft is sharded over as many ranks as the target (draft_tensor_parallel_size), by the same rules.
        check_parallel(shape_of(draft), tp, 1, 1, False, version)


def _check_stages(args: EngineArgs, version: EngineVersion) -> None:
    """A draft had to run in as many stages as its target, and these classes have none."""
    rules = argument_rules(version)
    if (args.drafts_by_eagle and not rules.eagle_in_stages) or (args.drafts_by_modules and not rules.draft_modules_in_stages):
        raise EngineRefusal(
            Check.PIPELINE_PARALLEL_UNSUPPORTED,
            f"pipeline parallelism is not supported for drafts of method {args.drafts_by} in vLLM {version}",
        )


def _check_modules(config: HfConfig, shape: Shape, tokens: int, method: str, version: EngineVersion) -> None:
    """The class that hf_config_override puts in the model's place, and how many modules it is told of (n_predict)."""
    sought = shape.architecture not in argument_rules(version).seeks_no_modules_of
    if not (sought and shape.drafter and registered_in(shape.drafter, version)):
        raise EngineRefusal(
            Check.SPECULATIVE_MODULES_MISSING,
            f"speculative method {method} needs prediction modules, and vLLM {version} has no class for those of {shape.architecture}"
            if sought
            else f"speculative method {method} fails: vLLM {version} does not look for prediction modules in {shape.architecture}",
        )
    modules = shape.prediction_modules
    if not modules and language(config).int_or_none(*PREDICTION_MODULES) is None:
        raise EngineRefusal(
            Check.SPECULATIVE_MODULES_UNCOUNTED,
            f"speculative method {method} needs prediction modules: config.json does not say how many there are "
            f"({PREDICTION_MODULES[0]}), which vLLM's {shape.drafter} reads",
        )
    if not modules:
        raise EngineRefusal(Check.SPECULATIVE_MODULES_MISSING, f"speculative method {method} needs prediction modules, the model has none")
    if tokens > modules and tokens % modules:
        raise EngineRefusal(
            Check.SPECULATIVE_TOKENS_UNEVEN, f"num_speculative_tokens ({tokens}) must be divisible by the {modules} prediction modules"
        )


def _check_eagle3_target(shape: Shape, version: EngineVersion) -> None:
    listed = argument_rules(version).eagle3_targets
    kind, architecture = shape.size.model_type, shape.architecture
    if listed is not None and not any(word in kind for word in listed):
        raise EngineRefusal(
            Check.SPECULATIVE_TARGET_UNSUPPORTED, f"eagle3 is only supported for {', '.join(listed)} models in vLLM {version}"
        )
    known = interface("takes_eagle3", architecture, version)
    if known is None:
        raise Unsupported(Check.SPECULATIVE_METHOD, f"whether {architecture} takes eagle3 drafts in vLLM {version} is not known")
    if not known:
        raise EngineRefusal(Check.SPECULATIVE_TARGET_UNSUPPORTED, f"{architecture} does not support eagle3 in vLLM {version}")


def _check_eagle_class(draft: HfConfig, method: str, version: EngineVersion) -> None:
    """vLLM looks for a class named after the draft's (transformers_utils/configs/eagle.py), unless the config is of EAGLE's own type."""
    if draft.model_type in ("eagle", "speculators") or draft.raw("speculators_config") is not None:
        return
    mark = "Eagle" if method == "eagle" else "Eagle3"
    for name in draft.list_or_none("architectures") or ():
        own = name.startswith(mark) or (method == "eagle3" and name.endswith(mark))
        wrapped = name if own else f"{mark}{name}"
        if not registered_in(wrapped, version):
            raise EngineRefusal(
                Check.SPECULATIVE_DRAFT_UNSUPPORTED, f"vLLM {version} has no {method} draft of class {wrapped}: the draft's class is {name}"
            )


def _check_draft_model(shape: Shape, draft: HfConfig, version: EngineVersion) -> None:
    taken = argument_rules(version).draft_models
    if taken == "refused":
        raise EngineRefusal(
            Check.SPECULATIVE_METHOD_UNSUPPORTED, f"vLLM {version} does not support speculative decoding with a draft model"
        )
    if taken == "older core":  # which has no such rule, and is left out elsewhere
        return
    target_size, draft_size = shape.size.vocab_size, shape_of(draft).size.vocab_size
    if target_size != draft_size:
        raise EngineRefusal(
            Check.SPECULATIVE_VOCABULARY_DIFFERS, f"the target's vocabulary ({target_size}) and the draft's ({draft_size}) must be equal"
        )
