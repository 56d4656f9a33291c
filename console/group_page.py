"""The page of one group: its ranking, who is not listed and why, and what can be done to each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import InvalidPage, Page, Paginator
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from accounts.models import WeChatUser
from accounts.nicknames import folded, shown
from audit.actors import Actor
from groups import moderation, ranking
from groups.errors import InvalidField
from groups.models import Absence, Board, Group, Membership, Score, choose, is_current
from groups.periods import Period
from groups.ranking import Ranking, Roster, Standing

from .access import operator_of, operators_only
from .action_page import Button, buttons, row_buttons
from .audit_targets import audit_url
from .groups import LabelField
from .paging import LONGEST_SEARCH, is_plain
from .roles import may_view

ROWS_PER_PAGE = 50
UNLISTED_SHOWN = 100


@dataclass(frozen=True)
class MemberRow:
    """A member of the group: listed with a standing, or not listed for some reasons."""

    membership: Membership
    standing: Standing | None
    absences: list[Absence]
    buttons: list[Button]
    place_url: str
    is_found: bool = False

    @property
    def name(self) -> str:
        return self.membership.alias or self.membership.user.display_name

    @property
    def nickname(self) -> str:
        """Return the nickname where the group sees another name."""
        return self.membership.user.nickname if self.membership.alias else ""

    @property
    def face(self) -> str:
        return self.membership.user.small_avatar_path


@dataclass(frozen=True)
class PickerLink:
    """A link of a picker."""

    label: str
    url: str
    is_chosen: bool = False


@dataclass(frozen=True)
class GroupPage:
    """Everything the page shows of the group's roster."""

    request: HttpRequest
    group: Group
    boards: Sequence[Board]
    roster: Roster

    @classmethod
    def of(cls, request: HttpRequest, group: Group) -> Self:
        """Read the ranking asked for. Raises Http404 for a board or period that there is not."""
        boards, asked = Board.objects.of_app(group.app_id), request.GET
        try:
            board = choose(boards, group.app_id, asked.get("board"))
            found = ranking.roster(group, board, timezone.now(), asked.get("period"))
        except (Board.DoesNotExist, InvalidField):
            raise Http404 from None
        return cls(request, group, boards, found)

    @property
    def ranking(self) -> Ranking:
        return self.roster.ranking

    @property
    def text(self) -> str:
        """Return what is searched in the group: `?q=`."""
        return shown(self.request.GET.get("q", "")[:LONGEST_SEARCH])

    @property
    def member(self) -> int:
        """Return the id of the member that the address leads to, `?member=`; 0 without one."""
        asked = self.request.GET.get("member", "")
        return int(asked) if is_plain(asked) and asked.isdecimal() else 0

    @cached_property
    def page(self) -> Page[Standing]:
        """Return the page of the ranking asked for: by number, or that of `member`."""
        pages = Paginator(self.ranking.entries, ROWS_PER_PAGE)
        ids = [standing.member.id for standing in self.ranking.entries]
        if self.member in ids and "page" not in self.request.GET:
            return pages.page(ids.index(self.member) // ROWS_PER_PAGE + 1)
        try:
            return pages.page(self.request.GET.get("page", 1))
        except InvalidPage:
            raise Http404 from None

    @cached_property
    def listed(self) -> list[MemberRow]:
        """Return the members on this page of the ranking, in its order."""
        return [self._row(standing.member.id, standing) for standing in self.page.object_list]

    @cached_property
    def found(self) -> list[MemberRow]:
        """Return those who are called what is searched, the listed first, and one more."""
        listed = [(standing.member.id, standing) for standing in self.ranking.entries]
        everyone = [*listed, *((pk, None) for pk in self._absent)]
        wanted = folded(self.text)
        rows = [
            (pk, standing)
            for pk, standing in everyone
            if any(wanted in folded(name) for name in self._names(pk))
        ]
        return [self._row(pk, standing) for pk, standing in rows[: UNLISTED_SHOWN + 1]]

    def _names(self, user_id: int) -> tuple[str, str]:
        membership = self.roster.memberships[user_id]
        return membership.alias, membership.user.display_name

    @cached_property
    def _absent(self) -> list[int]:
        """Return the ids of those who are not listed: the one asked for, then the latest."""
        listed = {standing.member.id for standing in self.ranking.entries}
        absent = [each for pk, each in self.roster.memberships.items() if pk not in listed]
        absent.sort(key=lambda each: (each.verified_at, -each.pk), reverse=True)
        return sorted((each.user_id for each in absent), key=lambda pk: pk != self.member)

    @property
    def unlisted_count(self) -> int:
        return len(self._absent)

    @cached_property
    def unlisted(self) -> list[MemberRow] | None:
        """Return the members that others do not see, and one more; None unless asked for."""
        if not (self.request.GET.get("unlisted") or self.member in self._absent):
            return None
        return [self._row(pk, None) for pk in self._absent[: UNLISTED_SHOWN + 1]]

    def _row(self, user_id: int, standing: Standing | None) -> MemberRow:
        membership = self.roster.memberships[user_id]
        # What comes first is offered first.
        about: list[Any] = [membership, membership.user]
        about = about[::-1] if membership.user.is_blocked else about
        score = self.roster.score_pks.get(user_id)
        about += [Score(pk=score)] if score else []
        return MemberRow(
            membership,
            standing,
            membership.absences(self.ranking.server_time),
            row_buttons(self.request, *about),
            f"{self._url(q=None, member=str(user_id))}#member-{user_id}",
            is_found=user_id == self.member,
        )

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
        return self._period_link(self.ranking.previous_period)

    @property
    def later(self) -> PickerLink | None:
        return self._period_link(self.ranking.next_period)

    def _period_link(self, period: Period | None) -> PickerLink | None:
        if period is None:
            return None
        return PickerLink(period.title(self.ranking.server_time), self._url(period=period.key))

    @property
    def previous_url(self) -> str:
        return self._page_url(self.page.number - 1) if self.page.has_previous() else ""

    @property
    def next_url(self) -> str:
        return self._page_url(self.page.number + 1) if self.page.has_next() else ""

    def _page_url(self, number: int) -> str:
        # The period's own key: the walk stays in it, whatever the window's current one becomes.
        return self._url(period=self.ranking.period.key, page=str(number))

    @property
    def whole_url(self) -> str:
        """Return this page without the search."""
        return self._url(q=None)

    @property
    def unlisted_url(self) -> str:
        """Return this page with those who are not listed, or without them."""
        return self._url(unlisted="1" if self.unlisted is None else None)

    def _url(self, **changes: str | None) -> str:
        """Return this page's address with something else chosen; None takes a choice back."""
        kept = {key: self.request.GET.get(key) for key in ("board", "period", "unlisted", "q")}
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
    context |= {"shown": f":{UNLISTED_SHOWN}", "more_than_shown": f"{UNLISTED_SHOWN}:"}
    return TemplateResponse(request, "console/group.html", context)
