"""Members, their credentials, and what outlives them."""

import logging
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, When
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from audit import attempts
from core.fields import OpaqueIdField
from core.vault import decrypt, digest_of, encrypt
from wechat.client import Session
from wechat.crypto import Envelope, UnsealError, check_watermark, group_in, is_single_chat, unseal

from .avatars.storage import avatar_path, random_key
from .errors import BindLocked, SessionStale
from .fields import NicknameField
from .review import Reviewed, StateField

logger = logging.getLogger(__name__)

PREVIOUS_KEY_LIFETIME = timedelta(minutes=10)
STALE_WINDOW = timedelta(hours=1)
STALE_LIMIT = 10
TOKEN_LIFETIME = timedelta(days=30)
UNOPENED = ("padding", "encoding", "json")  # how an envelope fails to open, the farthest last


@dataclass(frozen=True)
class GroupProof:
    """What an opened envelope proves: the group, or None where it names none."""

    open_gid: str | None
    watermarked: bool
    single_chat: bool = False


class WeChatUserManager(models.Manager["WeChatUser"]):
    def meet(self, app_id: str, openid: str) -> "WeChatUser":
        """Return the member of that openid, creating one on the first visit.

        After an erasure they begin with the block and the lock they had.
        """
        who = {"app_id": app_id, "openid": openid}
        if user := self.filter(**who).first():
            return user
        tombstone = Tombstone.objects.of(app_id, openid)
        # Outside of any transaction: on MariaDB racing inserts keep a shared lock on the row that
        # won, and two of those could not both take the lock that a log-in needs next.
        defaults = tombstone.restrictions() if tombstone else {}
        user, created = self.get_or_create(**who, defaults=defaults)
        if created and tombstone:
            Tombstone.objects.filter(pk=tombstone.pk).update(blocked=False)
        return user

    def lock(self, pk: int) -> "WeChatUser":
        """Lock the member's row until the transaction ends, and return it.

        Everything that changes a member takes this lock first, so that changes come one after
        another. Raises DoesNotExist after an erasure.
        """
        return self.select_for_update().get(pk=pk)


class WeChatUser(Reviewed):
    """A member: a person within one mini-program, known by openid. Django's `User` is an operator.

    Nickname and avatar are under review: see accounts/review.py.
    """

    class Status(models.TextChoices):
        ACTIVE = "active", pgettext_lazy("member", "active")
        BLOCKED = "blocked", pgettext_lazy("member", "blocked")

    app_id = OpaqueIdField(_("appid"))
    openid = OpaqueIdField(_("openid"))
    unionid = OpaqueIdField(_("unionid"), blank=True)
    nickname = NicknameField(_("nickname"))
    nickname_draft = NicknameField(_("new nickname"), default="", editable=False)
    nickname_state = StateField(_("nickname's review"))
    avatar_seed = models.CharField(max_length=22, default=random_key, editable=False)
    avatar = models.CharField(max_length=22, default="", editable=False)
    avatar_draft = models.CharField(max_length=22, default="", editable=False)
    avatar_state = StateField(_("avatar's review"))
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

    objects: ClassVar[WeChatUserManager] = WeChatUserManager()

    is_authenticated = True  # what DRF's IsAuthenticated asks of request.user
    reviewed = ("nickname", "avatar")

    class Meta:
        verbose_name = verbose_name_plural = _("member")
        permissions = [("see_openids", _("Can see openids and export them"))]
        constraints = [
            models.UniqueConstraint(fields=["app_id", "openid"], name="one_user_per_openid")
        ]
        indexes = [
            models.Index(fields=["created_at"], name="members_by_first_seen"),
            models.Index(fields=["nickname_state", "review_since"], name="nicknames_in_review"),
            models.Index(fields=["avatar_state", "review_since"], name="avatars_in_review"),
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        """Return the nickname, or what WeChat itself calls a person without one."""
        return self.nickname or gettext("WeChat user")

    @property
    def own_nickname(self) -> str:
        return self.own("nickname")

    @property
    def profile_complete(self) -> bool:
        return bool(self.own("nickname") and self.own("avatar"))

    @property
    def avatar_path(self) -> str:
        return avatar_path(self.avatar, self.avatar_seed)

    @property
    def own_avatar_path(self) -> str:
        return avatar_path(self.own("avatar"), self.avatar_seed)

    @property
    def is_blocked(self) -> bool:
        return self.status == self.Status.BLOCKED

    def keep_session(self, session: Session, now: datetime) -> None:
        """Save WeChat's answer to a log-in; the previous key works for ten minutes more.

        A session without a key, from a team's own log-in, leaves our keys as they are.
        """
        self.unionid = session.unionid or self.unionid
        if session.session_key and decrypt(self.session_key) != session.session_key:
            self.previous_session_key = self.session_key
            self.session_key = encrypt(session.session_key)
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
        failures = []
        for which, key in self._session_keys(now):
            try:
                return self._read_group(which, key, envelope, now)
            except UnsealError as error:
                failures.append(error)
        reason = self._main_failure(failures, now)
        self._count_stale(now)
        raise SessionStale(reason)

    def _main_failure(self, failures: list[UnsealError], now: datetime) -> UnsealError:
        """Return the failure that got farthest: for the attempts, never for an answer."""
        if not failures:
            return UnsealError("key_unreadable" if self.session_key else "no_key")
        opened = [error for error in failures if error.reason not in UNOPENED]
        why = opened[0] if opened else max(failures, key=lambda e: UNOPENED.index(e.reason))
        if not opened and self.session_key_at:
            had = "none" if not self.previous_session_key else "lapsed"
            why.facts["previous"] = "tried" if len(failures) > 1 else had
            why.facts["keySeconds"] = int((now - self.session_key_at).total_seconds())
        return why

    def refuse_when_locked(self, now: datetime) -> None:
        """Raise BindLocked while ten envelopes of the current hour did not open."""
        if self.stale_since is None or self.stale_count < STALE_LIMIT:
            return
        wait = (self.stale_since + STALE_WINDOW - now).total_seconds()
        if wait > 0:
            raise BindLocked(wait)

    def _session_keys(self, now: datetime) -> Iterator[tuple[str, str]]:
        if key := decrypt(self.session_key):
            yield "current", key
        recent = self.session_key_at and self.session_key_at > now - PREVIOUS_KEY_LIFETIME
        if recent and (key := decrypt(self.previous_session_key)):
            yield "previous", key

    def _read_group(self, which: str, key: str, envelope: Envelope, now: datetime) -> GroupProof:
        payload = unseal(key, envelope)
        attempts.passed("envelope", key=which)
        watermarked = check_watermark(
            payload,
            self.app_id,
            now.timestamp(),
            settings.WATERMARK_MAX_AGE,
            required=settings.WATERMARK_REQUIRED,
        )
        attempts.passed("watermark", watermarked=watermarked)
        return GroupProof(group_in(payload), watermarked, is_single_chat(payload))

    def _count_stale(self, now: datetime) -> None:
        """Count an envelope that did not open. Raises BindLocked beyond ten of them an hour."""
        this_hour = Q(stale_since__gt=now - STALE_WINDOW)
        # One conditional update, so that requests at the same moment get exactly ten between them.
        counted = (
            WeChatUser.objects.filter(pk=self.pk)
            .exclude(this_hour, stale_count__gte=STALE_LIMIT)
            .update(
                # In this order: on MySQL a later column sees what an earlier one was set to.
                stale_count=Case(When(this_hour, then=F("stale_count") + 1), default=1),
                stale_since=Case(When(this_hour, then=F("stale_since")), default=now),
            )
        )
        if not counted:
            self.refresh_from_db(fields=["stale_count", "stale_since"])
            self.refuse_when_locked(now)


class TokenManager(models.Manager["Token"]):
    def issue(self, user: WeChatUser, now: datetime) -> tuple[str, "Token"]:
        """Create a token for `user`; return its text, which is stored nowhere, and its row."""
        text = secrets.token_urlsafe(32)
        row = self.create(
            user=user,
            digest=digest_of(text),
            created_at=now,
            expires_at=now + TOKEN_LIFETIME,
        )
        return text, row

    def valid(self, text: str, now: datetime) -> "Token | None":
        """Return the row of a token that has neither expired nor been revoked, with its user."""
        rows = self.select_related("user").filter(digest=digest_of(text), expires_at__gt=now)
        return rows.first()


class Token(models.Model):
    """A log-in of ours: 256 random bits, of which only the SHA-256 is stored."""

    user = models.ForeignKey(WeChatUser, models.CASCADE, related_name="tokens")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    objects: ClassVar[TokenManager] = TokenManager()

    class Meta:
        verbose_name = verbose_name_plural = _("token")

    def __str__(self) -> str:
        return f"token {self.pk}"


class Consent(models.Model):
    """A person's agreement to a purpose, in a version of the mini-program's terms."""

    class Purpose(models.TextChoices):
        NICKNAME = "nickname", _("to show my nickname")
        AVATAR = "avatar", _("to show my avatar")
        GROUPS = "groups", _("to list me in the groups I enter")

    user = models.ForeignKey(WeChatUser, models.CASCADE, related_name="consents", db_index=False)
    purpose = models.CharField(_("purpose"), max_length=20, choices=Purpose.choices)
    version = OpaqueIdField(_("version"), max_length=32)
    given_at = models.DateTimeField(_("given"))

    class Meta:
        verbose_name = verbose_name_plural = _("consent")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "purpose", "version"], name="one_consent_per_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.version}"


class AvatarCheck(models.Model):
    """WeChat's check of one avatar: its subject and the verdict, which arrive in either order.

    The verdict comes by push, sometimes more than once; the first one counts.
    """

    app_id = OpaqueIdField(_("appid"))
    trace_id = OpaqueIdField(max_length=128)
    user = models.ForeignKey(WeChatUser, models.CASCADE, null=True, related_name="avatar_checks")
    avatar = models.CharField(max_length=22, default="")
    suggestion = models.CharField(max_length=6, default="")
    label = models.CharField(max_length=20, default="")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["app_id", "trace_id"], name="one_check_per_trace")
        ]

    def __str__(self) -> str:
        return self.trace_id


class TombstoneKeyManager(models.Manager["TombstoneKey"]):
    def texts(self) -> list[str]:
        """Return the keys that FIELD_KEYS opens, the oldest first; one is made if there is none."""
        stored = [decrypt(row.sealed) for row in self.order_by("pk")]
        if None in stored:
            logger.error("A tombstone key does not open: put its key back into FIELD_KEYS.")
        texts = [text for text in stored if text]
        if not texts:
            texts = [secrets.token_urlsafe(32)]
            self.create(sealed=encrypt(texts[0]))
        return texts


class TombstoneKey(models.Model):
    """The key under which tombstones are digests, encrypted by FIELD_KEYS.

    It is random and stays when FIELD_KEYS change, so that every one of those can be retired.
    """

    sealed = models.CharField(max_length=255)

    objects: ClassVar[TombstoneKeyManager] = TombstoneKeyManager()

    def __str__(self) -> str:
        return f"tombstone key {self.pk}"


class TombstoneManager(models.Manager["Tombstone"]):
    def of(self, app_id: str, openid: str) -> "Tombstone | None":
        """Return what is left of someone who was erased, unless it has lapsed."""
        lasting = Q(blocked=True) | Q(expires_at__gt=timezone.now())
        return self.filter(lasting, digest__in=self.digests(app_id, openid)).first()

    def replace(self, user: WeChatUser, counts: Mapping[str, int], until: datetime) -> None:
        """Keep what `user` must not lose by an erasure, instead of what was kept before."""
        digests = self.digests(user.app_id, user.openid)
        self.filter(digest__in=digests).delete()
        tombstone = Tombstone(
            digest=digests[0],
            blocked=user.is_blocked,
            stale_count=user.stale_count,
            stale_since=user.stale_since,
            counts={name: count for name, count in counts.items() if count},
            expires_at=until,
        )
        if tombstone.blocked or tombstone.counts or tombstone.is_stale(timezone.now()):
            tombstone.save()

    @staticmethod
    def digests(app_id: str, openid: str) -> list[str]:
        """Return the HMAC-SHA256 of a person under each tombstone key, in hex.

        It recognises the person, and tells a reader of the database alone nothing.
        """
        who = f"{app_id}:{openid}"
        return [
            salted_hmac("accounts.person", who, secret=key, algorithm="sha256").hexdigest()
            for key in TombstoneKey.objects.texts()
        ]


class Tombstone(models.Model):
    """What outlives an erasure, so that no block or lock is lost: a keyed digest, no id, no name.

    `counts` are the limits of other apps, by name: see accounts/privacy.py. All but a block lapses
    at `expires_at`.
    """

    digest = models.CharField(max_length=64, unique=True)
    blocked = models.BooleanField()
    stale_count = models.PositiveSmallIntegerField()
    stale_since = models.DateTimeField(null=True)
    counts = models.JSONField(default=dict)
    expires_at = models.DateTimeField(db_index=True)

    objects: ClassVar[TombstoneManager] = TombstoneManager()

    def __str__(self) -> str:
        return f"tombstone {self.pk}"

    def is_stale(self, now: datetime) -> bool:
        """Return whether envelopes that did not open still count."""
        return self.stale_since is not None and self.stale_since > now - STALE_WINDOW

    def restrictions(self) -> dict[str, Any]:
        """Return the columns with which the person begins again."""
        status = WeChatUser.Status.BLOCKED if self.blocked else WeChatUser.Status.ACTIVE
        return {
            "status": status,
            "stale_count": self.stale_count,
            "stale_since": self.stale_since,
        }
