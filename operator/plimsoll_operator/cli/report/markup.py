"""The page as HTML: one door to the template engine. Every value is escaped; the style is ours, and nothing else runs or is fetched.

Called by the command. Knows no deployment and decides nothing. The page forbids itself by a policy in its head whatever is not its own
style, so that text which got past the escaping would still do nothing.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.report.bars import SCALE
from plimsoll_operator.cli.report.memory import LEGEND
from plimsoll_operator.cli.report.page import FITS, REFUSED, UNKNOWN, Page

try:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
except ModuleNotFoundError as error:
    raise InvalidInput("report", error.name, "needs the extra 'report': pip install 'plimsoll-operator[report]'") from error


def html_of(page: Page) -> str:
    """The page, complete in itself."""
    own = files(__package__)
    style = own.joinpath("page.css").read_text("utf-8")
    template = own.joinpath("page.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(template).render(
        page=page,
        style=Markup(style),
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        scale=SCALE,
        legend=LEGEND,
        counts=((page.count(FITS), "fit"), (page.count(REFUSED), "do not fit"), (page.count(UNKNOWN), "are not known to fit")),
    )
