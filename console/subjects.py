"""What an action is about: its name in full, and what goes and what stays when it is done."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Model
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from accounts.models import WeChatUser
from groups.models import Group, Membership, Score, ServerKey, describe
from groups.periods import Period, UnreadablePeriod

from .sessions import SignedIn, sessions_of

# What `subject_of` reads beside the row itself.
RELATED: dict[type[Model], tuple[str, ...]] = {
    Membership: ("user", "group"),
    Score: ("user", "board"),
}


@dataclass(frozen=True)
class Subject:
    """A row by its name: whose it is, then what and where. `face` is the address of a picture."""

    parts: tuple[str, ...]
    face: str = ""

    def __str__(self) -> str:
        return " · ".join(self.parts)

    @property
    def html(self) -> SafeString:
        """Return the name for a page; no part turns the text of another round."""
        return format_html_join(" · ", "<bdi>{}</bdi>", ((part,) for part in self.parts))


def subject_of(row: Any, now: datetime) -> Subject:
    """Return the name of a row: 小明 · 步数 · 本周 · 6 步 · 周末羽毛球."""
    match row:
        case WeChatUser():
            return Subject((row.display_name, f"#{row.pk}"), row.small_avatar_path)
        case Membership():
            name = row.alias or row.user.display_name
            return Subject((name, title_of_group(row.group, now)), row.user.small_avatar_path)
        case Score():
            group = Group.objects.filter(pk=row.scope).first() if row.scope else None
            where = title_of_group(group, now) if group else gettext("all groups")
            what = (row.board.title, period_title(row, now), value_text(row))
            return Subject((row.user.display_name, *what, where), row.user.small_avatar_path)
        case Group():
            return Subject((title_of_group(row, now),))
        case ServerKey():
            return Subject((row.name, row.app_id))
    return Subject((str(row),))


def title_of_group(group: Group, now: datetime) -> str:
    return group.label or describe([group], now)[0].title


def period_title(score: Score, now: datetime) -> str:
    """Return "this week" for the current one, else its dates."""
    try:
        return Period.parse(score.period, now).title(now)
    except UnreadablePeriod:
        return score.period


def value_text(score: Score) -> str:
    """Return a score with its unit: "6 次"."""
    return f"{score.board.score_text(score.value)} {score.board.unit}".rstrip()


@dataclass(frozen=True)
class PeriodScore:
    """A score beside another, as a page names it."""

    score: Score
    title: str
    value: str


@dataclass(frozen=True)
class Effect:
    """What an action takes, the sessions among that; what it leaves, and the scores among that."""

    goes: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    scores: tuple[PeriodScore, ...] = ()
    sessions: tuple[SignedIn, ...] = ()


def effect_of(key: str, row: Any, now: datetime) -> Effect:
    """Return what the action of that key does to a row."""
    return EFFECTS[key](row, now) if key in EFFECTS else Effect()


def scores_beside(score: Score, now: datetime) -> tuple[PeriodScore, ...]:
    """Return the member's scores of the other periods, as long as `score` holds their days too."""
    found = Score.objects.beside(score, now)
    return tuple(PeriodScore(each, period_title(each, now), value_text(each)) for each in found)


def _groups_of(user: WeChatUser, now: datetime) -> int:
    return Membership.objects.of(user, now).count()


def _in_rankings(number: int) -> str:
    text = ngettext("a place in %(count)d group", "a place in %(count)d groups", number)
    return text % {"count": number}


def _block(user: WeChatUser, now: datetime) -> Effect:
    stays = gettext("memberships and scores, for when you unblock them")
    return Effect((_in_rankings(_groups_of(user, now)),), (stays,))


def _erase(user: WeChatUser, now: datetime) -> Effect:
    scores = user.scores.count()
    of_scores = ngettext("%(count)d score", "%(count)d scores", scores) % {"count": scores}
    goes = (_in_rankings(user.memberships.count()), of_scores, gettext("nickname and avatar"))
    stays = [gettext("the audit, which knows the member by number alone")]
    if user.is_blocked:
        stays.append(gettext("the block, should they come again"))
    return Effect(goes, tuple(stays))


def _hide(membership: Membership, now: datetime) -> Effect:
    others = _groups_of(membership.user, now) - 1
    if others < 1:
        return Effect(stays=(gettext("the member's scores, for when you show them again"),))
    text = ngettext("a place in %(count)d other group", "a place in %(count)d other groups", others)
    return Effect(stays=(text % {"count": others}, gettext("the member's scores")))


def _reset_nickname(user: WeChatUser, now: datetime) -> Effect:
    named = user.memberships.filter(left_at=None).exclude(alias="").count()
    text = ngettext(
        "a name of their own in %(count)d group", "a name of their own in %(count)d groups", named
    )
    return Effect(stays=(text % {"count": named},) if named else ())


def _reset_alias(membership: Membership, now: datetime) -> Effect:
    return Effect(stays=(gettext("the nickname, %s") % membership.user.display_name,))


def _remove_score(score: Score, now: datetime) -> Effect:
    return Effect(scores=scores_beside(score, now))


def _hide_group(group: Group, now: datetime) -> Effect:
    number = Membership.objects.current(now).filter(group=group).count()
    goes = ngettext("the ranking of %(count)d member", "the ranking of %(count)d members", number)
    stays = gettext("memberships and scores, for when you show the group again")
    return Effect((goes % {"count": number},), (stays,))


def _revoke(key: ServerKey, now: datetime) -> Effect:
    others = ServerKey.objects.filter(app_id=key.app_id, revoked_at=None).exclude(pk=key.pk)
    number = others.count()
    text = ngettext(
        "%(count)d other key of this mini-program",
        "%(count)d other keys of this mini-program",
        number,
    )
    return Effect(stays=(text % {"count": number},) if number else ())


def _end_sessions(operator: User, now: datetime) -> Effect:
    stays = gettext("name, roles, password and second factor")
    return Effect(stays=(stays,), sessions=tuple(sessions_of(operator, None)))


EFFECTS: dict[str, Callable[[Any, datetime], Effect]] = {
    "block": _block,
    "erase": _erase,
    "hide": _hide,
    "reset_nickname": _reset_nickname,
    "reset_alias": _reset_alias,
    "remove_score": _remove_score,
    "hide_group": _hide_group,
    "revoke": _revoke,
    "end_sessions": _end_sessions,
}
