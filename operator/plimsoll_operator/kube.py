"""The API server over HTTP. The only module that imports the kubernetes client, and the controller's only way out.

Takes credentials, TLS and connection pooling from the kubernetes package (kubeconfig with exec plugins, or the pod's
ServiceAccount with its rotating token) and speaks JSON itself: decoding into the package's model classes costs about
25 KiB a pod and a second for 5 000 pods, decoded JSON a hundredth of that. Refuses to know any kind's meaning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.rest import RESTClientObject

from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import FIELD_MANAGER, PODS, Manifest, Page, Resource, WatchEvent

# A watch each for a dozen kinds, the workers, the pool writer and the lease.
_CONNECTIONS: Final = 32
_REQUEST_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=30.0)
# Bookmarks arrive about once a minute: a watch that is silent for longer than this is dead.
_WATCH_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=75.0)
_LONGEST_LINE: Final = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the API server is and how to speak to it, for the watcher that brings its own client (kopf)."""

    server: str
    ca_path: str | None
    insecure: bool
    authorization: str | None
    certificate_path: str | None
    private_key_path: str | None


class KubeClient:
    """The Kube protocol over HTTP. Safe to use from several threads."""

    def __init__(self, configuration: client.Configuration) -> None:
        configuration.connection_pool_maxsize = _CONNECTIONS
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._host = str(configuration.host).rstrip("/")

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
            return self._call("GET", resource.path(namespace, name))
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        """See Kube.list_page."""
        query = {"limit": str(limit), "labelSelector": selector, "continue": continue_token}
        body = self._call("GET", resource.path(namespace), query=query)
        metadata = body["metadata"]
        items = body.get("items") or []
        return Page(tuple(items), str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or ""))

    def watch(
        self, resource: Resource, *, resource_version: str, namespace: str = "", selector: str = "", timeout_seconds: int = 300
    ) -> Iterator[WatchEvent]:
        """See Kube.watch. Ends silently when the server closes the stream or stays silent beyond its bookmarks."""
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
            if response.status >= 400:
                raise _failure(response.status, response.read())
            for line in _lines(response):
                yield _event(line, resource)
        except (urllib3.exceptions.ReadTimeoutError, urllib3.exceptions.ProtocolError):
            return
        finally:
            response.close()

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """See Kube.apply."""
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return self._call("PATCH", path, query=query, body=manifest, content_type="application/apply-patch+yaml")

    def merge_patch(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        """See Kube.merge_patch."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return self._call("PATCH", resource.path(namespace, name), query=query, body=patch, content_type="application/merge-patch+json")

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.create."""
        return self._call(
            "POST", resource.path(manifest["metadata"].get("namespace", "")), query={"fieldManager": FIELD_MANAGER}, body=manifest
        )

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.replace."""
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        return self._call("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """See Kube.delete."""
        try:
            self._call("DELETE", resource.path(namespace, name), query={"propagationPolicy": "Background"})
        except ApiFailure as failure:
            if failure.status != 404:
                raise

    def pod_log(self, namespace: str, name: str, *, container: str, limit_bytes: int) -> bytes:
        """See Kube.pod_log. The limit is asked of the kubelet and held here too."""
        path = PODS.path(namespace, name, "log")
        response = self._send("GET", path, query={"container": container, "limitBytes": str(limit_bytes)}, accept="*/*")
        try:
            data = response.read(limit_bytes, decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            raise ApiFailure(0, type(error).__name__, f"GET {path}: {error}") from error
        finally:
            response.close()  # what may follow is not read: the connection cannot be used again
        if response.status >= 300:
            raise _failure(response.status, data)
        return data

    def _headers(self) -> dict[str, str]:
        # auth_settings() runs the package's refresh hook, so that a rotated token is picked up.
        headers = {"user-agent": FIELD_MANAGER}
        bearer = self._configuration.auth_settings().get("BearerToken")
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
            data = json.dumps(body).encode()
        try:
            # retries=False: our queue retries whole keys with back-off, and redirects are never followed with a token.
            return self._pool.request(method, url, body=data, headers=headers, timeout=timeout, retries=False, preload_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise ApiFailure(0, type(error).__name__, f"{method} {path}: {error}") from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        response = self._send(method, path, query=query, body=body, content_type=content_type)
        try:
            data = response.read()
        except urllib3.exceptions.HTTPError as error:
            raise ApiFailure(0, type(error).__name__, f"{method} {path}: {error}") from error
        finally:
            response.release_conn()
        if response.status >= 300:
            raise _failure(response.status, data)
        decoded: Manifest = json.loads(data)
        return decoded


def _failure(status: int, data: bytes) -> ApiFailure:
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return ApiFailure(status, "Unknown", data[:200].decode(errors="replace"))
    return ApiFailure(status, str(body.get("reason") or "Unknown"), str(body.get("message") or "")[:1000])


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    pending = b""
    for chunk in response.stream(65536, decode_content=True):
        pending += chunk
        if len(pending) > _LONGEST_LINE:
            raise ApiFailure(0, "LineTooLong", f"a watch line is longer than {_LONGEST_LINE} bytes")
        *complete, pending = pending.split(b"\n")
        yield from (line for line in complete if line)


def _event(line: bytes, resource: Resource) -> WatchEvent:
    decoded = json.loads(line)
    if decoded["type"] != "ERROR":
        return WatchEvent(decoded["type"], decoded["object"])
    status = decoded["object"]
    if status.get("code") == 410:
        raise WatchExpired(resource.plural)
    raise ApiFailure(int(status.get("code") or 0), str(status.get("reason") or "Unknown"), str(status.get("message") or ""))
