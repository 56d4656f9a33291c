"""Verbs of people that cross WeChat and the database."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from wechat.client import client_for

from .errors import UserBlocked
from .models import Token, WeChatUser


@dataclass(frozen=True)
class LogIn:
    """Who logged in, and the token that says so until `expires_at`."""

    user: WeChatUser
    token: str = field(repr=False)
    expires_at: datetime


def log_in(app_id: str, code: str) -> LogIn:
    """Exchange a `wx.login` code for a token of ours, creating the user on the first visit.

    Raises wechat.errors.WeChatError as WeChat refuses, UserBlocked as we do. Earlier tokens stay
    valid: one person may hold two phones.
    """
    session = client_for(app_id).code_to_session(code)
    now = timezone.now()
    who: dict[str, Any] = {"app_id": app_id, "openid": session.openid}
    # In a transaction of its own: on MariaDB racing inserts keep a shared lock on the row that won,
    # and two of those cannot both become the lock below.
    WeChatUser.objects.get_or_create(**who)
    with transaction.atomic():
        # Locked, so that two log-ins at once keep both their keys: one current, one previous.
        user = WeChatUser.objects.select_for_update().get(**who)
        if user.is_blocked:
            raise UserBlocked
        user.keep_session(session, now)
        text, row = Token.objects.issue(user, now)
    return LogIn(user, text, row.expires_at)
