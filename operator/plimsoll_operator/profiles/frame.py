"""How a reader pod's result travels through its log: one marked line that tells its request, length and digest.

Written by `reader`, read by the controller. A log is input from outside: whoever may run pods in the namespace can forge one, so
it is read once within bounds and only ever becomes a shape for that namespace. Knows no pod and no API server.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_estimator import EstimatorError, HfConfig, InvalidInput, parse_json
from plimsoll_operator.api import ApiError, ModelProfile, ModelProfileSpec, parse_object
from plimsoll_operator.names import API_VERSION, COMMIT

MARK: Final = "plimsoll-profile/1"
MAX_PAYLOAD_BYTES: Final = 192 << 10
"""A config of 64 KiB whose every other character JSON escapes, and 32 rows of totals: 64 KiB are left over."""
LOG_LIMIT_BYTES: Final = 256 << 10
"""What is asked of a log. Kubernetes keeps 10 MiB of one before it rotates (kubelet, containerLogMaxSize)."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ForeignLog(EstimatorError):
    """The log holds no result of this request that can be believed. The message never quotes the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a result must be of. `key` names the request in the log; `revision` None accepts what the source says.

    On a hub, and in its cache, a branch or tag comes back as a commit; any other folder does not know and says what it was told.
    """

    key: str
    model: str
    revision: str | None
    on_hub: bool


def encode(request_key: str, spec: Mapping[str, Any]) -> str:
    """The line for the log, without its end. Raises InvalidInput above MAX_PAYLOAD_BYTES."""
    payload = json.dumps(spec, separators=(",", ":"))  # ASCII, and no line break inside
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidInput("profile", len(payload), f"bytes are more than the {MAX_PAYLOAD_BYTES} that are sent")
    return f"{MARK} {request_key} {len(payload)} {hashlib.sha256(payload.encode()).hexdigest()} {payload}"


def decode(log: bytes, request: Request) -> ModelProfileSpec:
    """The shape in a log of at most LOG_LIMIT_BYTES. Raises ForeignLog.

    Only model, revision, config and totals are taken; who obtained them, when and from where is for the caller to say.
    """
    if len(log) >= LOG_LIMIT_BYTES:
        raise ForeignLog(f"it is longer than the {LOG_LIMIT_BYTES} bytes that are read")
    spec = _parsed(_payload(log, request.key))
    if spec.model != request.model:
        raise ForeignLog("its result is of another model")
    if not _is_of(spec.revision, request):
        raise ForeignLog("its result is of another revision")
    _check_shape(spec)
    return spec


def _payload(log: bytes, request_key: str) -> bytes:
    lines = [line for line in log.split(b"\n") if line.startswith(MARK.encode() + b" ")]
    if len(lines) != 1:
        raise ForeignLog("it holds no result" if not lines else f"it holds {len(lines)} results")
    parts = lines[0].split(b" ", 4)
    if len(parts) != 5:
        raise ForeignLog("its result is cut off")
    _, key, length, digest, payload = parts
    if key != request_key.encode():
        raise ForeignLog("its result answers another request")
    if not re.fullmatch(rb"[0-9]{1,6}", length) or int(length) > MAX_PAYLOAD_BYTES:
        raise ForeignLog("its result claims a length beyond all bounds")
    if len(payload) != int(length):
        raise ForeignLog("its result is not as long as it says")
    if not _SHA256.fullmatch(digest.decode("latin-1")) or hashlib.sha256(payload).hexdigest().encode() != digest:
        raise ForeignLog("its result does not have the digest it claims")
    return payload


def _parsed(payload: bytes) -> ModelProfileSpec:
    try:
        body = parse_json(payload, "the result")
    except InvalidInput as error:
        raise ForeignLog("its result is not JSON") from error
    if not isinstance(body, dict):
        raise ForeignLog("its result is no object")
    kept = {key: body[key] for key in ("model", "revision", "config", "weights") if key in body}
    manifest = {"apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": {"name": "x"}, "spec": kept}
    try:
        return parse_object(ModelProfile, manifest).spec
    except ApiError as error:
        raise ForeignLog(f"its result is no ModelProfile: {error.causes[0].field} {error.causes[0].message}") from error


def _is_of(revision: str | None, request: Request) -> bool:
    if not request.on_hub or (request.revision is not None and COMMIT.fullmatch(request.revision)):
        return revision == request.revision
    return revision is not None and bool(COMMIT.fullmatch(revision))


def _check_shape(spec: ModelProfileSpec) -> None:
    try:
        _ = HfConfig.from_json(spec.config).architecture
    except InvalidInput as error:
        raise ForeignLog(f"{error.field} cannot be read") from error
    if spec.weights is not None:
        rows = Counter(row.dtype for row in spec.weights.by_dtype)
        if max(rows.values(), default=0) > 1 or sum(row.bytes for row in spec.weights.by_dtype) != spec.weights.total_bytes:
            raise ForeignLog("its totals do not add up")
