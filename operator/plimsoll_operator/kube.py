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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.rest import RESTClientObject

from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import FIELD_MANAGER, PODS, SUBJECT_ACCESS_REVIEWS, Account, Manifest, Page, Resource, WatchEvent
from plimsoll_operator.undeclared import Undeclared
from plimsoll_operator.wire import (
    LONGEST_REFUSAL,
    SILENCE_SECONDS,
    AnswerTooLarge,
    Lines,
    PageSize,
    decoded,
    event_of,
    named,
    page_of,
    refusal_of,
    unreached,
)

_log = logging.getLogger(__name__)
# A watch each for a dozen kinds, the workers, the pool writer and the lease.
_CONNECTIONS: Final = 32
_PAGE: Final = 500
_REQUEST_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=30.0)
_ESCAPED: Final = re.compile("[\x7f-\uffff]")
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


class KubeClient:
    """The Kube protocol over HTTP. Safe to use from several threads."""

    def __init__(self, configuration: client.Configuration, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        configuration.connection_pool_maxsize = _CONNECTIONS
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._host = str(configuration.host).rstrip("/")
        self._page_sizes: dict[Resource, PageSize] = {}
        self._undeclared = Undeclared()
        self._watch_timeout = urllib3.Timeout(connect=5.0, read=silence_seconds)

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
            return named(self._call("GET", resource.path(namespace, name)))
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        """See Kube.list_page. A page that is too large is asked for again with fewer objects: users choose how large those are."""
        size = self._page_sizes.setdefault(resource, PageSize(_PAGE)) if limit == _PAGE else PageSize(limit)
        while True:
            query = {"limit": str(size.limit), "labelSelector": selector, "continue": continue_token}
            try:
                body = self._answer("GET", resource.path(namespace), query=query, most_bytes=size.most_bytes)
            except AnswerTooLarge:
                if not size.shrink():
                    raise
            else:
                size.read()
                return page_of(body, resource.plural)

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
        response = self._send("GET", resource.path(namespace), query=query, timeout=self._watch_timeout)
        try:
            if response.status == 410:
                raise WatchExpired(resource.plural)
            if response.status >= 300:
                raise _refusal(response)
            lines = Lines()
            for chunk in response.stream(65536, decode_content=True):
                for line in lines.of(chunk):
                    yield event_of(line, resource.plural)
        except _NO_FAILURE:
            return
        except urllib3.exceptions.HTTPError as error:
            raise unreached(f"watch of {resource.plural}", error) from error
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
        return named(self._call("PATCH", path, query=query, body=manifest, content_type="application/apply-patch+yaml"))

    def merge_patch(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        """See Kube.merge_patch."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        path = resource.path(namespace, name)
        return named(self._call("PATCH", path, query=query, body=patch, content_type="application/merge-patch+json"))

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.create."""
        path = resource.path(manifest["metadata"].get("namespace", ""))
        return named(self._call("POST", path, query={"fieldManager": FIELD_MANAGER}, body=manifest))

    def dry_run_create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.dry_run_create."""
        path = resource.path(manifest["metadata"].get("namespace", ""))
        return named(self._call("POST", path, query={"fieldManager": FIELD_MANAGER, "dryRun": "All"}, body=manifest))

    def may(self, account: Account, verb: str, resource: Resource, subresource: str = "") -> bool:
        """See Kube.may."""
        asked = {"verb": verb, "group": resource.group, "resource": resource.plural, "subresource": subresource}
        spec = {"user": account.user, "groups": list(account.groups), "resourceAttributes": asked}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": SUBJECT_ACCESS_REVIEWS.kind, "spec": spec}
        answer = self._call("POST", SUBJECT_ACCESS_REVIEWS.path(), body=review)
        status = answer.get("status") if isinstance(answer, dict) else None
        return isinstance(status, dict) and status.get("allowed") is True

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.replace."""
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        return named(self._call("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=manifest))

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
            raise unreached(f"GET {path}", error) from error
        finally:
            response.close()  # what may follow is not read: the connection cannot be used again

    def _headers(self) -> dict[str, str]:
        # auth_settings() runs the package's refresh hook, so that a rotated token is picked up.
        headers = {"user-agent": FIELD_MANAGER}
        try:
            bearer = self._configuration.auth_settings().get("BearerToken")
        except (OSError, ValueError, config.ConfigException) as error:
            raise unreached("the credentials", error) from error
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
            raise unreached(f"{method} {path}", error) from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        return decoded(self._answer(method, path, query=query, body=body, content_type=content_type))

    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
        most_bytes: int = 0,
    ) -> bytes:
        response = self._send(method, path, query=query, body=body, content_type=content_type)
        try:
            if response.status >= 300:
                raise _refusal(response)
            data = response.read(most_bytes + 1, decode_content=True) if most_bytes else response.read()
            if most_bytes and len(data) > most_bytes:
                response.close()  # what follows is not read: the connection cannot be used again
                raise AnswerTooLarge(f"GET {path}", most_bytes)
        except urllib3.exceptions.HTTPError as error:
            raise unreached(f"{method} {path}", error) from error
        finally:
            response.release_conn()
        return data


def _written(body: Manifest) -> bytes:
    """JSON that a reader of YAML takes too, as the API server reads an apply: YAML knows no surrogate pairs, so what JSON would
    escape as one stays as it is; the other characters outside ASCII are escaped, since YAML takes not all of them bare."""
    text = json.dumps(body, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _refusal(response: urllib3.BaseHTTPResponse) -> ApiFailure:
    """What a refusal says, of which only the beginning is read."""
    try:
        data = response.read(LONGEST_REFUSAL, decode_content=True)
    except urllib3.exceptions.HTTPError:
        data = b""  # that it refuses is known, only the words are lost
    if len(data) == LONGEST_REFUSAL:
        response.close()  # what follows is not read: the connection cannot be used again
    return refusal_of(response.status, response.headers.get("retry-after"), data)
