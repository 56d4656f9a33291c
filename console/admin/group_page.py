"""A group's page: its ranking, whom it does not list and why, and what can be done to each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from accounts.avatars.storage import SMALL, avatar_path
from groups.errors import UnreadableCursor
from groups.models import Absence, Board, Group, Membership, Score, choose
from groups.periods import CURRENT_TITLES, UnreadablePeriod
from groups.ranking import Ranking, Standing, standings

from .base import Button, audit_of, buttons

UNLISTED_SHOWN = 100
FOR_A_MEMBER = (
    *("hide", "show", "block", "unblock"),
    *("reset_nickname", "reset_avatar", "reset_alias", "remove_score"),
)


@dataclass(frozen=True)
class Row:
    """A member of the group, listed with a standing or not listed for some reasons."""

    membership: Membership
    standing: Standing | None
    absences: list[Absence]
    buttons: list[Button]

    @property
    def name(self) -> str:
        return self.membership.alias or self.membership.user.display_name

    @property
    def face(self) -> str:
        user = self.membership.user
        return avatar_path(user.avatar, user.avatar_seed, SMALL)


@dataclass(frozen=True)
class Choice:
    """A link of a picker."""

    label: str
    address: str
    is_chosen: bool


def context(request: HttpRequest, group: Group) -> dict[str, Any]:
    """Everything the page shows. Raises Http404 for a board, period or cursor there is not."""
    boards = Board.objects.tabs(group.app_id)
    try:
        board = choose(boards, group.app_id, request.GET.get("board"))
        found = standings(group, board, request.GET.get("period"), cursor=request.GET.get("cursor"))
    except (Board.DoesNotExist, UnreadablePeriod, UnreadableCursor):
        raise Http404 from None
    page = _Page(request, found)
    unlisted = page.unlisted() if request.GET.get("unlisted") else None
    return {
        "title": group.title,
        "subtitle": None,
        "ranking": found,
        "rows": page.listed(),
        "boards": [
            page.choice(each.title, each.key == board.key, board=each.key, period=None)
            for each in boards
        ],
        "periods": [
            page.choice(title, window == found.period.window, period=window)
            for window, title in CURRENT_TITLES.items()
            if window in board.counted_windows
        ],
        "earlier": page.period(found.period.previous),
        "later": page.period(found.next_period),
        "more": found.next and page.address(cursor=found.next),
        "top": page.address() if request.GET.get("cursor") else None,
        "unlisted": unlisted and unlisted[:UNLISTED_SHOWN],
        "unlisted_more": bool(unlisted and len(unlisted) > UNLISTED_SHOWN),
        "unlisted_asked": unlisted is not None,
        "toggle": page.address(unlisted=None if unlisted is not None else "1"),
        "buttons": buttons(request, [group]),
        "exports": _exports(group, found),
        "audit": audit_of(group_id=group.pk),
    }


@dataclass(frozen=True)
class _Page:
    request: HttpRequest
    ranking: Ranking

    def listed(self) -> list[Row]:
        places = {standing.member.id: standing for standing in self.ranking.entries}
        members = self._members().filter(user__in=places)
        rows = {row.membership.user_id: row for row in self._rows(members, places)}
        return [rows[user_id] for user_id in places if user_id in rows]

    def unlisted(self) -> list[Row]:
        """One more than are shown, if there are."""
        members = self._members().unlisted(self.ranking.server_time).order_by("-verified_at", "pk")
        return self._rows(members[: UNLISTED_SHOWN + 1], {})

    def _members(self) -> Any:
        found, period = self.ranking, self.ranking.period.key
        members = Membership.objects.filter(group=found.group).select_related("user")
        return members.with_score(found.board, found.group, period)

    def _rows(self, members: Iterable[Any], places: dict[int, Standing]) -> list[Row]:
        rows = []
        for membership in members:
            membership.group = self.ranking.group
            score = [Score(pk=membership.score_pk)] if membership.score_pk else []
            whom = [membership, membership.user]  # what comes first is offered first
            whom = whom[::-1] if membership.user.is_blocked else whom
            rows.append(
                Row(
                    membership,
                    places.get(membership.user_id),
                    membership.absences(self.ranking.server_time),
                    buttons(self.request, [*whom, *score], *FOR_A_MEMBER),
                )
            )
        return rows

    def choice(self, label: Any, is_chosen: bool, **changes: str | None) -> Choice:
        return Choice(str(label), self.address(**changes), is_chosen)

    def period(self, period: Any) -> Choice | None:
        if period is None:
            return None
        return self.choice(period.title(self.ranking.server_time), False, period=period.key)

    def address(self, **changes: str | None) -> str:
        """This page, showing something else; a change of None takes a choice back."""
        kept = {key: self.request.GET.get(key) for key in ("board", "period", "unlisted")}
        chosen = {key: value for key, value in {**kept, **changes}.items() if value}
        return f"?{urlencode(chosen)}"


def _exports(group: Group, found: Ranking) -> list[tuple[str, str]]:
    """Names of formats, and where this period of this board comes in them."""
    chosen = urlencode({"board": found.board.key, "period": found.period.key})
    return [
        (name, f"{reverse('export-ranking', args=[group.pk, form])}?{chosen}")
        for name, form in (("Excel", "xlsx"), ("CSV", "csv"))
    ]
