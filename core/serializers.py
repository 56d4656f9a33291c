"""Serializers and fields that read JSON and query strings strictly."""

import re
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

# An error names this many unknown keys, and this much of each: no long echo of what was sent.
MAX_UNKNOWN, MAX_ECHO = 20, 64

# Shanghai has had no other time since 1991; by its rules each moment takes four times as long.
CHINA = timezone(timedelta(hours=8))


class StrictSerializer(serializers.Serializer[Any]):
    """Input that refuses keys it does not know, instead of ignoring a client's typing error.

    But for the `ignored` ones, which `wx` adds to results that clients then send on whole.
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"errMsg"})

    def run_validation(self, data: Any = empty) -> Any:
        if not isinstance(data, dict):
            sentence = _("The body must be a JSON object.")
            raise serializers.ValidationError({"non_field_errors": [sentence]})
        unknown = [key for key in data if key not in self.fields and key not in self.ignored]
        if unknown:
            named = {key[:MAX_ECHO]: [_("Unknown field.")] for key in unknown[:MAX_UNKNOWN]}
            raise serializers.ValidationError(named)
        return super().run_validation(data)


class NoInput(StrictSerializer):
    """For calls that take no body: an empty one, or `{}`."""


class StrictCharField(serializers.CharField):
    """A JSON string and nothing else: DRF's own field would take 5 for "5".

    `pattern`, a regular expression of JavaScript, is for the API's schema only: the code that
    reads the text enforces it.
    """

    default_error_messages = {"invalid": _("Not a string.")}

    def __init__(self, *, pattern: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pattern = pattern

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer and nothing else: DRF's own field would take "5" and 5.0 for 5."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """JSON true or false and nothing else: DRF's own field would take "yes" for true."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class QueryCharField(StrictCharField):
    """A query parameter taken as it is: a space before or after it is part of it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "trim_whitespace": False, **kwargs})


class QueryIntegerField(serializers.IntegerField):
    """A query parameter of plain digits; int() itself would read 1_0, +5 and ５ as well."""

    def to_internal_value(self, data: Any) -> int:
        if not re.fullmatch("[0-9]{1,9}", str(data)):
            self.fail("invalid")
        return super().to_internal_value(data)


@extend_schema_field(
    {"type": "string", "format": "date-time", "example": "2026-11-22T08:00:00.000+08:00"}
)
class TimestampField(serializers.DateTimeField):
    """Milliseconds and `+08:00`, the one spelling that every phone's `new Date()` reads."""

    def to_representation(self, value: datetime) -> str:
        return timestamp(value)


def timestamp(value: datetime) -> str:
    """Write a moment as `TimestampField` does."""
    return value.astimezone(CHINA).isoformat(timespec="milliseconds")


def absolute(request: Any, path: str) -> str:
    """Return the address of one of our paths for the client of `request`.

    What Django's `build_absolute_uri` returns, for many paths in one answer, or under PUBLIC_URL; a
    path that is an address already, of a CDN, stays as it is.
    """
    if not path.startswith("/") or path.startswith("//"):
        return str(request.build_absolute_uri(path))
    return f"{origin(request)}{path}"


def origin(request: Any) -> str:
    """Return PUBLIC_URL, or the scheme and host by which the client of `request` reached us."""
    request = getattr(request, "_request", request)  # DRF's has Django's
    found = settings.PUBLIC_URL or getattr(request, "groupsite_origin", None)
    if found is None:
        found = request.groupsite_origin = f"{request.scheme}://{request.get_host()}"
    return str(found)


def known_origins() -> list[str]:
    """Return the site's addresses without a request: PUBLIC_URL, then each name of ALLOWED_HOSTS
    that stands for one host."""
    names = [host for host in settings.ALLOWED_HOSTS if not host.startswith((".", "*"))]
    found = [settings.PUBLIC_URL, *(f"https://{name}" for name in names)]
    return [each for each in dict.fromkeys(found) if each]
