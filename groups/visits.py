"""Who asks about a group, and may they: on PostgreSQL in one query, for the calls that a whole
group makes at the same moment."""

from datetime import datetime
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connection

from accounts.models import Token, WeChatUser
from core.database import fetch_prepared
from core.vault import digest_of

from .links import Link
from .models import Board, Group, proven_since
from .models.boards import BOARDS_IN_JSON, boards_in, of_app


class Visit(NamedTuple):
    """Who asks, the group they ask about, None where they may not see it, and the boards there."""

    user: WeChatUser
    group: Group | None
    boards: list[Board]


# In the order of the models' fields, as `from_db` takes them.
TOKEN, USER = ("id", "user_id"), ("id", "app_id", "status")
GROUP = ("id", "app_id", "open_gid", "label", "seen_from", "version")

# The conditions are those of `TokenManager.valid` and `GroupQuerySet.visible_to`; that a member is
# not blocked is a permission. The boards come as they stand, as JSON: the same text, the same
# boards.
_COLUMNS = f"""
u.id, u.app_id, u.status, g.id, g.app_id, g.open_gid, g.label, g.seen_from, g.version,
{BOARDS_IN_JSON.format("u.app_id")}
"""
_GROUPS = "groups_group g JOIN groups_membership m ON m.group_id = g.id"
_VISIBLE = """
g.app_id = u.app_id AND NOT g.hidden
AND m.user_id = u.id AND m.left_at IS NULL AND m.verified_at >= %(since)s
"""
# Of the pieces above alone.
_BY_TOKEN = f"""
SELECT t.id, t.user_id, {_COLUMNS}
FROM accounts_token t JOIN accounts_wechatuser u ON u.id = t.user_id
LEFT JOIN ({_GROUPS}) ON {_VISIBLE} AND g.open_gid = %(open_gid)s
WHERE t.digest = %(digest)s AND t.expires_at > %(now)s
"""  # noqa: S608
_BY_LINK = f"""
SELECT {_COLUMNS}
FROM accounts_wechatuser u JOIN ({_GROUPS}) ON {_VISIBLE}
WHERE u.id = %(user)s AND u.status = 'active' AND g.id = %(group)s
"""  # noqa: S608


def visit_by_token(text: str, open_gid: str, now: datetime) -> tuple[Token | None, Visit | None]:
    """Return the row of a valid token, and what its owner sees of a group; None where it is not."""
    if connection.vendor == "postgresql":
        asked = {"digest": digest_of(text), "open_gid": open_gid, "now": now}
        rows = fetch_prepared(_BY_TOKEN, asked | {"since": proven_since(now)})
        if not rows:
            return None, None
        token = Token.from_db(DEFAULT_DB_ALIAS, TOKEN, rows[0][:2])
        visit = _visit_in(rows[0][2:])
        token.user = visit.user
        return token, visit
    found = Token.objects.valid(text, now)
    return found, _visit(found.user, now, open_gid=open_gid) if found else None


def visit_by_link(link: Link, now: datetime) -> Visit | None:
    """Return what the member who made a link sees by it; None where they see it no more."""
    if connection.vendor == "postgresql":
        asked = {"user": link.user_id, "group": link.group_id, "since": proven_since(now)}
        rows = fetch_prepared(_BY_LINK, asked)
        return _visit_in(rows[0]) if rows else None
    user = WeChatUser.objects.filter(pk=link.user_id).first()
    visit = user and _visit(user, now, pk=link.group_id)
    return visit if visit and visit.group else None


def _visit(user: WeChatUser, now: datetime, **group: Any) -> Visit:
    groups = Group.objects.visible_to(user, now).filter(app_id=user.app_id, **group)
    return Visit(user, groups.first(), Board.objects.of_app(user.app_id))


def _visit_in(row: tuple[Any, ...]) -> Visit:
    """Read _COLUMNS."""
    user = WeChatUser.from_db(DEFAULT_DB_ALIAS, USER, row[:3])
    group = Group.from_db(DEFAULT_DB_ALIAS, GROUP, row[3:9]) if row[3] else None
    return Visit(user, group, of_app(boards_in(row[9]), user.app_id))
