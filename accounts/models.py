"""Members, their credentials, and what outlives them."""

import logging
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Case, F, Q, When
from django.db.transaction import TransactionManagementError
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from audit import attempts
from core.alarms import alarm
from core.database import columns_of, fetch_prepared, row_of
from core.fields import EncryptedField, OpaqueIdField
from core.vault import decrypt, digest_of, encrypt
from wechat.client import Session
from wechat.crypto import (
    Envelope,
    UnsealError,
    check_watermark,
    group_in,
    group_openid_in,
    is_single_chat,
    unseal,
)

from .avatars.storage import SMALL, avatar_path, random_key
from .errors import BindLocked, SessionStale
from .fields import NicknameField
from .review import Reviewed, SetAtField, StateField

logger = logging.getLogger(__name__)

PREVIOUS_KEY_LIFETIME = timedelta(minutes=10)
STALE_WINDOW = timedelta(hours=1)
STALE_LIMIT = 10
CLOCK_SLACK = timedelta(minutes=1)  # by which the clocks of two servers may differ
TOKEN_LIFETIME = timedelta(days=30)
# What other apps do, by member's id, before people see some members differently, or no more.
ON_CHANGE: list[Callable[[Collection[int]], None]] = []
LOG_IN_AGAIN = _("These members have to log in again, which the client kit does by itself.")
EVERYTHING = "everything"  # in the saved list, in place of a purpose
UNOPENED = ("padding", "encoding", "json")  # how an envelope fails to open, the farthest last


@dataclass(frozen=True)
class GroupProof:
    """What an opened envelope proves: the group, or None where it names none.

    `group_openid` is the user's id within that very group, "" where WeChat did not tell it.
    """

    open_gid: str | None
    watermarked: bool
    single_chat: bool = False
    group_openid: str = ""


class WeChatUserManager(models.Manager["WeChatUser"]):
    def meet(self, app_id: str, openid: str) -> "WeChatUser":
        """Return the member of that openid, creating one on the first visit.

        After an erasure they begin with the block and the lock they had. Raises DoesNotExist after
        an erasure meanwhile.
        """
        if known := self.known(app_id, openid):
            return known
        met = self.meet_all([WeChatUser(app_id=app_id, openid=openid)])
        if openid not in met:
            raise WeChatUser.DoesNotExist
        return met[openid]

    def known(self, app_id: str, openid: str) -> "WeChatUser | None":
        """Return the member of that openid; None where there is none."""
        if connection.vendor == "postgresql":
            found = fetch_prepared(_KNOWN, {"app_id": app_id, "openid": openid})
            return row_of(WeChatUser, found[0]) if found else None
        return self.filter(app_id=app_id, openid=openid).first()

    def meet_all(self, people: Sequence["WeChatUser"]) -> dict[str, "WeChatUser"]:
        """Return the members of these openids, all of one mini-program, by openid; those who are
        not there yet are created as given, the first of each, as `meet` does.
        """
        if not people:
            return {}
        app_id, given = people[0].app_id, {person.openid: person for person in reversed(people)}
        rows = self.filter(app_id=app_id, openid__in=given)
        known = {user.openid: user for user in rows}
        # By openid, so that two calls that make the same people cannot wait for each other.
        openids = sorted(given.keys() - known.keys())
        if not openids:
            return known
        tombstones = Tombstone.objects.of_all(app_id, openids)
        missing = [given[openid].after(tombstones.get(openid)) for openid in openids]
        # Outside of any transaction: on MariaDB racing inserts keep a shared lock on the row that
        # won, and two of those could not both take the lock that a log-in needs next.
        self.bulk_create(missing, ignore_conflicts=True)
        if tombstones:
            pks = [tombstone.pk for tombstone in tombstones.values()]
            Tombstone.objects.filter(pk__in=pks).update(blocked=False)
        return {user.openid: user for user in rows.all()}

    def lock_all(self, pks: Iterable[int]) -> dict[int, "WeChatUser"]:
        """Lock several members, as `lock` does, and return them by id, without those erased."""
        # In the order of their ids, so that two who lock some of the same people cannot each wait
        # for the other. Found by id: MariaDB locks in the order in which it reads.
        rows = self.select_for_update().filter(pk__in=sorted(set(pks)))
        return {user.pk: user for user in rows.order_by("pk")}

    def lock(self, pk: int) -> "WeChatUser":
        """Lock the member's row until the transaction ends, and return it.

        Everything that changes a member takes this lock first, so that changes come one after
        another. Raises DoesNotExist after an erasure.
        """
        if connection.vendor == "postgresql":
            return self._lock(pk)
        return self.select_for_update().get(pk=pk)

    def _lock(self, pk: int) -> "WeChatUser":
        if not connection.in_atomic_block:
            raise TransactionManagementError("a lock outlives only a transaction")
        found = fetch_prepared(_LOCK, {"pk": pk})
        if not found:
            raise WeChatUser.DoesNotExist
        return row_of(WeChatUser, found[0])

    def announce(self, pks: Collection[int]) -> None:
        """Tell other apps that people see these members differently, or whether they see them.

        The caller holds the locks on them. Others lock rows of theirs in the order of their ids, so
        nothing of a part of these members is announced, or written there, before this.
        """
        for tell in ON_CHANGE:
            tell(pks)


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
    nickname_at = SetAtField()
    nickname_draft_at = SetAtField()
    avatar_seed = models.CharField(max_length=22, default=random_key, editable=False)
    avatar = models.CharField(max_length=22, default="", editable=False)
    avatar_draft = models.CharField(max_length=22, default="", editable=False)
    avatar_state = StateField(_("avatar's review"))
    avatar_at = SetAtField()
    avatar_draft_at = SetAtField()
    status = models.CharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.ACTIVE
    )
    created_at = models.DateTimeField(_("first seen"), default=timezone.now, editable=False)

    # Only `keep_session` writes them and only `_session_keys` opens them.
    session_key = EncryptedField(blank=True, editable=False, if_lost=LOG_IN_AGAIN)
    previous_session_key = EncryptedField(blank=True, editable=False, if_lost=LOG_IN_AGAIN)
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
    def small_avatar_path(self) -> str:
        return avatar_path(self.avatar, self.avatar_seed, SMALL)

    @property
    def own_avatar_path(self) -> str:
        return avatar_path(self.own("avatar"), self.avatar_seed)

    @property
    def is_blocked(self) -> bool:
        return self.status == self.Status.BLOCKED

    def announce(self) -> None:
        WeChatUser.objects.announce([self.pk])

    def keep_session(self, session: Session, now: datetime) -> None:
        """Save WeChat's answer to a log-in; the previous key works for ten minutes more.

        A session without a key, from a team's own log-in, leaves our keys as they are.
        """
        is_new_key = session.session_key and decrypt(self.session_key) != session.session_key
        if not is_new_key and session.unionid in {"", self.unionid}:
            return
        self.unionid = session.unionid or self.unionid
        if is_new_key:
            self.previous_session_key = self.session_key
            self.session_key = encrypt(session.session_key)
            self.session_key_at = now
        self.save(
            update_fields=["unionid", "session_key", "previous_session_key", "session_key_at"]
        )

    def after(self, tombstone: "Tombstone | None") -> "WeChatUser":
        """Return the row with which a person begins after an erasure: with the block, under which
        nothing else is taken, and the lock that they had.
        """
        if tombstone is None:
            return self
        user = WeChatUser(app_id=self.app_id, openid=self.openid) if tombstone.blocked else self
        user.status = self.Status.BLOCKED if tombstone.blocked else self.Status.ACTIVE
        user.stale_count, user.stale_since = tombstone.stale_count, tombstone.stale_since
        return user

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
        self.count_stale(now)
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
        wait = self.stale_since + STALE_WINDOW - now
        # A longer one was counted while the clock was ahead, when every envelope was too old.
        if timedelta() < wait <= STALE_WINDOW + CLOCK_SLACK:
            raise BindLocked(wait.total_seconds())

    def _session_keys(self, now: datetime) -> Iterator[tuple[str, str]]:
        if key := decrypt(self.session_key):
            yield "current", key
        recent = self.session_key_at and self.session_key_at > now - PREVIOUS_KEY_LIFETIME
        if recent and (key := decrypt(self.previous_session_key)):
            yield "previous", key

    def _read_group(self, which: str, key: str, envelope: Envelope, now: datetime) -> GroupProof:
        return self.group_proof(unseal(key, envelope), now, key=which)

    def group_proof(self, payload: Mapping[str, Any], now: datetime, *, key: str) -> GroupProof:
        """Return what an opened payload proves; `key` says what opened it. Raises UnsealError."""
        attempts.passed("envelope", key=key)
        watermarked = check_watermark(
            payload,
            self.app_id,
            now.timestamp(),
            settings.WATERMARK_MAX_AGE,
            required=settings.WATERMARK_REQUIRED,
        )
        attempts.passed("watermark", watermarked=watermarked)
        group, single_chat = group_in(payload), is_single_chat(payload)
        return GroupProof(group, watermarked, single_chat, group_openid_in(payload))

    def count_stale(self, now: datetime) -> None:
        """Count an envelope that did not open. Raises BindLocked beyond ten of them an hour."""
        this_hour = Q(stale_since__gt=now - STALE_WINDOW, stale_since__lte=now + CLOCK_SLACK)
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
        if connection.vendor == "postgresql":
            return self._valid(text, now)
        rows = self.select_related("user").filter(digest=digest_of(text), expires_at__gt=now)
        return rows.first()

    def _valid(self, text: str, now: datetime) -> "Token | None":
        found = fetch_prepared(_VALID, {"digest": digest_of(text), "now": now})
        if not found:
            return None
        token = row_of(Token, found[0][len(WeChatUser._meta.concrete_fields) :])
        token.user = row_of(WeChatUser, found[0])
        return token


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


TOMBSTONES_CLOSED = alarm(
    "tombstone_key",
    _("A tombstone key does not open, so blocks of deleted accounts have no effect."),
    _("Put the key that it was encrypted with back at the end of FIELD_KEYS, and restart."),
)


class TombstoneKeyManager(models.Manager["TombstoneKey"]):
    def texts(self) -> list[str]:
        """Return the keys that FIELD_KEYS opens, the oldest first; one is made if there is none."""
        stored = [decrypt(row.sealed) for row in self.exclude(sealed="").order_by("pk")]
        if None in stored:
            TOMBSTONES_CLOSED.ring()
        texts = [text for text in stored if text]
        if not texts:
            texts = [secrets.token_urlsafe(32)]
            self.create(sealed=encrypt(texts[0]))
        return texts


class TombstoneKey(models.Model):
    """The key under which tombstones are digests, encrypted by FIELD_KEYS.

    It is random and stays when FIELD_KEYS change, so that every one of those can be retired. It is
    there from the first `migrate` on, and tells `manage.py check` whether FIELD_KEYS are the right
    ones.
    """

    sealed = EncryptedField(
        if_lost=_("Blocks and locks of accounts that were deleted have no effect any more."),
        must_open=True,
    )

    objects: ClassVar[TombstoneKeyManager] = TombstoneKeyManager()

    def __str__(self) -> str:
        return f"tombstone key {self.pk}"


class TombstoneManager(models.Manager["Tombstone"]):
    def of(self, app_id: str, openid: str) -> "Tombstone | None":
        """Return what is left of someone who was erased, unless it has lapsed."""
        return self.of_all(app_id, [openid]).get(openid)

    def of_all(self, app_id: str, openids: Sequence[str]) -> dict[str, "Tombstone"]:
        """Return by openid what is left of those who were erased, in two queries."""
        keys = TombstoneKey.objects.texts()
        whose = {
            digest: openid for openid in openids for digest in self.digests(app_id, openid, keys)
        }
        lasting = Q(blocked=True) | Q(expires_at__gt=timezone.now())
        return {whose[row.digest]: row for row in self.filter(lasting, digest__in=whose)}

    def replace(self, user: WeChatUser, counts: Mapping[str, int], until: datetime) -> None:
        """Keep what `user` must not lose by an erasure, instead of what was kept before."""
        digests = self.digests(user.app_id, user.openid, TombstoneKey.objects.texts())
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
    def digests(app_id: str, openid: str, keys: Iterable[str]) -> list[str]:
        """Return the HMAC-SHA256 of a person under each tombstone key, in hex.

        It recognises the person, and tells a reader of the database alone nothing.
        """
        who = f"{app_id}:{openid}"
        return [
            salted_hmac("accounts.person", who, secret=key, algorithm="sha256").hexdigest()
            for key in keys
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


class ErasureManager(models.Manager["Erasure"]):
    def keep(self, user: WeChatUser, purpose: str, at: datetime) -> None:
        """Enter that `user`, or what was kept for a purpose, is erased, within the transaction that
        does it; once that is through, the log has the entry too.
        """
        keys = TombstoneKey.objects.texts()
        digest = Tombstone.objects.digests(user.app_id, user.openid, keys)[0]
        erasure = Erasure(digest=digest, purpose=purpose, at=at)
        self.put([erasure])
        transaction.on_commit(lambda: logger.info("Erased: %s", erasure))

    def put(self, erasures: Collection["Erasure"]) -> None:
        """Write entries, in place of those about the same."""
        names = ["digest", "purpose"]
        target = names if connection.features.supports_update_conflicts_with_target else None
        # One statement: two that look first would wait for each other on MariaDB.
        self.bulk_create(
            erasures,
            batch_size=500,
            update_conflicts=True,
            update_fields=["at"],
            unique_fields=target,
        )

    def since(self, app_id: str, openids: Collection[str], moment: datetime) -> dict[str, set[str]]:
        """Return by openid what was erased since then: purposes, or "" for the whole person."""
        rows = self.filter(at__gte=moment)
        if not rows.exists():
            return {}
        keys = TombstoneKey.objects.texts()
        whose = {
            digest: openid
            for openid in openids
            for digest in Tombstone.objects.digests(app_id, openid, keys)
        }
        found: dict[str, set[str]] = {}
        for row in rows.filter(digest__in=whose):
            found.setdefault(whose[row.digest], set()).add(row.purpose)
        return found


class Erasure(models.Model):
    """An entry in the list of what no backup and no old file may bring back: accounts/erasures.py.

    `purpose` is that of a withdrawn consent, "" where the whole person was erased.
    """

    digest = models.CharField(max_length=64)
    purpose = models.CharField(max_length=20, blank=True)
    at = models.DateTimeField(db_index=True)

    objects: ClassVar[ErasureManager] = ErasureManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["digest", "purpose"], name="one_erasure_per_purpose")
        ]

    def __str__(self) -> str:
        """Return the entry as a line of the saved list."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        return f"{at} {self.digest} {self.purpose or EVERYTHING}"


# What nearly every call of the API does on PostgreSQL, of the names of columns alone.
_LOCK = f"""
SELECT {columns_of(WeChatUser, "u")} FROM accounts_wechatuser u WHERE u.id = %(pk)s FOR UPDATE
"""  # noqa: S608
_KNOWN = f"""
SELECT {columns_of(WeChatUser, "u")} FROM accounts_wechatuser u
WHERE u.app_id = %(app_id)s AND u.openid = %(openid)s
"""  # noqa: S608
_VALID = f"""
SELECT {columns_of(WeChatUser, "u")}, {columns_of(Token, "t")}
FROM accounts_token t JOIN accounts_wechatuser u ON u.id = t.user_id
WHERE t.digest = %(digest)s AND t.expires_at > %(now)s
"""  # noqa: S608
