"""The keys with which a team's own back end calls."""

import secrets
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.fields import OpaqueIdField
from core.vault import digest_of

SCHEME = "gsk_"  # by which people, and scanners for leaked secrets, know one of our keys
SHOWN = 8  # characters of a text that stay visible: four of the scheme, four of its own
USE_STEP = timedelta(minutes=1)


class ServerKeyManager(models.Manager["ServerKey"]):
    def issue(self, app_id: str, name: str, now: datetime) -> tuple[str, "ServerKey"]:
        """Make a key; return its text, which exists nowhere else afterwards, and its row."""
        key = ServerKey(app_id=app_id, name=name)
        return key.rotate(now), key

    def valid(self, text: str) -> "ServerKey | None":
        """Return the row of a key that has not been revoked, or None."""
        return self.filter(digest=digest_of(text), revoked_at=None).first()


class ServerKey(models.Model):
    """What a team's own back end calls with, for one mini-program; only its SHA-256 is kept."""

    app_id = OpaqueIdField(_("appid"))
    name = models.CharField(
        _("name"),
        max_length=40,
        help_text=_("Which server or job uses it, so that you can tell keys apart."),
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("made"), editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)
    # Of the present text, not of those before it was rotated.
    prefix = models.CharField(max_length=8, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[ServerKeyManager] = ServerKeyManager()

    is_authenticated = True  # what DRF's IsAuthenticated asks of request.user

    class Meta:
        verbose_name = verbose_name_plural = _("server key")

    def __str__(self) -> str:
        return self.name

    def rotate(self, now: datetime) -> str:
        """Give this key a new text and return it; the old one ends at once."""
        text = SCHEME + secrets.token_urlsafe(32)
        self.digest, self.prefix = digest_of(text), text[:SHOWN]
        self.created_at, self.last_used_at = now, None
        self.save()
        return text

    def used(self, now: datetime) -> None:
        """Note that the key was used, at most once a minute.

        Most calls write nothing. Of those that come at the turn of a minute, the condition lets one
        through, and each holds the row for no longer than its own statement.
        """
        last = now - USE_STEP
        if self.last_used_at is None or self.last_used_at < last:
            due = Q(last_used_at=None) | Q(last_used_at__lt=last)
            ServerKey.objects.filter(due, pk=self.pk, digest=self.digest).update(last_used_at=now)
