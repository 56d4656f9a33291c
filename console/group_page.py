"""The page of one group: its ranking, who is not listed and why, and what can be done to each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from accounts.avatars.storage import SMALL, avatar_path
from accounts.models import WeChatUser
from audit.actors import Actor
from groups import moderation
from groups.errors import InvalidField
from groups.models import Absence, Board, Group, Membership, Score, choose, is_current
from groups.periods import Period
from groups.ranking import Ranking, Standing, standings

from .access import operator_of, operators_only
from .action_page import Button, buttons, row_buttons
from .audit_targets import audit_url
from .groups import LabelField
from .roles import may_view

UNLISTED_SHOWN = 100


@dataclass(frozen=True)
class MemberRow:
    """A member of the group: listed with a standing, or not listed for some reasons."""

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
class PickerLink:
    """A link of a picker."""

    label: str
    url: str
    is_chosen: bool = False


@dataclass(frozen=True)
class GroupPage:
    """Everything the page shows; each part is read when the template asks for it."""

    request: HttpRequest
    group: Group
    boards: Sequence[Board]
    ranking: Ranking

    @classmethod
    def of(cls, request: HttpRequest, group: Group) -> Self:
        """Read the ranking asked for. Raises Http404 for a board, period or cursor there is not."""
        boards, asked = Board.objects.of_app(group.app_id), request.GET
        try:
            board = choose(boards, group.app_id, asked.get("board"))
            period, cursor = asked.get("period"), asked.get("cursor")
            found = standings(group, board, timezone.now(), period, cursor=cursor)
        except (Board.DoesNotExist, InvalidField):
            raise Http404 from None
        return cls(request, group, boards, found)

    @cached_property
    def listed(self) -> list[MemberRow]:
        """Read the members on this page of the ranking, in its order."""
        places = {standing.member.id: standing for standing in self.ranking.entries}
        members = self._members().filter(user__in=places)
        rows = {row.membership.user_id: row for row in self._rows(members, places)}
        return [rows[user_id] for user_id in places if user_id in rows]

    @cached_property
    def unlisted(self) -> list[MemberRow] | None:
        """Read the members that others do not see, and one more; None unless asked for."""
        if not self.request.GET.get("unlisted"):
            return None
        members = self._members().unlisted(self.ranking.server_time).order_by("-verified_at", "pk")
        return self._rows(members[: UNLISTED_SHOWN + 1], {})

    def _members(self) -> Any:
        """Select the memberships of the group, each with the key of its score in this ranking."""
        members = Membership.objects.filter(group=self.group).select_related("user", "group")
        return members.with_score(self.ranking.board, self.group, self.ranking.period.key)

    def _rows(self, members: Iterable[Any], places: dict[int, Standing]) -> list[MemberRow]:
        rows = []
        for membership in members:
            # What comes first is offered first.
            about = [membership, membership.user]
            about = about[::-1] if membership.user.is_blocked else about
            about += [Score(pk=membership.score_pk)] if membership.score_pk else []
            rows.append(
                MemberRow(
                    membership,
                    places.get(membership.user_id),
                    membership.absences(self.ranking.server_time),
                    row_buttons(self.request, *about),
                )
            )
        return rows

    @property
    def board_links(self) -> list[PickerLink]:
        return [
            PickerLink(
                board.title, self._url(board=board.key, period=None), board == self.ranking.board
            )
            for board in self.boards
        ]

    @property
    def period_links(self) -> list[PickerLink]:
        now, shown = self.ranking.server_time, self.ranking.period.window
        return [
            PickerLink(
                Period.current(window, now).title(now), self._url(period=window), window == shown
            )
            for window in self.ranking.board.counted_windows
        ]

    @property
    def earlier(self) -> PickerLink | None:
        return self._period_link(self.ranking.period.previous)

    @property
    def later(self) -> PickerLink | None:
        return self._period_link(self.ranking.next_period)

    def _period_link(self, period: Period | None) -> PickerLink | None:
        if period is None:
            return None
        return PickerLink(period.title(self.ranking.server_time), self._url(period=period.key))

    @property
    def first_url(self) -> str:
        return self._url() if self.request.GET.get("cursor") else ""

    @property
    def next_url(self) -> str:
        # The period's own key: the walk stays in it, whatever the window's current one becomes.
        period, cursor = self.ranking.period.key, self.ranking.next
        return self._url(period=period, cursor=cursor) if cursor else ""

    @property
    def unlisted_url(self) -> str:
        """Return this page with those who are not listed, or without them."""
        return self._url(unlisted="1" if self.unlisted is None else None)

    def _url(self, **changes: str | None) -> str:
        """Return this page's address with something else chosen; None takes a choice back."""
        kept = {key: self.request.GET.get(key) for key in ("board", "period", "unlisted")}
        return f"?{urlencode({key: value for key, value in (kept | changes).items() if value})}"

    @property
    def buttons(self) -> list[Button]:
        return buttons(self.request, self.group)

    @property
    def exports(self) -> list[PickerLink]:
        """Return where this period of this board is downloaded."""
        chosen = urlencode({"board": self.ranking.board.key, "period": self.ranking.period.key})
        return [
            PickerLink(name, f"{reverse('export-ranking', args=[self.group.pk, form])}?{chosen}")
            for name, form in (("Excel", "xlsx"), ("CSV", "csv"))
        ]

    @property
    def audit_url(self) -> str:
        return audit_url(group_id=self.group.pk)

    @property
    def shows_profiles(self) -> bool:
        """Return whether the operator may open the members' own pages."""
        return may_view(operator_of(self.request), WeChatUser)


class LabelForm(forms.Form):
    """What operators call a group."""

    label = LabelField(help_text=Group._meta.get_field("label").help_text)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only("groups.view_group", "groups.view_membership")
def group_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one group, its ranking as no member in particular sees it; a POST labels the group."""
    unmarked = Q(memberships__watermarked=False) & is_current(timezone.now(), "memberships__")
    groups = Group.objects.annotate(unmarked=Count("memberships", filter=unmarked))
    group: Any = get_object_or_404(groups, pk=pk)  # with the annotation
    may_label = request.user.has_perm("groups.change_group")
    form = LabelForm(request.POST or None, initial={"label": group.label})
    if request.method == "POST" and not may_label:
        raise PermissionDenied
    if request.method == "POST" and form.is_valid():
        actor = Actor(operator_of(request))
        count = moderation.label([group], form.cleaned_data["label"], actor)
        text = ngettext("%(count)d group labelled.", "%(count)d groups labelled.", count)
        messages.success(request, text % {"count": count})
        return HttpResponseRedirect(request.get_full_path())
    page = GroupPage.of(request, group)
    context = {**admin.site.each_context(request), "title": page.ranking.group.title, "page": page}
    context |= {"form": form, "may_label": may_label, "unmarked": group.unmarked}
    context |= {"unlisted_shown": UNLISTED_SHOWN}
    return TemplateResponse(request, "console/group.html", context)
