"""Verbs of people that cross WeChat, the files and the database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from wechat.client import Session, Suggestion, Verdict, client_for
from wechat.errors import InactiveUserError
from wechat.push import MediaVerdict

from . import trail
from .errors import RiskyName, UserBlocked
from .media import avatar_path, delete_avatar, store_avatar
from .models import AvatarCheck, Consent, Token, WeChatUser
from .review import Reviewed, State


@dataclass(frozen=True)
class LogIn:
    """Who logged in, and the token that says so until `expires_at`."""

    user: WeChatUser
    token: str = field(repr=False)
    expires_at: datetime


def log_in(app_id: str, code: str) -> LogIn:
    """Exchange a `wx.login` code for a token of ours, creating the user on the first visit.

    Raises wechat.errors.WeChatError as WeChat refuses, UserBlocked as we do, and
    WeChatUser.DoesNotExist where an erasure comes between. Earlier tokens stay valid: one person
    may hold two phones.
    """
    session = client_for(app_id).code_to_session(code)
    trail.passed("code")
    return begin_session(app_id, session)


def begin_session(app_id: str, session: Session, nickname: str = "") -> LogIn:
    """A token for whoever `session` is about, as WeChat or a team's own server knows them.

    A nickname is taken or reviewed as `rename` does. Raises as `log_in`, and RiskyName; nothing is
    changed then.
    """
    now = timezone.now()
    suggestion = _judge_stranger(app_id, session.openid, nickname) if nickname else None
    met = WeChatUser.objects.meet(app_id, session.openid)
    trail.about(met)
    with transaction.atomic():
        # Locked, so that two log-ins at once keep both their keys: one current, one previous.
        user = WeChatUser.objects.lock(met.pk)
        if user.is_blocked:
            raise UserBlocked
        user.keep_session(session, now)
        if suggestion:
            write_name(user, "nickname", nickname, suggestion)
        text, row = Token.objects.issue(user, now)
    trail.passed("openid")
    return LogIn(user, text, row.expires_at)


def _judge_stranger(app_id: str, openid: str, nickname: str) -> Suggestion:
    who = {"app_id": app_id, "openid": openid}
    user = WeChatUser.objects.filter(**who).first() or WeChatUser(**who)
    return judge_name(user, "nickname", nickname, known=user.nickname)


def consent(user: WeChatUser, purposes: list[str], version: str) -> list[Consent]:
    """Record that `user` agrees to these purposes in that version of the terms; all their consents,
    the oldest first. Agreeing twice keeps the first time."""
    now = timezone.now()
    with transaction.atomic():
        WeChatUser.objects.lock(user.pk)
        for purpose in purposes:
            Consent.objects.get_or_create(
                user=user, purpose=purpose, version=version, defaults={"given_at": now}
            )
    return list(user.consents.order_by("given_at", "pk"))


# Names


def rename(user: WeChatUser, nickname: str) -> WeChatUser:
    """Change a nickname, or begin its review; the user as they now are.

    Raises RiskyName, and WeChatError as WeChat refuses.
    """
    suggestion = judge_name(user, "nickname", nickname, known=user.nickname)
    with transaction.atomic():
        user = WeChatUser.objects.lock(user.pk)
        write_name(user, "nickname", nickname, suggestion)
    return user


def judge_name(user: WeChatUser, column: str, name: str, known: str) -> Suggestion:
    """WeChat's PASS or REVIEW of a name; none, or the one `known` to be good, passes unasked.

    About people it has not seen for two hours WeChat says nothing, so an operator has to.
    Raises RiskyName.
    """
    if name in {"", known} or not settings.CONTENT_SAFETY:
        return Suggestion.PASS
    try:
        suggestion = client_for(user.app_id).check_text(user.openid, name).suggestion
    except InactiveUserError:
        return Suggestion.REVIEW
    if suggestion is Suggestion.RISKY:
        raise RiskyName(column)
    return suggestion


def write_name(record: Reviewed, column: str, name: str, suggestion: Suggestion) -> None:
    """Write a name that WeChat passed, or doubts. The caller holds the lock on the person."""
    if suggestion is Suggestion.PASS:
        record.approve(column, name)
    else:
        record.propose(column, name)
    record.save(update_fields=record.columns_of(column))


# Avatars


def set_avatar(
    user: WeChatUser, files: Mapping[int, bytes], absolute: Callable[[str], str]
) -> WeChatUser:
    """Give a person a new avatar, the WebP of each size, and begin its review; the user as they
    now are. `absolute` makes a path of ours the whole address at which WeChat finds it.

    Raises WeChatError as WeChat refuses, StorageUnavailable; nothing is kept then.
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
    """The trace_id of the verdict to come; "" where an operator has to look, as with names."""
    try:
        return client_for(user.app_id).check_media(user.openid, address)
    except InactiveUserError:
        return ""


def _take_avatar(user: WeChatUser, key: str, trace_id: str | None) -> None:
    """Write the new avatar: approved where nobody was asked about it, else as a draft."""
    replaced = [user.avatar_draft]
    if trace_id is None:
        replaced.append(user.avatar)
        user.approve("avatar", key)
    else:
        user.propose("avatar", key)
    user.save(update_fields=user.columns_of("avatar"))
    if trace_id:
        # The verdict may have come first, and stands there without a user then.
        about = {"user": user, "avatar": key}
        AvatarCheck.objects.update_or_create(app_id=user.app_id, trace_id=trace_id, defaults=about)
    delete_after_commit(*replaced)


def note_verdict(app_id: str, heard: MediaVerdict) -> None:
    """Take WeChat's verdict on an avatar, the first of those that come for one `trace_id`."""
    check, _created = AvatarCheck.objects.get_or_create(app_id=app_id, trace_id=heard.trace_id)
    verdict: Verdict = heard.verdict
    AvatarCheck.objects.filter(pk=check.pk, suggestion="").update(
        suggestion=verdict.suggestion.value, label=verdict.label
    )
    settle_avatar(app_id, heard.trace_id)


def settle_avatar(app_id: str, trace_id: str) -> None:
    """Do as the verdict says once both are known, the avatar and the verdict.

    Whoever brings the second of them gets here last; coming twice changes nothing, since the avatar
    is no draft any more.
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
    """Approve or refuse what waits in `column`; nothing where nothing waits.

    To be called in a transaction that holds the lock on the person.
    """
    if getattr(record, f"{column}_state") != State.PENDING:
        return
    draft, shown = getattr(record, f"{column}_draft"), getattr(record, column)
    if approved:
        record.approve(column, draft)
    else:
        record.refuse(column)
    record.save(update_fields=record.columns_of(column))
    if column == "avatar":
        delete_after_commit(shown if approved else draft)


def delete_after_commit(*keys: str) -> None:
    """Delete the files of these avatars once the transaction is through."""
    for key in keys:
        transaction.on_commit(partial(delete_avatar, key), robust=True)
