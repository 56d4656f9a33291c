"""Log lines and error reports that say which request, and hold no secret."""

import json
import logging
import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.views.debug import SafeExceptionReporterFilter

from core.context import caller, request_id
from core.database import database_is_away

CALENDAR = ZoneInfo("Asia/Shanghai")

# Of what a caller of `logger.info(…, extra=…)` adds, that which goes into the line.
EXTRAS = (
    *("method", "route", "status", "ms", "bytes", "client"),
    *("alarm", "errcode", "rid", "address"),
    *("operator", "way"),
)

# Names of secrets, and of what is personal: openid and unionid.
NAMES = r"""
    (?: secret (?: _?access )? (?: _?key )? | (?: access | api | field | server ) _? keys?
      | session _? (?: key | id ) | (?: encoding _? )? aes _? key | token s? | ticket | signature
      | credential | nick _? name | password | passwd | encrypted _? data | openid | unionid
      | (?<! [a-z0-9_] ) (?: js_ )? code )
"""
SECRET_NAME = re.compile(rf"(?ix) .* {NAMES}")

# A name, the sign after it and whatever opens the value, also where quotes are escaped as in a
# JSON text within another; bearers; links that sign in; server keys; the user's part of a URL; and
# the values that PostgreSQL and MariaDB quote when a constraint fails.
SECRET = re.compile(
    rf"""(?ix)
    ( {NAMES} \\*["']? \s* (?: [=:] | %3[ad] ) (?: [\s\[(] | \\*b?["'] )* )
      (?: \\(?!["']) | [^\s"'&,}}\\] )+
    | ( \b bearer \s+ | (?-i: \b Key ) \s+ (?= \S{{16}} ) ) \S+
    | ( (?: / | %2f ) (?: sign-in (?: / | %2f ) \d+ | g ) (?: / | %2f ) (?! < ) ) [^/\s"']+
    | ( :// ) [^/\s"'@]+ (?= @ )
    | ( \b gsk_ ) [\w-]{{16,}}
    | ( \b DETAIL: ) [^\n]+
    | ( Duplicate \s entry \s \\*' ) [^'\\]+
    """
)


def redact(text: str) -> str:
    """Return `text` with the values of WeChat's and our own secrets replaced by ***."""
    return SECRET.sub(lambda match: f"{match[match.lastindex or 0]}***", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line.

    Always `time` (Asia/Shanghai, milliseconds), `level`, `logger`, `message`; where there are such
    `requestId`, `userId` (our own), `appid`, EXTRAS and `exception`. Redacted before it is escaped,
    tracebacks included: urllib3 and requests quote whole URLs.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, CALENDAR).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_context(),
            **{name: getattr(record, name, None) for name in EXTRAS},
            "exception": self._exception(record),
        }
        said = {name: _plain(value) for name, value in line.items() if value not in (None, "")}
        # A lone surrogate becomes an escape, which JSON reads and no stream refuses.
        return json.dumps(said, ensure_ascii=False).encode(errors="backslashreplace").decode()

    def _exception(self, record: logging.LogRecord) -> str | None:
        if record.exc_info and record.exc_info[0]:
            return self.formatException(record.exc_info)
        return record.stack_info


def _context() -> dict[str, Any]:
    """Return what is known of the request at hand."""
    id, who = request_id.get(), caller.get()
    return {"requestId": None if id == "-" else id, "userId": who.user_id, "appid": who.app_id}


def _plain(value: Any) -> int | float | str:
    return value if isinstance(value, int | float) else redact(str(value))


class CrashFilter(logging.Filter):
    """Lets only crashes through of Django's lines about requests: the access line says the rest.

    A database that is away is no crash, and has been logged as a warning.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return record.levelno >= logging.ERROR and bool(error) and not database_is_away(error)


class ReportFilter(SafeExceptionReporterFilter):
    """Error reports without local variables: most of ours hold a code, a token or a key."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|REDIS_URL|LOCATION|DSN|PROXY",
        re.IGNORECASE,
    )

    def get_traceback_frame_variables(self, request: Any, tb_frame: Any) -> Any:
        if self.is_active(request):
            return []
        return super().get_traceback_frame_variables(request, tb_frame)
