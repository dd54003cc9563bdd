"""How a process of ours writes its log: a line of text a record, or a JSON object a line for who collects them.

Called once at the beginning of a process. What a record is about (namespace, name, reason) is in its `extra`. Knows no sentence.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal, TextIO, TypeAlias

LogFormat: TypeAlias = Literal["text", "json"]
FORMATS: Final[tuple[LogFormat, ...]] = ("text", "json")
ABOUT: Final = ("namespace", "name_of_object", "reason")
"""Attributes that a record may have by `extra`; `name` is the logger's in Python's own records."""
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """One object a record: time (RFC 3339, UTC), level, logger, message, what it is about, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Non-ASCII and line breaks are escaped, so that nobody's input begins a line of its own."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= {key.removesuffix("_of_object"): str(getattr(record, key)) for key in ABOUT if hasattr(record, key)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str, form: LogFormat = "text", stream: TextIO | None = None) -> None:
    """Write records of this level and above, on stderr unless told otherwise."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler])
