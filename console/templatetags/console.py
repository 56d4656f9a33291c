from collections.abc import Iterable
from datetime import datetime
from math import ceil
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timeuntil
from django.utils.timezone import now
from django.utils.translation import gettext

from console import dates

register = template.Library()

LONG = 120  # minutes that are left; console-live.js counts down from there


@register.filter
def moment(when: datetime | None) -> str:
    """Show a time in the console's one style: `11-29 12:20`."""
    return dates.moment(when)


@register.filter
def day(when: datetime | None) -> str:
    """Show the day of a time in the console's one style: `11-29`."""
    return dates.moment(when, day=True)


@register.filter
def time_left(until: datetime) -> str:
    """Say how much time is left until then: "12 min left", "6 days left"."""
    minutes = ceil((until - now()).total_seconds() / 60)
    if minutes < 1:
        return gettext("ended")
    if minutes < LONG:
        return gettext("{} min left").format(minutes)
    return gettext("%(time)s left") % {"time": timeuntil(until, depth=1)}


@register.filter
def code(text: str) -> SafeString:
    """Show what stands between backticks as code: the causes are written for docs/ as well."""
    plain, *rest = str(text).split("`")
    if len(rest) % 2:
        return format_html("{}", text)
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return format_html("{}{}", plain, format_html_join("", "<code>{}</code>{}", pairs))


@register.filter
def chosen(choices: Iterable[dict[str, Any]]) -> Any:
    """Return the words of the choice that a filter has made."""
    return next((choice["display"] for choice in choices if choice["selected"]), "–")


@register.filter
def readonly(field: Any) -> Any:
    """Show a field that cannot be changed: a time in the console's style, yes or no, a text."""
    name = field.field["name"]
    value = getattr(field.form.instance, name, None) if isinstance(name, str) else None
    match value:
        case datetime():
            return dates.moment(value)
        case bool():
            return gettext("yes") if value else gettext("no")
        case str() if value and field.contents() == value:  # what people wrote, not a choice
            return format_html("<bdi>{}</bdi>", value)
    return field.contents()
