"""Why a log-in or a bind fails: what the client gets, what it means, what fixes it.

For operators. Clients get one and the same answer for many of these, and that has to stay so. Each
app registers the causes that it raises; docs/integration.md lists all of them.
"""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Cause:
    """One cause by its `key`, a number of WeChat's or a word of ours; the client gets `code`."""

    key: str
    code: str
    means: str | Promise
    todo: str | Promise


CAUSES: dict[str, Cause] = {}


def register(*causes: Cause) -> None:
    """Add causes to CAUSES. Raises ValueError for a key that is taken."""
    for cause in causes:
        if cause.key in CAUSES:
            raise ValueError(f"Two causes are called {cause.key}.")
        CAUSES[cause.key] = cause


register(
    Cause(
        "invalid",
        "invalid",
        _("The request lacks something, or holds something unknown."),
        _("`fields` in the answer says what; the client kit sends it right."),
    ),
    Cause(
        "unknown_app",
        "invalid",
        _("The appid was not sent, or is not configured here."),
        _("Send the mini-program's own appid, and name it in WECHAT_APPS."),
    ),
    Cause(
        "not_json",
        "invalid",
        _("The body is not JSON, or ended early."),
        _("Send an object as `data` of wx.request, with Content-Type application/json."),
    ),
    Cause(
        "form",
        "unsupported_media_type",
        _("The body came as a form, which turns + into a space."),
        _("Set the header Content-Type to application/json."),
    ),
    Cause(
        "too_large",
        "too_large",
        _("The body is larger than 256 KiB."),
        _("Send `encryptedData` and `iv`, and nothing beside them."),
    ),
    Cause(
        "malformed",
        "invalid",
        _("`encryptedData` or `iv` is missing, or is not base64 as WeChat sends it."),
        _("Hand both on unaltered, as JSON: neither URL-encoded nor trimmed."),
    ),
    Cause(
        "crash",
        "server_error",
        _("A fault of this site."),
        _("The log has it under the same request id; report it."),
    ),
    Cause(
        "erased",
        "invalid_token",
        _("The member was erased while the call was under way."),
        _("Log in again."),
    ),
)
