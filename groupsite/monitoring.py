"""/metrics, for Prometheus: what all processes of this machine have counted, and what is read when
it asks."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from console.review import QUEUE, waiting
from core.metrics import Read, Reading, exposition
from core.replica import glance, has_replica

DATABASE_UP = Reading("groupsite_database_up", "Whether the database answers: 1 or 0")
REPLICA_UP = Reading(
    "groupsite_replica_up", "Whether the replica answers at once, and is one: 1 or 0"
)
REPLICA_AGE = Reading("groupsite_replica_age_seconds", "How old what the replica shows is")
REVIEW_WAITING = Reading(
    "groupsite_review_waiting",
    "What waits for an operator, by kind; reports are one of them",
    "kind",
)
REVIEW_OLDEST = Reading(
    "groupsite_review_oldest_seconds", "For how long the first of a kind has waited", "kind"
)
DISK_SIZE = Reading(
    "groupsite_disk_size_bytes", "The file system with database or avatars", "place"
)
DISK_FREE = Reading("groupsite_disk_free_bytes", "What is free there", "place")


@csrf_exempt
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with all metrics to the one who has METRICS_TOKEN; without that there is no page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    sent = request.headers.get("Authorization", "")
    if not constant_time_compare(sent, f"Bearer {settings.METRICS_TOKEN}"):
        refused = HttpResponse("METRICS_TOKEN\n", "text/plain", status=401)
        refused["WWW-Authenticate"] = "Bearer"
        return refused
    return HttpResponse(*exposition(read))


def read() -> Iterator[Read]:
    """Read what no process counts. What cannot be read is left out."""
    yield from _database()
    for of, path in _places().items():
        with suppress(OSError):
            total, _used, free = shutil.disk_usage(path)
            yield DISK_SIZE, (of,), total
            yield DISK_FREE, (of,), free


def _database() -> Iterator[Read]:
    now = timezone.now()
    try:
        found = waiting(QUEUE.values())
    except Error:
        yield DATABASE_UP, (), 0
        return
    yield DATABASE_UP, (), 1
    if has_replica():
        replica = glance()
        yield REPLICA_UP, (), replica is not None
        if replica and replica.age is not None:
            yield REPLICA_AGE, (), max(replica.age.total_seconds(), 0)
    for kind in QUEUE:
        # No row says that none waits.
        count, since = (found[kind].count, found[kind].since) if kind in found else (0, None)
        yield REVIEW_WAITING, (kind,), count
        yield REVIEW_OLDEST, (kind,), max((now - since).total_seconds(), 0) if since else 0


def _places() -> dict[str, Path]:
    """Return where this machine keeps database and avatars, if it does."""
    places = {}
    if connection.vendor == "sqlite":
        places["database"] = Path(connection.settings_dict["NAME"]).parent
    if not settings.S3_BUCKET:
        places["avatars"] = Path(settings.MEDIA_ROOT)
    return places
