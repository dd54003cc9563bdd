"""Arguments and mounts that make the engine run code from outside its image: what a FitPolicy with codeLoading Deny refuses.

Asked by `allowed`. Reads arguments as the parser has let them pass: spelled out, known to the release. Variables that do the same are
in `environment`. A container image is code itself: allowedImages speaks of those. Sources: vllm/engine/arg_utils.py and
entrypoints/openai/cli_args.py of 0.8 to 0.33, CPython's logging.config (a dictionary may name any callable). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plimsoll_estimator import EngineVersion, split_arguments

# Whatever their value: a class, a module, a file of Python, a template, or leave to take them from the checkpoint or a request.
_ALWAYS: Final = frozenset(
    {
        "--chat-template",
        "--ec-transfer-config",
        "--io-processor-plugin",
        "--kv-transfer-config",
        "--log-config-file",
        "--logging-config",
        "--logits-processor-pattern",
        "--logits-processors",
        "--middleware",
        "--model-class-overrides",
        "--reasoning-parser-plugin",
        "--tool-parser-plugin",
        "--trust-remote-code",
        "--trust-request-chat-template",
    }
)
_ENDING: Final = "-cls"
_JSON_KINDS: Final = ("config", "json", "json_or_pairs", "json_or_str")
# Of these, values that are vLLM's own; any other names a class, or what a plug-in has registered.
_OWN_VALUES: Final[Mapping[str, frozenset[str]]] = {
    "--distributed-executor-backend": frozenset({"external_launcher", "mp", "ray", "uni"}),
    "--load-format": frozenset(
        {
            "auto",
            "dummy",
            "fastsafetensors",
            "hf",
            "instanttensor",
            "mistral",
            "npcache",
            "pt",
            "runai_streamer",
            "runai_streamer_sharded",
            "safetensors",
            "sharded_state",
        }
    ),
    "--model-impl": frozenset({"auto", "vllm"}),
    "--tokenizer-mode": frozenset({"auto", "deepseek_v32", "deepseek_v4", "grok2", "hf", "kimi_audio", "mistral", "qwen_vl", "slow"}),
    "--tokenizer-pool-type": frozenset({"ray"}),
}
_INSIDE: Final = ("plugin", "_cls", "module_path", "qualname", "cache_dir", "inductor_passes", "_custom_p")
"""Words in the keys of JSON arguments that name code, as reasoning_parser_plugin and kv_connector_module_path do, or a folder of compiled
code (config/compilation.py: cache_dir), or functions of Inductor's (torch/_inductor/config.py: post_grad_custom_post_pass)."""
_BACKEND: Final = "backend"
"""In a compilation config a dotted one is a qualified name (compilation/backends.py, config/compilation.py: init_backend)."""
_CODE_FOLDERS: Final = ("bin", "home/vllm", "lib", "lib32", "lib64", "opt", "root", "sbin", "tmp", "usr", "vllm-workspace")
"""Where images keep programs and libraries, and the engine's home: Python and the compilers take modules and kernels from below it, and
compiled kernels of a user lie in /tmp (torch/_inductor/runtime/cache_dir_utils.py)."""
_LOADERS: Final = ("alternatives", "bash", "environment", "ld.so", "libibverbs", "nsswitch", "passwd", "profile", "python", "ssl/openssl")
"""How what in /etc begins that names programs, libraries or modules: configuration may be mounted beside it."""
_MAX_DEPTH: Final = 16


def argument_that_loads_code(arguments: Sequence[str], version: EngineVersion) -> str | None:
    """The first of the arguments that does, as it is written; None where none does. Raises InvalidInput where they cannot be read."""
    for item in split_arguments(arguments, version):
        value = item.values[0] if item.values else ""
        listed = value in _OWN_VALUES.get(item.flag, (value,))
        if (item.flag in _ALWAYS and not item.negated) or item.flag.endswith(_ENDING) or (item.values and not listed):
            return item.spelling
        is_json = item.row.kind in _JSON_KINDS and not item.key_path
        dotted = item.key_path[-1:] == (_BACKEND,) and "." in value
        if dotted or any(_names_code(key) for key in item.key_path) or (is_json and _has_key_of_code(value)):
            return item.spelling
    return None


def _names_code(key: str) -> bool:
    return any(word in key for word in _INSIDE)


def _has_key_of_code(text: str) -> bool:
    try:
        return _any_key(json.loads(text), _MAX_DEPTH)
    except (ValueError, RecursionError):
        return False


def _is_code(key: str, value: Any) -> bool:
    if key == _BACKEND and isinstance(value, str):
        return "." in value
    return _names_code(key) and value not in (None, "")


def _any_key(value: Any, depth: int) -> bool:
    if depth == 0:
        return True  # deeper than anybody writes: what is in there is not known
    if isinstance(value, Mapping):
        return any(_is_code(key, inner) or _any_key(inner, depth - 1) for key, inner in value.items())
    return isinstance(value, list) and any(_any_key(inner, depth - 1) for inner in value)


def mount_that_loads_code(path: str) -> bool:
    """Whether a volume with something in it at this path, in its one form, lies where code is taken from."""
    inner = path.strip("/")
    if inner in ("", "etc", "etc/ssl") or inner.startswith(tuple(f"etc/{one}" for one in _LOADERS)):
        return True
    return any(inner == folder or inner.startswith(f"{folder}/") or folder.startswith(f"{inner}/") for folder in _CODE_FOLDERS)
