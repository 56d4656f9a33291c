"""The console's one style of dates: `11-29 12:20`, with the year where it is not this one."""

from datetime import datetime

from django.utils.html import format_html
from django.utils.timezone import localtime, now


def moment(when: datetime | None, *, day: bool = False) -> str:
    """Return a time as the console shows it, in the site's zone; its day alone with `day`.

    A year that is not the current one comes first: `2025-11-29 12:20`. "–" stands for None. The
    pointer shows the whole of it, to the second.
    """
    if when is None:
        return "–"
    local = localtime(when)
    year = "" if local.year == localtime(now()).year else f"{local.year:04}-"
    clock = "" if day else f" {local:%H:%M}"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        f"{local:%Y-%m-%d %H:%M:%S}",
        f"{year}{local:%m-%d}{clock}",
    )


def clock(when: datetime) -> str:
    """Return a time to the second, with its day where that is not today: `12:03:05`."""
    local = localtime(when)
    day = "" if local.date() == localtime(now()).date() else f"{local:%m-%d} "
    return format_html(
        '<time datetime="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        f"{day}{local:%H:%M:%S}",
    )
