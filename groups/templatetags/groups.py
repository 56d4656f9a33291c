from collections.abc import Sequence
from datetime import datetime

from django import template
from django.utils.translation import get_language

from groups.models import Board
from groups.periods import Period
from groups.ranking import Standing

register = template.Library()

ROOM = len("9,999,999")  # what fits beside a name on a small phone
CHINESE = ((10**12, "万亿"), (10**8, "亿"), (10**4, "万"))
ENGLISH = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


@register.filter
def thousands(number: int) -> str:
    """Separate thousands: 9781 → "9,781". Humanize's intcomma does nothing under zh-hans."""
    return f"{number:,}"


@register.filter
def compact(standing: Standing, board: Board) -> str:
    """Round a score too long for its row, 12,345,678 → "1,235万"; "" for one that fits."""
    if standing.score is None or len(standing.score_text or "") <= ROOM:
        return ""
    value = standing.score / 10**board.decimals
    for size, unit in ENGLISH if get_language() == "en" else CHINESE:
        if abs(value) >= size:
            return f"{value / size:,.{int(abs(value) < 1000 * size)}f}{unit}"
    return ""


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
