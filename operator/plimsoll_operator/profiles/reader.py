"""python -m plimsoll_operator.profiles.reader: the reader pod's program. One shape with the rights of a namespace's own user.

Reads a folder (a mounted volume or image), a model in the hub's cache there, or the hub (HF_TOKEN, HF_ENDPOINT), and prints one marked line
(`frame`). Why there is none is told by the exit status and a sentence in the pod's termination message. Talks to no API server, and never
prints the token.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.profiles.build import Target, build_profile
from plimsoll_operator.profiles.cache import in_cache
from plimsoll_operator.profiles.directory import Directory
from plimsoll_operator.profiles.frame import encode
from plimsoll_operator.profiles.library import HubMissing, hub_type
from plimsoll_operator.profiles.source import NotPermitted, Source, SourceFailure
from plimsoll_operator.reasons import NoShape

TERMINATION_LOG: Final = Path("/dev/termination-log")
_MAX_SENTENCE: Final = 1024
_PERMIT: Final = (
    "Let others read it (chmod -R a+rX), or have it read as its owner, never as root: "
    "spec.template.securityContext.runAsUser and runAsGroup, or reader.runAsUser of the chart"
)
_SENT: Final = ("model", "revision", "config", "weights")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the shape; the status is 0, or the one that names why there is none."""
    options = _arguments(argv)
    target = Target(model=options.model, namespace="default", name="x", obtained_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    try:
        spec = build_profile(_source(options), target, _progress).manifest["spec"]
        line = encode(options.request, {key: spec[key] for key in _SENT if key in spec})
    except HubMissing as error:
        return _end(NoShape.UNSUPPORTED, str(error), options.termination_log)
    except InvalidInput as error:
        return _end(NoShape.INVALID, str(error), options.termination_log)
    except NotPermitted as failure:
        return _end(failure.reason, f"{failure.message}. {_PERMIT}", options.termination_log)
    except SourceFailure as failure:
        return _end(failure.reason, failure.message, options.termination_log)
    print(line, flush=True)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="plimsoll_operator.profiles.reader", description="Print a model's shape as one marked line.")
    parser.add_argument("--request", required=True, help="what the line names as its request")
    parser.add_argument("--model", required=True, metavar="NAME", help="the model as spec.model.name says it")
    parser.add_argument("--revision", metavar="R", help="branch, tag or commit")
    parser.add_argument("--termination-log", type=Path, default=TERMINATION_LOG, help="where a sentence about a failure goes")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--directory", type=Path, help="checkpoint folder")
    source.add_argument("--hub-cache", type=Path, help="folder that the hub's client keeps models in (HF_HUB_CACHE)")
    source.add_argument("--hub", action="store_true", help="the Hugging Face hub, with HF_TOKEN")
    return parser.parse_args(argv)


def _source(options: argparse.Namespace) -> Source:
    if options.directory is not None:
        return Directory(options.directory, revision=options.revision)
    if options.hub_cache is not None:
        return in_cache(options.hub_cache, options.model, options.revision)
    return hub_type().resolve(options.model, options.revision)


def _progress(done: int, total: int, _name: str) -> None:
    """At most ten lines for whoever follows the log; names stay out of it."""
    if done and done * 10 // total != (done - 1) * 10 // total:
        print(f"{done} of {total} headers", file=sys.stderr, flush=True)


def _end(reason: NoShape, sentence: str, log: Path) -> int:
    """Say why in the termination message, where the kubelet gives one, else on stderr."""
    text = _printable(_without_token(sentence))[:_MAX_SENTENCE]
    try:
        log.write_text(text, encoding="utf-8")
    except OSError:  # not in a pod
        print(text, file=sys.stderr)
    return reason.exit_status


def _without_token(text: str) -> str:
    """No message holds it; should a library ever quote a request, this is the last door."""
    for token in (os.environ.get("HF_TOKEN", ""), os.environ.get("HF_TOKEN", "").strip()):
        if token:
            text = text.replace(token, "(token)")
    return text


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


if __name__ == "__main__":
    sys.exit(main())
