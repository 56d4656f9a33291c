"""What the answer to a form shows once: a new server key, a new sign-in link.

The form redirects, so that reloading makes nothing a second time; the note waits in the session
until the row's page shows it. It must be no use to a reader of the session: a key is sealed under
FIELD_KEYS, and of a link only the moment is kept, from which it is made again.
"""

from datetime import datetime, timedelta

from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

SESSION_KEY = "shown_once"
LASTING = timedelta(minutes=10)  # an answer that is not read by then was lost on its way


def keep(request: HttpRequest, row: Model, note: str) -> None:
    """Keep a note for the next look at the page of `row`."""
    request.session[SESSION_KEY] = [row._meta.label, row.pk, timezone.now().isoformat(), note]


def take(request: HttpRequest, row: Model) -> str | None:
    """Return the note kept for the page of `row`, and forget it; None without one."""
    kept = request.session.get(SESSION_KEY)
    if request.method != "GET" or not kept or kept[:2] != [row._meta.label, row.pk]:
        return None
    del request.session[SESSION_KEY]
    kept_at: datetime | None = parse_datetime(kept[2])
    fresh = kept_at is not None and timezone.now() - kept_at < LASTING
    return str(kept[3]) if fresh else None
