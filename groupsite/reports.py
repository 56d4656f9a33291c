"""Error reports to Sentry, or to anything that speaks its protocol: without personal data."""

from typing import Any

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
    # The route as the SDK has it. A path may hold an id, and it takes that where there is no route.
    is_route = event.get("transaction_info", {}).get("source") == "route"
    route = event["transaction"] = event.get("transaction", "") if is_route else ""
    event["request"] = {"method": event.get("request", {}).get("method", ""), "url": route}
    event.pop("user", None)
    # What a line was made of stands there without its names; the line itself is redacted by them.
    event.get("logentry", {}).pop("params", None)
    event.get("extra", {}).pop("sys.argv", None)  # of a command: names of operators and files
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
