import hashlib
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from wechat.client import Session
from wechat.crypto import Envelope, UnsealError, check_watermark, group_in, unseal

from .errors import BindLocked, SessionStale
from .fields import NicknameField, OpaqueIdField
from .vault import lock_away, take_out

PREVIOUS_KEY_LIFETIME = timedelta(minutes=10)
STALE_WINDOW = timedelta(hours=1)
STALE_LIMIT = 10
TOKEN_LIFETIME = timedelta(days=30)


def random_seed() -> str:
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class GroupProof:
    """What an opened envelope proves: the group, or None where it names none."""

    open_gid: str | None
    watermarked: bool


class WeChatUser(models.Model):
    """A person within one mini-program, known by openid; Django's `User` is an operator."""

    class Status(models.TextChoices):
        ACTIVE = "active", pgettext_lazy("member", "active")
        BLOCKED = "blocked", pgettext_lazy("member", "blocked")

    app_id = OpaqueIdField(_("appid"))
    openid = OpaqueIdField(_("openid"))
    unionid = OpaqueIdField(_("unionid"), blank=True)
    nickname = NicknameField(_("nickname"))
    avatar_seed = models.CharField(max_length=22, default=random_seed, editable=False)
    status = models.CharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.ACTIVE
    )
    created_at = models.DateTimeField(_("first seen"), default=timezone.now, editable=False)

    # Ciphertext; only `keep_session` writes it and only `_session_keys` opens it.
    session_key = models.CharField(max_length=255, blank=True, editable=False)
    previous_session_key = models.CharField(max_length=255, blank=True, editable=False)
    session_key_at = models.DateTimeField(_("session since"), null=True, editable=False)

    # Envelopes this user sent that did not open: how many since when.
    stale_count = models.PositiveSmallIntegerField(default=0, editable=False)
    stale_since = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[models.Manager["WeChatUser"]] = models.Manager()

    is_authenticated = True  # what DRF's IsAuthenticated asks of request.user

    class Meta:
        verbose_name = verbose_name_plural = _("member")
        constraints = [
            models.UniqueConstraint(fields=["app_id", "openid"], name="one_user_per_openid")
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        """The nickname, or what WeChat itself calls a person who gave none."""
        return self.nickname or gettext("WeChat user")

    @property
    def profile_complete(self) -> bool:
        return bool(self.nickname)

    @property
    def avatar_path(self) -> str:
        return reverse("default-avatar", args=[self.avatar_seed])

    @property
    def is_blocked(self) -> bool:
        return self.status == self.Status.BLOCKED

    def keep_session(self, session: Session, now: datetime) -> None:
        """Remember WeChat's answer to a log-in; the key before it opens for ten minutes more."""
        self.unionid = session.unionid or self.unionid
        if take_out(self.session_key) != session.session_key:
            self.previous_session_key = self.session_key
            self.session_key = lock_away(session.session_key)
            self.session_key_at = now
        self.save(
            update_fields=["unionid", "session_key", "previous_session_key", "session_key_at"]
        )

    def unseal_group(self, envelope: Envelope) -> GroupProof:
        """Open group data that WeChat encrypted for this user.

        Raises SessionStale, whatever the reason, so that no answer tells one reason from another;
        BindLocked after ten of those within an hour.
        """
        now = timezone.now()
        self.refuse_when_locked(now)
        for key in self._session_keys(now):
            with suppress(UnsealError):
                return self._read_group(key, envelope, now)
        self._count_stale(now)
        raise SessionStale

    def refuse_when_locked(self, now: datetime) -> None:
        """Raises BindLocked while ten envelopes of the current hour did not open."""
        if self.stale_since is None or self.stale_count < STALE_LIMIT:
            return
        wait = (self.stale_since + STALE_WINDOW - now).total_seconds()
        if wait > 0:
            raise BindLocked(wait)

    def _session_keys(self, now: datetime) -> Iterator[str]:
        if key := take_out(self.session_key):
            yield key
        recent = self.session_key_at and self.session_key_at > now - PREVIOUS_KEY_LIFETIME
        if recent and (key := take_out(self.previous_session_key)):
            yield key

    def _read_group(self, key: str, envelope: Envelope, now: datetime) -> GroupProof:
        payload = unseal(key, envelope)
        watermarked = check_watermark(
            payload,
            self.app_id,
            now.timestamp(),
            settings.WATERMARK_MAX_AGE,
            required=settings.WATERMARK_REQUIRED,
        )
        return GroupProof(group_in(payload), watermarked)

    def _count_stale(self, now: datetime) -> None:
        # Conditional updates, so that requests at the same moment get exactly ten between them.
        me = WeChatUser.objects.filter(pk=self.pk)
        this_hour = Q(stale_since__gt=now - STALE_WINDOW)
        this_hour_open = me.filter(this_hour, stale_count__lt=STALE_LIMIT)
        no_hour_yet = me.exclude(this_hour)
        counted = (
            this_hour_open.update(stale_count=F("stale_count") + 1)
            or no_hour_yet.update(stale_count=1, stale_since=now)
            or this_hour_open.update(stale_count=F("stale_count") + 1)
        )
        if not counted:
            self.refresh_from_db(fields=["stale_count", "stale_since"])
            self.refuse_when_locked(now)


class TokenManager(models.Manager["Token"]):
    def issue(self, user: WeChatUser, now: datetime) -> tuple[str, "Token"]:
        """A new token for `user` and its row; the text exists nowhere else afterwards."""
        text = secrets.token_urlsafe(32)
        row = self.create(
            user=user,
            digest=digest_of(text),
            created_at=now,
            expires_at=now + TOKEN_LIFETIME,
        )
        return text, row

    def valid(self, text: str, now: datetime) -> "Token | None":
        """The row of a token that has neither expired nor been revoked, with its user."""
        rows = self.select_related("user").filter(digest=digest_of(text), expires_at__gt=now)
        return rows.first()


class Token(models.Model):
    """A log-in of ours: 256 random bits, of which only the SHA-256 is kept."""

    user = models.ForeignKey(WeChatUser, models.CASCADE, related_name="tokens")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    objects: ClassVar[TokenManager] = TokenManager()

    class Meta:
        verbose_name = verbose_name_plural = _("token")

    def __str__(self) -> str:
        return f"token {self.pk}"


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
