"""Error reports to Sentry, or to anything that speaks its protocol: without personal data."""

from typing import Any
from urllib.parse import urlsplit

from .logs import SECRET_NAME, redact


def problem_with(dsn: str) -> str:
    """Return what prevents reports to `dsn`, as a sentence; "" if nothing does."""
    try:
        from sentry_sdk.utils import BadDsn, Dsn
    except ImportError:
        return "SENTRY_DSN is set, but the package sentry-sdk is not installed."
    try:
        Dsn(dsn)
    except (BadDsn, ValueError):
        return "SENTRY_DSN cannot be read."
    return ""


def start(dsn: str) -> None:
    """Report unhandled errors from now on: no bodies, cookies, headers, variables or people."""
    import sentry_sdk
    from sentry_sdk.integrations.logging import ignore_logger

    ignore_logger("django.security.DisallowedHost")  # scanners; the log is enough
    sentry_sdk.init(
        dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        send_client_reports=False,
        before_send=clean,
    )


def clean(event: Any, hint: Any) -> Any:
    """Return a report without what may be secret or personal: Sentry's `before_send`."""
    request = event.get("request", {})
    event["request"] = {
        "method": request.get("method", ""),
        "url": urlsplit(request.get("url", "")).path,
    }
    event.pop("user", None)
    return redacted(event)


def redacted(value: Any) -> Any:
    """Return `value` with every string redacted, and every value under the name of a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            key: "***" if SECRET_NAME.fullmatch(str(key)) else redacted(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return value
