"""What members do that crosses WeChat, the storage and the database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from rest_framework.exceptions import APIException, NotFound

from audit import attempts
from core.database import update_rows
from wechat.client import Session, Suggestion, Verdict, client_for
from wechat.crypto import UnsealError
from wechat.errors import RiskyContentError, UnknownUserError
from wechat.push import MediaVerdict

from .avatars.storage import avatar_path, delete_avatar, store_avatar
from .errors import InvalidCode, RiskyName, SessionStale, UserBlocked
from .models import AvatarCheck, Consent, GroupProof, Token, WeChatUser
from .review import Reviewed, State

PIECE = 50  # members who are locked at once


@dataclass(frozen=True)
class LogIn:
    """The member who logged in, and a token that is valid until `expires_at`."""

    user: WeChatUser
    token: str = field(repr=False)
    expires_at: datetime


def log_in(app_id: str, code: str, openid: str = "") -> LogIn:
    """Exchange a `wx.login` code for a token of ours, creating the member on the first visit.

    With an `openid`, no one else's code is taken. Earlier tokens stay valid: one person may have
    two phones. Raises InvalidCode, wechat.errors.WeChatError as WeChat refuses, UserBlocked, and
    WeChatUser.DoesNotExist after an erasure meanwhile.
    """
    session = client_for(app_id).code_to_session(code)
    if openid and session.openid != openid:
        raise InvalidCode("code_of_another")
    attempts.passed("code")
    return begin_session(app_id, session)


def begin_session(app_id: str, session: Session, nickname: str = "") -> LogIn:
    """Log a member in whose session WeChat, or a team's own server, has confirmed.

    A nickname is taken or reviewed as by `rename`. Raises as `log_in`, and RiskyName; nothing is
    changed then.
    """
    suggestion = None
    if nickname:
        user = WeChatUser.objects.known(app_id, session.openid)
        user = user or WeChatUser(app_id=app_id, openid=session.openid)
        suggestion = judge_name(user, "nickname", nickname, known=user.nickname)
    met = WeChatUser.objects.meet(app_id, session.openid)
    attempts.sent_by(met.app_id, met.pk)
    with transaction.atomic():
        # Locked, so that two log-ins at once keep both their keys: one current, one previous.
        user = WeChatUser.objects.lock(met.pk)
        if user.is_blocked:
            raise UserBlocked
        now = timezone.now()
        user.keep_session(session, now)
        if suggestion:
            write_name(user, "nickname", nickname, suggestion)
        text, row = Token.objects.issue(user, now)
    attempts.passed("openid")
    return LogIn(user, text, row.expires_at)


def group_behind(user: WeChatUser, cloud_id: str) -> GroupProof:
    """Return what a cloudID proves, as `WeChatUser.unseal_group` does of an envelope.

    What WeChat answers is read as strictly, and counted as strictly where it proves nothing. Raises
    SessionStale, BindLocked, and WeChatError as WeChat refuses.
    """
    user.refuse_when_locked(timezone.now())
    try:
        payload = client_for(user.app_id).open_data(user.openid, cloud_id)
        return user.group_proof(payload, timezone.now(), key="cloudID")
    except UnsealError as reason:
        user.count_stale(timezone.now())
        raise SessionStale(reason) from None


@dataclass(frozen=True)
class UserRow:
    """Someone known to a team's own server; an empty unionid or nickname changes nothing."""

    openid: str
    unionid: str = ""
    nickname: str = ""


def register(app_id: str, people: Sequence[UserRow]) -> list[WeChatUser | APIException]:
    """Make members of these people, without a session, or take their unionids and nicknames over.

    Return, in their order, the members as they now are, or UserBlocked for those who are blocked,
    where nothing is changed. A handful of statements for every fifty who change.
    """
    newcomers = []
    for person in people:
        user = WeChatUser(app_id=app_id, openid=person.openid)
        take_over(user, person)
        newcomers.append(user)
    met = WeChatUser.objects.meet_all(newcomers)
    # All rows of a person with a row that changes something: a later one may change it back.
    changing = {person.openid for person in people if _differs(met.get(person.openid), person)}
    rows = [person for person in people if person.openid in changing]
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        with transaction.atomic():
            locked = WeChatUser.objects.lock_all(met[person.openid].pk for person in piece)
            met |= {user.openid: user for user in locked.values()}
            for person in piece:
                if _differs(met[person.openid], person):
                    take_over(met[person.openid], person)
            WeChatUser.objects.announce([pk for pk, user in locked.items() if user.looks_new])
            update_rows(locked.values(), ["unionid", *WeChatUser.columns_of("nickname")])
    return [_as_registered(met.get(person.openid)) for person in people]


def _as_registered(user: WeChatUser | None) -> WeChatUser | APIException:
    if user is None:
        return NotFound()  # erased meanwhile
    return UserBlocked() if user.is_blocked else user


def _differs(user: WeChatUser | None, person: UserRow) -> bool:
    """Return whether a person's row changes anything; never of someone who is blocked."""
    if user is None or user.is_blocked:
        return False
    new_name = not has_name(user, person.nickname, reviewed=False)
    return new_name or person.unionid not in {"", user.unionid}


def has_name(user: WeChatUser, name: str, *, reviewed: bool) -> bool:
    """Return whether a member is called so, or a row gives no name. A reviewed one has to show."""
    names = {user.own("nickname")} | ({user.nickname} if reviewed else set())
    return not name or names == {name}


def take_over(user: WeChatUser, person: UserRow, *, reviewed: bool = False) -> None:
    """Set what a team's server says of a member; the caller holds the lock, and saves.

    WeChat is not asked about the name: 500 calls would take minutes, and it says nothing about
    people it has not seen for two hours. So an operator has to look, as `judge_name` has it, unless
    the name has been `reviewed` elsewhere.
    """
    user.unionid = person.unionid or user.unionid
    name = person.nickname
    if has_name(user, name, reviewed=reviewed):
        return
    if settings.CONTENT_SAFETY and not reviewed and name != user.nickname:
        user.propose("nickname", name)
    else:
        user.approve("nickname", name)


def consent(user: WeChatUser, purposes: list[str], version: str) -> list[Consent]:
    """Record that `user` agrees to these purposes in that version of the terms.

    Return all their consents, the oldest first. Agreeing twice keeps the first time.
    """
    with transaction.atomic():
        WeChatUser.objects.lock(user.pk)
        now = timezone.now()
        for purpose in purposes:
            Consent.objects.get_or_create(
                user=user, purpose=purpose, version=version, defaults={"given_at": now}
            )
    return list(user.consents.order_by("given_at", "pk"))


# Names


def rename(user: WeChatUser, nickname: str) -> WeChatUser:
    """Change a nickname, or begin its review; return the member as they now are.

    Raises RiskyName, and WeChatError as WeChat refuses.
    """
    suggestion = judge_name(user, "nickname", nickname, known=user.nickname)
    with transaction.atomic():
        user = WeChatUser.objects.lock(user.pk)
        write_name(user, "nickname", nickname, suggestion)
    return user


def judge_name(user: WeChatUser, column: str, name: str, known: str) -> Suggestion:
    """Return WeChat's PASS or REVIEW of a name; an empty or `known` one passes without a call.

    WeChat says nothing about people it does not know, or has not seen for two hours: an operator
    has to look. Raises RiskyName.
    """
    if name in {"", known} or not settings.CONTENT_SAFETY:
        return Suggestion.PASS
    try:
        suggestion = client_for(user.app_id).check_text(user.openid, name).suggestion
    except UnknownUserError:
        return Suggestion.REVIEW
    if suggestion is Suggestion.RISKY:
        raise RiskyName(column)
    return suggestion


def write_name(record: Reviewed, column: str, name: str, suggestion: Suggestion) -> None:
    """Save a name that WeChat passed, or doubts. The caller holds the lock on the member."""
    if suggestion is Suggestion.PASS:
        record.approve(column, name)
    else:
        record.propose(column, name)
    record.save_value(column)


# Avatars


def set_avatar(
    user: WeChatUser, files: Mapping[int, bytes], absolute: Callable[[str], str]
) -> WeChatUser:
    """Give a member a new avatar and begin its review; return the member as they now are.

    `files` holds the WebP of each size; `absolute` turns a path of ours into the URL at which
    WeChat finds it. Raises WeChatError as WeChat refuses, StorageUnavailable; nothing is kept then.
    """
    key = store_avatar(files)
    try:
        address = absolute(avatar_path(key, user.avatar_seed))
        trace_id = _ask_about_avatar(user, address) if settings.CONTENT_SAFETY else None
        with transaction.atomic():
            user = WeChatUser.objects.lock(user.pk)
            _take_avatar(user, key, trace_id)
    except BaseException:
        delete_avatar(key)
        raise
    if trace_id:
        settle_avatar(user.app_id, trace_id)
        user.refresh_from_db()
    return user


def _ask_about_avatar(user: WeChatUser, address: str) -> str:
    """Return the trace_id of the verdict to come; "" if an operator has to look instead."""
    try:
        return client_for(user.app_id).check_media(user.openid, address)
    except (UnknownUserError, RiskyContentError):
        return ""


def _take_avatar(user: WeChatUser, key: str, trace_id: str | None) -> None:
    """Save the new avatar: as a draft, or as approved if there was no check (`trace_id` None)."""
    replaced = [user.avatar_draft]
    if trace_id is None:
        replaced.append(user.avatar)
        user.approve("avatar", key)
    else:
        user.propose("avatar", key)
    user.save_value("avatar")
    if trace_id:
        # The verdict may have come first, and stands there without a user then.
        about = {"user": user, "avatar": key}
        AvatarCheck.objects.update_or_create(app_id=user.app_id, trace_id=trace_id, defaults=about)
    delete_after_commit(*replaced)


def save_verdict(app_id: str, heard: MediaVerdict) -> None:
    """Save WeChat's verdict on an avatar, the first that comes for its `trace_id`."""
    check, _created = AvatarCheck.objects.get_or_create(app_id=app_id, trace_id=heard.trace_id)
    verdict: Verdict = heard.verdict
    AvatarCheck.objects.filter(pk=check.pk, suggestion="").update(
        suggestion=verdict.suggestion.value, label=verdict.label
    )
    settle_avatar(app_id, heard.trace_id)


def settle_avatar(app_id: str, trace_id: str) -> None:
    """Apply the verdict once both are known, the avatar and the verdict.

    The second of the two to arrive settles it; calling it twice changes nothing, because the avatar
    is a draft no longer.
    """
    check = AvatarCheck.objects.filter(app_id=app_id, trace_id=trace_id).first()
    if check is None or check.user_id is None or check.suggestion in {"", Suggestion.REVIEW}:
        return
    with transaction.atomic():
        user = WeChatUser.objects.select_for_update().filter(pk=check.user_id).first()
        if user and user.avatar_draft == check.avatar:
            decide(user, "avatar", approved=check.suggestion == Suggestion.PASS)


# Decisions, WeChat's or an operator's


def decide(record: Reviewed, column: str, *, approved: bool) -> None:
    """Approve or refuse what waits in `column`, if anything does.

    Call it in a transaction that holds the lock on the member.
    """
    if getattr(record, f"{column}_state") != State.PENDING:
        return
    draft, shown = getattr(record, f"{column}_draft"), getattr(record, column)
    if approved:
        record.approve_draft(column)
    else:
        record.refuse(column)
    record.save_value(column)
    if column == "avatar":
        delete_after_commit(shown if approved else draft)


def delete_after_commit(*keys: str) -> None:
    """Delete the files of these avatars once the transaction is through."""
    for key in keys:
        transaction.on_commit(partial(delete_avatar, key), robust=True)
