"""The API server over HTTP. The only module that imports the kubernetes client, and the controller's only way out.

Takes credentials, TLS and connection pooling from the kubernetes package (kubeconfig with exec plugins, or the pod's
ServiceAccount with its rotating token) and speaks JSON itself: decoding into the package's model classes costs about
25 KiB a pod and a second for 5 000 pods, decoded JSON a hundredth of that. Refuses to know any kind's meaning. Whatever
stands at the other end and whatever it answers, callers meet an object with a name, ApiFailure or WatchExpired.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.rest import RESTClientObject

from plimsoll_operator.backoff import LONGEST_ASKED_SECONDS, retry_after_seconds
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import FIELD_MANAGER, PODS, EventType, Manifest, Page, Resource, WatchEvent
from plimsoll_operator.text import one_line
from plimsoll_operator.undeclared import Undeclared

_log = logging.getLogger(__name__)
# A watch each for a dozen kinds, the workers, the pool writer and the lease.
_CONNECTIONS: Final = 32
_REQUEST_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=30.0)
# Bookmarks arrive about once a minute: a watch that is silent for longer than this is dead.
_WATCH_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=75.0)
# etcd stores 1.5 MiB by default, and JSON spells one byte of it with up to six ("<" is \u003c).
_MAX_WORDS: Final = 1000
_LONGEST_LINE: Final = 16 << 20
# Decoded, a page takes many times as much, and a dozen kinds may be listed at once.
_MOST_PAGE_BYTES: Final = 4 << 20
_ESCAPED: Final = re.compile("[\x7f-\uffff]")
_NEWS: Final = re.compile(rb'\s*\{"type":"(ADDED|MODIFIED)"')
# A refusal is a sentence; of what is longer only the beginning is read.
_LONGEST_REFUSAL: Final = 64 << 10
_BOOKKEEPING: Final[Mapping[type, tuple[str, ...]]] = {
    str: ("name", "namespace", "uid", "resourceVersion"),
    int: ("generation",),
    dict: ("labels", "annotations"),
    list: ("ownerReferences", "managedFields"),
}
_EVENT_TYPES: Final[Mapping[str, EventType]] = {"ADDED": "ADDED", "MODIFIED": "MODIFIED", "DELETED": "DELETED", "BOOKMARK": "BOOKMARK"}
_NO_FAILURE: Final = (urllib3.exceptions.ReadTimeoutError, urllib3.exceptions.ProtocolError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the API server is and how to speak to it, for the watcher that brings its own client (kopf)."""

    server: str
    ca_path: str | None
    insecure: bool
    authorization: str | None
    certificate_path: str | None
    private_key_path: str | None


class _TooLarge(ApiFailure):
    """An answer of more bytes than are read at once."""


class KubeClient:
    """The Kube protocol over HTTP. Safe to use from several threads."""

    def __init__(self, configuration: client.Configuration) -> None:
        configuration.connection_pool_maxsize = _CONNECTIONS
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._host = str(configuration.host).rstrip("/")
        self._page_sizes: dict[Resource, int] = {}
        self._undeclared = Undeclared()

    @classmethod
    def from_environment(cls) -> KubeClient:
        """From $KUBECONFIG when set, else from the pod's ServiceAccount, else from the default kubeconfig."""
        configuration = client.Configuration()
        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
        # The package's loaders carry no types; naming their type here keeps the rest of this module strict.
        load: Callable[..., None] = config.load_incluster_config if in_pod else config.load_kube_config
        load(client_configuration=configuration)
        return cls(configuration)

    def connection(self) -> Connection:
        """The credentials as they are now; a rotated token is read again on each call."""
        settings = self._configuration
        return Connection(
            server=self._host,
            ca_path=settings.ssl_ca_cert,
            insecure=not settings.verify_ssl,
            authorization=self._headers().get("authorization"),
            certificate_path=settings.cert_file,
            private_key_path=settings.key_file,
        )

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """See Kube.get."""
        try:
            return _named(self._call("GET", resource.path(namespace, name)))
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        """See Kube.list_page. A page that is too large is asked for again with fewer objects: users choose how large those are."""
        fewest = min(limit, self._page_sizes.get(resource, limit))
        while True:
            query = {"limit": str(fewest), "labelSelector": selector, "continue": continue_token}
            most = _MOST_PAGE_BYTES if fewest > 1 else _LONGEST_LINE
            try:
                body = self._call("GET", resource.path(namespace), query=query, most_bytes=most)
                break
            except _TooLarge:
                if fewest == 1:
                    raise
                fewest = self._page_sizes[resource] = max(1, fewest // 4)
        if self._page_sizes.get(resource, limit) < limit:
            self._page_sizes[resource] = fewest * 2  # the large ones may have been these alone
        metadata, items = body.get("metadata"), body.get("items") or []
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if not isinstance(metadata, dict) or not isinstance(version, str) or not version or not isinstance(items, list):
            raise _unusable(f"the list of {resource.plural} has no metadata.resourceVersion or no items")
        return Page(tuple(_named(item) for item in items), version, str(metadata.get("continue") or ""))

    def watch(
        self, resource: Resource, *, resource_version: str, namespace: str = "", selector: str = "", timeout_seconds: int = 300
    ) -> Iterator[WatchEvent]:
        """See Kube.watch. Ends silently when the server closes the stream or stays silent beyond its bookmarks.

        Anything else is a failure: a stream that cannot be decrypted, unpacked or read, or that was refused.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": selector,
            "timeoutSeconds": str(timeout_seconds),
        }
        response = self._send("GET", resource.path(namespace), query=query, timeout=_WATCH_TIMEOUT)
        try:
            if response.status == 410:
                raise WatchExpired(resource.plural)
            if response.status >= 300:
                raise _refusal(response)
            for line in _lines(response):
                yield _event(line, resource)
        except _NO_FAILURE:
            return
        except urllib3.exceptions.HTTPError as error:
            raise _unreached(f"watch of {resource.plural}", error) from error
        finally:
            response.close()

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """See Kube.apply."""
        while True:
            try:
                return self._apply(resource, manifest, subresource, force=True)
            except ApiFailure as failure:
                left = self._undeclared.left_out(resource.kind, manifest, str(failure)) if subresource == "status" else None
                if left is None:
                    raise
                manifest = left

    def apply_new(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.apply_new."""
        return self._apply(resource, manifest, "", force=False)

    def _apply(self, resource: Resource, manifest: Manifest, subresource: str, *, force: bool) -> Manifest:
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false", "fieldValidation": "Strict"}
        return _named(self._call("PATCH", path, query=query, body=manifest, content_type="application/apply-patch+yaml"))

    def merge_patch(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        """See Kube.merge_patch."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        path = resource.path(namespace, name)
        return _named(self._call("PATCH", path, query=query, body=patch, content_type="application/merge-patch+json"))

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.create."""
        path = resource.path(manifest["metadata"].get("namespace", ""))
        return _named(self._call("POST", path, query={"fieldManager": FIELD_MANAGER}, body=manifest))

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.replace."""
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        return _named(self._call("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=manifest))

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """See Kube.delete."""
        try:
            self._call("DELETE", resource.path(namespace, name), query={"propagationPolicy": "Background"})
        except ApiFailure as failure:
            if failure.status != 404:
                raise

    def pod_log(self, namespace: str, name: str, *, container: str, limit_bytes: int, lines: int = 0, previous: bool = False) -> bytes:
        """See Kube.pod_log. The limit is asked of the kubelet and held here too."""
        path = PODS.path(namespace, name, "log")
        query = {"container": container, "limitBytes": str(limit_bytes)}
        query |= {"tailLines": str(lines) if lines else "", "previous": "true" if previous else ""}
        response = self._send("GET", path, query=query, accept="*/*")
        try:
            if response.status >= 300:
                raise _refusal(response)
            return response.read(limit_bytes, decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            raise _unreached(f"GET {path}", error) from error
        finally:
            response.close()  # what may follow is not read: the connection cannot be used again

    def _headers(self) -> dict[str, str]:
        # auth_settings() runs the package's refresh hook, so that a rotated token is picked up.
        headers = {"user-agent": FIELD_MANAGER}
        try:
            bearer = self._configuration.auth_settings().get("BearerToken")
        except (OSError, ValueError, config.ConfigException) as error:
            raise _unreached("the credentials", error) from error
        if bearer is not None and bearer["value"]:
            headers["authorization"] = bearer["value"]
        return headers

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: urllib3.Timeout = _REQUEST_TIMEOUT,
    ) -> urllib3.BaseHTTPResponse:
        pairs = {key: value for key, value in (query or {}).items() if value}
        url = f"{self._host}{path}?{urlencode(pairs)}" if pairs else f"{self._host}{path}"
        headers = {**self._headers(), "accept": accept}
        data = None
        if body is not None:
            headers["content-type"] = content_type
            data = _written(body)
        try:
            # retries=False: our queue retries whole keys with back-off, and redirects are never followed with a token.
            return self._pool.request(method, url, body=data, headers=headers, timeout=timeout, retries=False, preload_content=False)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            # ValueError: a header that cannot be sent, such as a token with a line break.
            raise _unreached(f"{method} {path}", error) from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
        most_bytes: int = 0,
    ) -> Manifest:
        response = self._send(method, path, query=query, body=body, content_type=content_type)
        try:
            if response.status >= 300:
                raise _refusal(response)
            data = response.read(most_bytes + 1, decode_content=True) if most_bytes else response.read()
            if most_bytes and len(data) > most_bytes:
                response.close()  # what follows is not read: the connection cannot be used again
                raise _TooLarge(0, "AnswerTooLarge", f"GET {path}: an answer of more than {most_bytes} bytes")
        except urllib3.exceptions.HTTPError as error:
            raise _unreached(f"{method} {path}", error) from error
        finally:
            response.release_conn()
        return _decoded(data)


def _written(body: Manifest) -> bytes:
    """JSON that a reader of YAML takes too, as the API server reads an apply: YAML knows no surrogate pairs, so what JSON would
    escape as one stays as it is; the other characters outside ASCII are escaped, since YAML takes not all of them bare."""
    text = json.dumps(body, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _refusal(response: urllib3.BaseHTTPResponse) -> ApiFailure:
    """What a refusal says, in its own words where it has any."""
    asked = retry_after_seconds(response.headers.get("retry-after"))
    try:
        data = response.read(_LONGEST_REFUSAL, decode_content=True)
    except urllib3.exceptions.HTTPError:
        data = b""  # that it refuses is known, only the words are lost
    if len(data) == _LONGEST_REFUSAL:
        response.close()  # what follows is not read: the connection cannot be used again
    try:
        return _failure(response.status, _decoded(data), asked)
    except ApiFailure:
        return ApiFailure(
            response.status, "Unknown", one_line(data[:200].decode(errors="replace"), _MAX_WORDS), retry_after_seconds=_bounded(asked)
        )


def _failure(status: int, body: Mapping[str, Any], asked: float | None) -> ApiFailure:
    """From a Status object. How long to stay away is in a header or, in the middle of a watch, in its details."""
    details = body.get("details")
    if asked is None and isinstance(details, dict):
        asked = retry_after_seconds(str(details.get("retryAfterSeconds")))
    words = one_line(str(body.get("message") or ""), _MAX_WORDS)
    return ApiFailure(status, str(body.get("reason") or "Unknown")[:100], words, retry_after_seconds=_bounded(asked))


def _bounded(asked: float | None) -> float | None:
    return None if asked is None else min(LONGEST_ASKED_SECONDS, asked)


def _unreached(what: str, error: Exception) -> ApiFailure:
    return ApiFailure(0, type(error).__name__, f"{what}: {one_line(str(error), _MAX_WORDS)}")


def _unusable(why: str) -> ApiFailure:
    return ApiFailure(0, "UnusableAnswer", f"the API server's answer cannot be used: {why}")


def _decoded(data: bytes) -> Manifest:
    """A JSON object. What is nested too deeply for the parser is as little use as what is no JSON."""
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unusable(f"no JSON ({type(error).__name__}): {data[:80]!r}") from error
    if not isinstance(decoded, dict):
        raise _unusable(f"no object: {data[:80]!r}")
    return decoded


def _named(manifest: object) -> Manifest:
    """An object that has a name, and bookkeeping of the types that everybody relies on."""
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(metadata, dict) or not metadata.get("name"):
        raise _unusable(f"an object without metadata.name: {str(manifest)[:80]!r}")
    for kind, fields in _BOOKKEEPING.items():
        for field in fields:
            if not isinstance(metadata.get(field, kind()), kind):
                raise _unusable(f"metadata.{field} of {str(metadata['name'])[:253]} is not of type {kind.__name__}")
    return manifest


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """One event each. One that is longer than anything etcd stores by default is left out as it streams by: the others go on."""
    pending = bytearray()
    skipping = False
    for chunk in response.stream(65536, decode_content=True):
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            pending += part
            if pending and not skipping:
                yield bytes(pending)
            pending.clear()
            skipping = False
        if not skipping:
            pending += rest
        if len(pending) > _LONGEST_LINE:
            _pass_over(bytes(pending[:256]))
            pending.clear()
            skipping = True


def _pass_over(head: bytes) -> None:
    """The object stays as it was last known. A deletion cannot be left out: after it everything is listed again."""
    if not _NEWS.match(head):
        raise ApiFailure(0, "LineTooLong", f"a watch line is longer than {_LONGEST_LINE} bytes: {head!r}")
    _log.warning("an event of more than %d bytes is left out, its object stays as it was: %r", _LONGEST_LINE, head)


def _event(line: bytes, resource: Resource) -> WatchEvent:
    decoded = _decoded(line)
    kind, found = decoded.get("type"), decoded.get("object")
    if not isinstance(kind, str) or not isinstance(found, dict):
        raise _unusable(f"an event of {resource.plural} without type or object: {line[:80]!r}")
    if kind == "ERROR":
        code = found.get("code")
        if code == 410:
            raise WatchExpired(resource.plural)
        raise _failure(code if isinstance(code, int) else 0, found, None)
    metadata = found.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    known = _EVENT_TYPES.get(kind)
    if known is None or not isinstance(version, str) or not version:
        raise _unusable(f"an event of {resource.plural} of an unknown type or without metadata.resourceVersion: {line[:80]!r}")
    return WatchEvent(known, found if known == "BOOKMARK" else _named(found))
