"""Where a pod finds its weights, from `spec.model`: what the engine is told as its model, what is mounted for it, and by which variables.

Called by `render`, whose pods follow, and by the decision, which counts what follows and refuses first what a release cannot load. Pure;
knows of vLLM how it loads (transformers_utils/runai_utils.py and s3_utils.py, engine/arg_utils.py: HF_HUB_OFFLINE), and no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import EngineVersion, InvalidInput, split_arguments
from plimsoll_operator.api import InferenceDeploymentSpec, Manifest, ModelSpec
from plimsoll_operator.pod import WEIGHTS_MOUNT

CACHE_VARIABLE: Final = "HF_HUB_CACHE"
_OFFLINE: Final = ("HF_HUB_OFFLINE", "1")
_LOAD_FORMAT: Final = "--load-format"
_DOWNLOAD_DIR: Final = "--download-dir"
_STREAMS: Final = ("runai_streamer", "runai_streamer_sharded")
_STREAMED: Final = (_LOAD_FORMAT, _STREAMS[0])
_SINCE: Final[Mapping[str, EngineVersion]] = {"gs": EngineVersion(0, 10, 2), "az": EngineVersion(0, 18, 0)}
"""First releases that take such an address (transformers_utils/runai_utils.py: SUPPORTED_SCHEMES); s3 is older than all that are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`argument` is what `vllm serve` is told, `named` whether it is the model's own name, `by_revision` whether a revision belongs to it.

    `volume` is mounted at WEIGHTS_MOUNT. `downloaded`: files land where the hub's client keeps them; `streamed`: they come over the network
    and land nowhere; `offline`: no hub is ever asked.
    """

    argument: str
    named: bool = False
    by_revision: bool = False
    arguments: tuple[str, ...] = ()
    volume: Manifest | None = None
    variables: tuple[tuple[str, str], ...] = ()
    downloaded: bool = False
    streamed: bool = False
    offline: bool = False


def weights_of(model: ModelSpec) -> Weights:
    """As the pods are told it."""
    source = model.source
    claim, image, bucket = (source.persistent_volume_claim, source.image, source.object_storage) if source is not None else (None,) * 3
    if bucket is not None:
        return Weights(argument=bucket.uri, arguments=_STREAMED, streamed=True)
    if image is not None:
        pulled: Manifest = {"reference": image.reference} | ({"pullPolicy": image.pull_policy} if image.pull_policy is not None else {})
        return Weights(argument=_inside(image.path), volume={"image": pulled}, variables=(_OFFLINE,), offline=True)
    if claim is None:
        return Weights(argument=model.name, named=True, by_revision=True, downloaded=not model.name.startswith("/"))
    volume: Manifest = {"persistentVolumeClaim": {"claimName": claim.claim_name, "readOnly": True}}
    if claim.layout is None:
        return Weights(argument=_inside(claim.path), volume=volume, variables=(_OFFLINE,), offline=True)
    variables = (_OFFLINE, (CACHE_VARIABLE, _inside(claim.path)))
    return Weights(argument=model.name, named=True, by_revision=True, volume=volume, variables=variables, offline=True)


def _inside(path: str) -> str:
    return WEIGHTS_MOUNT if path in ("", ".") else f"{WEIGHTS_MOUNT}/{path}"


def implied_arguments(model: ModelSpec, given: Sequence[str]) -> tuple[str, ...]:
    """What the place of the weights asks of the engine, where the user's own arguments do not say it."""
    if any(argument.partition("=")[0] == _LOAD_FORMAT for argument in given):
        return ()
    return weights_of(model).arguments


def check_loadable(spec: InferenceDeploymentSpec, version: EngineVersion) -> None:
    """Raises InvalidInput naming the field: the release does not load from there, or something else in the spec has it look elsewhere."""
    _check_revision(spec.model)
    _check_bucket(spec, version)
    if not spec.model.in_the_hub_s_cache:
        return
    if any(variable.name == CACHE_VARIABLE for variable in (spec.template.env if spec.template is not None else ())):
        limit = "is where the pods find the model, as spec.model.source says: leave it out"
        raise InvalidInput("spec.template.env", CACHE_VARIABLE, limit)
    for item in split_arguments(spec.engine.extra_args, version) if spec.engine.extra_args else ():
        if item.flag == _DOWNLOAD_DIR:
            limit = "has the engine look elsewhere than in the cache of spec.model.source: leave it out"
            raise InvalidInput("spec.engine.extraArgs", " ".join(item.tokens), limit)


def _check_revision(model: ModelSpec) -> None:
    """A folder of an image or bucket has no branches: whoever names one would get what is there, whichever that is."""
    source = model.source
    if model.revision is None or source is None or (source.image is None and source.object_storage is None):
        return
    where = "spec.model.source.image.reference" if source.image is not None else "spec.model.source.objectStorage.uri"
    raise InvalidInput(
        "spec.model.revision", model.revision, f"chooses nothing in an image or a bucket: name it by {where}, and leave this out"
    )


def _check_bucket(spec: InferenceDeploymentSpec, version: EngineVersion) -> None:
    bucket = spec.model.source.object_storage if spec.model.source is not None else None
    if bucket is None:
        return
    scheme = bucket.uri.partition("://")[0]
    since = _SINCE.get(scheme)
    if since is not None and version < since:
        limit = f"is an address that vLLM {version} does not load from: {scheme}:// is known since {since}"
        raise InvalidInput("spec.model.source.objectStorage.uri", bucket.uri, limit)
    if spec.engine.quantization == "bitsandbytes":  # engine/arg_utils.py: create_load_config takes its own loader then
        raise InvalidInput("spec.engine.quantization", "bitsandbytes", "quantises with a loader of its own, which streams from no bucket")
    for item in split_arguments(spec.engine.extra_args, version) if spec.engine.extra_args else ():
        if item.flag == _LOAD_FORMAT and (item.values[0] if item.values else "") not in _STREAMS:
            limit = f"does not load from object storage: leave it out, or write {' or '.join(_STREAMS)}"
            raise InvalidInput("spec.engine.extraArgs", " ".join(item.tokens), limit)
