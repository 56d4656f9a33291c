from collections.abc import Sequence
from datetime import datetime

from django import template

from groups import rows
from groups.periods import Period
from groups.ranking import Standing

register = template.Library()
register.simple_tag(rows.rows)
register.simple_tag(rows.movement)


@register.filter
def thousands(number: int) -> str:
    """Separate thousands: 9781 → "9,781". Humanize's intcomma does nothing under zh-hans."""
    return f"{number:,}"


@register.filter
def titled(period: Period, now: datetime) -> str:
    return period.title(now)


@register.filter
def podium(entries: Sequence[Standing]) -> list[Standing]:
    """Return the first three of a ranking's first page, those with a rank."""
    return [standing for standing in entries[:3] if standing.rank is not None]


@register.filter
def off_podium(entries: Sequence[Standing]) -> Sequence[Standing]:
    return entries[len(podium(entries)) :]
