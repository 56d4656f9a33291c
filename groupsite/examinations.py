"""What `manage.py doctor` examines of the site as a whole."""

import secrets
import time
from collections.abc import Iterator

from django.conf import settings
from django.db import connection
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from accounts.avatars.storage import avatar_path
from core.doctor import Finding, error, examination, ok, warning
from core.limits import SharedCounts
from core.serializers import known_origins
from wechat.transport import FetchError, fetch

from .checks import connections_granted, connections_wanted, processes

SLOW_CACHE = 100  # milliseconds


@examination("connections", "groupsite.W002")
def examine_connections() -> Iterator[Finding]:
    """Compare the connections that the database grants with those that this machine may open."""
    if connection.vendor == "sqlite":
        yield ok(_("SQLite grants connections without limit."))
        return
    granted, (workers, wanted) = connections_granted(), connections_wanted()
    if granted is None:
        yield warning(
            _("How many connections the database grants cannot be read."),
            _("See the finding about the database."),
        )
        return
    saw = format_lazy(
        _("{workers} processes may open {wanted} connections; the database grants {granted}."),
        workers=workers,
        wanted=wanted,
        granted=granted,
    )
    if wanted <= granted:
        yield ok(saw)
    else:
        yield error(
            saw,
            _(
                "Raise the database's max_connections, run fewer processes or threads, or on "
                "PostgreSQL set DATABASE_POOL lower."
            ),
        )


@examination("cache", "groupsite.E007", "groupsite.E008")
def examine_cache() -> Iterator[Finding]:
    """Let Redis keep something, and look how long that takes."""
    if not settings.REDIS_URL:
        yield _without_redis(processes())
        return
    try:
        redis = SharedCounts(settings.REDIS_URL)
    except (ImportError, ValueError):
        yield error(
            _("REDIS_URL cannot be read, or the package redis is not installed."),
            _("Write REDIS_URL=redis://:password@host:6379/0, and install requirements/redis.txt."),
        )
        return
    name, began = f"{redis.prefix}doctor", time.monotonic()
    try:
        redis.client.set(name, "kept", ex=60)
        kept = redis.client.get(name)
        redis.client.delete(name)
    except redis.error as problem:
        yield error(
            format_lazy(_("Redis did not answer in time ({kind})."), kind=type(problem).__name__),
            _("See whether it runs, its password, and its maxmemory. Throttles count by process."),
        )
        return
    milliseconds = round(1000 * (time.monotonic() - began))
    if kept != b"kept" or milliseconds > SLOW_CACHE:
        yield warning(
            format_lazy(_("Redis is slow: {ms} ms for three commands."), ms=milliseconds),
            _("Every request waits for it: put it on the same network, and see its load."),
        )
    else:
        yield ok(format_lazy(_("Redis answers, three commands in {ms} ms."), ms=milliseconds))


def _without_redis(workers: int) -> Finding:
    if workers == 1:
        return ok(_("One process, so none is needed."))
    return warning(
        format_lazy(_("{workers} processes, and each throttles by itself."), workers=workers),
        _("Set REDIS_URL, so that a limit holds for all of them together."),
    )


@examination("public_url")
def examine_public_url() -> Iterator[Finding]:
    """Ask the public address whether it is alive, over HTTPS, and whether it is this site."""
    base = settings.PUBLIC_URL
    if not base:
        yield ok(_("PUBLIC_URL is not set: addresses are given out as each request names them."))
        return
    if not base.startswith("https://"):
        yield error(
            format_lazy(_("PUBLIC_URL is {base}, which is not HTTPS."), base=base),
            _("Write PUBLIC_URL=https://…: mini-programs open nothing else."),
        )
        return
    try:
        alive = fetch(f"{base}/livez")
        # An address that only a site with our SECRET_KEY answers.
        ours = fetch(base + avatar_path("", secrets.token_urlsafe(16)))
    except FetchError as problem:
        yield _no_answer(base, problem.reason)
        return
    if alive.status != 200:
        saw = _("{base}/livez answers {status}.")
        yield error(
            format_lazy(saw, base=base, status=alive.status),
            _("See whether the site runs, and the proxy passes every path on to it."),
        )
    elif ours.status != 200 or ours.headers.get("Content-Type") != "image/webp":
        yield error(
            format_lazy(_("At {base} another site answers."), base=base),
            _("See PUBLIC_URL, the DNS and the proxy: it has to be a site with this SECRET_KEY."),
        )
    else:
        yield ok(format_lazy(_("{base} answers over HTTPS, and is this site."), base=base))


@examination("cloud_run")
def examine_cloud_run() -> Iterator[Finding]:
    """With WECHAT_CLOUD, ask each public name as anyone can: no service that trusts may answer."""
    if not settings.WECHAT_CLOUD:
        yield ok(_("X-WX-* are ignored here."))
        return
    bases = known_origins()
    exposed = [base for base in bases if _trusts_anyone(base)]
    for base in exposed:
        yield error(
            format_lazy(_("{base} answers to anyone, and trusts X-WX-* of anyone."), base=base),
            _("Switch this service's public access off at once, and use another for browsers."),
        )
    if not bases:
        yield warning(
            _("No public name is known, so none was asked whether it leads here."),
            _("Set PUBLIC_URL, and put this service's own names into ALLOWED_HOSTS."),
        )
    elif not exposed:
        names = ", ".join(bases)
        yield ok(format_lazy(_("No service that trusts X-WX-* answers at {names}."), names=names))


def _trusts_anyone(base: str) -> bool:
    """Return whether a call without the gateway's headers is refused as WECHAT_CLOUD does it."""
    try:
        answered = fetch(f"{base}/api/v1/boards")
    except FetchError:
        return False  # nothing answers; of PUBLIC_URL another examination says it
    return answered.status == 403 and b"permission_denied" in answered.body


def _no_answer(base: str, reason: str) -> Finding:
    if reason == "certificate":
        return error(
            format_lazy(_("The certificate of {base} is not valid."), base=base),
            _("Renew it, for this name and with its intermediate certificates: certbot renew."),
        )
    return error(
        format_lazy(_("{base} did not answer ({reason})."), base=base, reason=reason),
        _("See the DNS, the firewall and the proxy; this server has to reach it as well."),
    )
