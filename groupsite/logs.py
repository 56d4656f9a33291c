"""Log lines that carry the request's id and no secret."""

import logging
import re
from contextvars import ContextVar
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

request_id: ContextVar[str] = ContextVar("request_id", default="-")

SECRET = re.compile(
    r"""(?ix)
    ( \b (?: secret | js_code | code | session_key | access_token | token | ticket )
      ["']? \s* [=:] \s* ["']? )
    [^\s"'&,}]+
    | ( \b bearer \s+ ) \S+
    | ( / (?: sign-in/\d+ | g ) / ) [^/\s]+
    """
)


def redact(text: str) -> str:
    """`text` with the values of WeChat's and our own secrets starred out."""
    return SECRET.sub(lambda match: f"{match[1] or match[2] or match[3]}***", text)


class RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class RedactingFormatter(logging.Formatter):
    """Redacts the finished line, tracebacks included: urllib3 and requests quote whole URLs."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class ReportFilter(SafeExceptionReporterFilter):
    """Error reports without local variables: most of ours hold a code, a token or a key."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|REDIS_URL|LOCATION|DSN",
        re.IGNORECASE,
    )

    def get_traceback_frame_variables(self, request: Any, tb_frame: Any) -> Any:
        if self.is_active(request):
            return []
        return super().get_traceback_frame_variables(request, tb_frame)
