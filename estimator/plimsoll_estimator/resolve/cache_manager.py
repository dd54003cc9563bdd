"""Whether vLLM plans the layers of a hybrid model in groups, or all of them as full attention: the hybrid KV cache manager.

Called by `resolve`. Follows config/vllm.py (before 0.11.1 config/__init__.py, before 0.10.1 config.py) and
distributed/kv_transfer/kv_connector/factory.py, 0.9.1 to 0.33.0. Refuses to know bytes and what a connector itself holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.mixers import Attention
from plimsoll_estimator.resolve.releases import ArgumentRules, argument_rules
from plimsoll_estimator.shape import Shape

_MULTI: Final = "MultiConnector"
_MOST_DEEP: Final = 8


def groups_caches(shape: Shape, args: EngineArgs, version: EngineVersion) -> bool:
    """True unless the user, the release or a connector switches it off. Raises EngineRefusal where it is asked for and cannot be."""
    asked = args.disable_hybrid_kv_cache_manager
    if asked:
        return False
    if asked is None and args.kv_transfer_config is None and args.kv_events_config is None and not args.num_speculative_tokens:
        return True
    rules = argument_rules(version)
    stops = _stops(shape, args, rules)
    connector = args.kv_transfer_config
    if rules.connector_stops_groups == "always":
        return not stops and connector is None
    groups = connector is None or _takes_groups(connector, rules)
    if asked is None:
        return not stops and (connector is None or (groups and rules.connector_stops_groups == "by its kind"))
    if stops:
        raise _refusal(
            f"vLLM {version} cannot plan caches in groups with these arguments; --no-disable-hybrid-kv-cache-manager asks for it"
        )
    if not groups:
        name = _name(connector or {}) or "the connector"
        raise _refusal(f"{name} does not work with caches in groups in vLLM {version}, for which --no-disable-hybrid-kv-cache-manager asks")
    return True


def _refusal(message: str) -> EngineRefusal:
    return EngineRefusal(Check.HYBRID_CACHE_UNSUPPORTED, message)


def _stops(shape: Shape, args: EngineArgs, rules: ArgumentRules) -> bool:
    """Events of the cache, and EAGLE beside attention in chunks."""
    if args.kv_events_config is not None and rules.events_stop_groups:
        return True
    eagle = bool(args.num_speculative_tokens) and args.drafts_by_eagle
    return eagle and rules.eagle_stops_chunks and any(isinstance(one, Attention) and one.seen == "chunked" for one in shape.mixers)


def _takes_groups(connector: Mapping[str, Any], rules: ArgumentRules, depth: int = 0) -> bool:
    """Whether a connector's class says SupportsHMA; one of several where each of them does; none of those outside vLLM is known to."""
    name = _name(connector)
    if name not in rules.connectors_of_groups or connector.get("kv_connector_module_path"):
        return False
    if name != _MULTI:
        return True
    extra = connector.get("kv_connector_extra_config")
    children = extra.get("connectors") if isinstance(extra, Mapping) else None
    if not isinstance(children, list | tuple) or not children or depth == _MOST_DEEP:
        return False
    return all(isinstance(child, Mapping) and _takes_groups(child, rules, depth + 1) for child in children)


def _name(connector: Mapping[str, Any]) -> str:
    name = connector.get("kv_connector")
    return name[:100] if isinstance(name, str) else ""
