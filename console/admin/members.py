"""Members, and their places in groups: without a form, since actions alone change them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.db.models import Window as Over
from django.db.models.functions import RowNumber
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.models import WeChatUser
from accounts.review import State
from audit.models import AuditEvent
from console.access import operator_of
from console.action_page import Button, buttons, row_buttons
from console.actions import RECORDED, Text
from console.audit_targets import audit_url, row_url
from console.dates import moment
from console.paging import KeysetChangeList
from console.roles import may_view
from console.subjects import period_title
from groups import ranking
from groups.models import (
    Absence,
    Board,
    GroupCard,
    Membership,
    Report,
    Score,
    choose,
    describe,
    reports_sent,
)
from groups.ranking import Place

from .base import ReadOnlyModelAdmin, face, pill, shortened, side_by_side

ROWS_SHOWN = 50


class MemberChangeList(KeysetChangeList):
    """The list of members, with the number of groups each is in."""

    @cached_property
    def group_counts(self) -> dict[int, int]:
        current = Membership.objects.current(timezone.now()).filter(user__in=self.result_list)
        return dict(current.values_list("user").annotate(count=Count("pk")))

    @admin.display(description=_("in groups"))
    def in_groups_column(self, user: WeChatUser) -> str:
        return str(self.group_counts.get(user.pk, 0))


@admin.register(WeChatUser)
class WeChatUserAdmin(ReadOnlyModelAdmin):
    list_title = _("Members")
    when_empty = _(
        "Members appear here once they log in with the mini-program. "
        "The integration check shows each log-in."
    )
    exported = "members"
    app_path = "app_id"
    list_display = ("face", "name", "state", "review", "in_groups", "short_id", "first_seen")
    list_display_links = ("name",)
    list_filter = ("status", "nickname_state", "avatar_state")
    search_fields = ("nickname", "openid__exact")
    search_help_text = _("Nickname, or a whole openid")
    fields = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MemberChangeList]:
        return MemberChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[WeChatUser]:
        """On the page of one member, count the reports that they sent in the same query."""
        rows: QuerySet[WeChatUser] = super().get_queryset(request)
        if request.resolver_match is None or "object_id" not in request.resolver_match.kwargs:
            return rows
        dismissed = reports_sent(Report.Outcome.DISMISSED)
        return rows.annotate(reports_sent=reports_sent(), reports_dismissed=dismissed)

    @admin.display(description=_("nickname"))
    def name(self, user: WeChatUser) -> str:
        return user.display_name

    @admin.display(description=_("avatar"))
    def face(self, user: WeChatUser) -> SafeString:
        return face(user.small_avatar_path)

    @admin.display(description=_("state"))
    def state(self, user: WeChatUser) -> SafeString:
        return pill("off" if user.is_blocked else "good", user.get_status_display())

    @admin.display(description=_("awaiting review"))
    def review(self, user: WeChatUser) -> SafeString:
        waiting = [_("nickname")] if user.nickname_state == State.PENDING else []
        waiting += [_("avatar")] if user.avatar_state == State.PENDING else []
        return side_by_side(pill("wait", what) for what in waiting)

    @admin.display(description=_("in groups"))
    def in_groups(self, user: WeChatUser) -> str:
        return str(Membership.objects.current(timezone.now()).filter(user=user).count())

    @admin.display(description=_("openid"))
    def short_id(self, user: WeChatUser) -> str:
        return shortened(user.openid)

    @admin.display(description=_("first seen"))
    def first_seen(self, user: WeChatUser) -> str:
        return moment(user.created_at)

    def row_context(self, request: HttpRequest, row: WeChatUser) -> dict[str, Any]:
        """Show a member's groups, their scores with the source, and what operators did."""
        now, operator = timezone.now(), operator_of(request)
        boards, scores = Score.objects.latest_of(row, ROWS_SHOWN)
        places = (
            _places(row, choose(boards, row.app_id), {score.scope for score in scores}, now)
            if may_view(operator, Membership)
            else []
        )
        titles = {place.card.group.pk: place.card.title for place in places}
        events = AuditEvent.objects.filter(member_id=row.pk).order_by("-pk")[:ROWS_SHOWN]
        return {
            "title": row.display_name,
            "subtitle": None,
            "member": row,
            "now": now,
            "short_id": shortened(row.openid),
            "may_see_openid": operator.has_perm("accounts.see_openids"),
            "buttons": buttons(request, row),
            "places": [
                MemberPlace(
                    place.card,
                    place.standing,
                    state_of(place.standing.membership.absences(now)),
                    row_buttons(request, place.standing.membership),
                )
                for place in places[:ROWS_SHOWN]
            ],
            "scores": [
                MemberScore(score, titles.get(score.scope, ""), now)
                for score in (scores if may_view(operator, Score) else [])
            ],
            "events": [
                MemberEvent(each, RECORDED.get(each.action, each.action))
                for each in (events if may_view(operator, AuditEvent) else [])
            ],
            "audit": audit_url(member_id=row.pk),
        }


@dataclass(frozen=True)
class GroupPlace:
    """A group that a member is or was in, and where they stand in it."""

    card: GroupCard
    standing: Place


def _places(user: WeChatUser, board: Board, named: set[int], now: datetime) -> list[GroupPlace]:
    """Read where a member stands in their groups, the latest entered first; one query.

    In the latest ROWS_SHOWN, and in those of `named` that they are or were in: who is in a thousand
    groups has a page that reads no more than this.
    """
    nth = Over(RowNumber(), order_by=["-verified_at", "-pk"])
    mine = Membership.objects.filter(user=user).annotate(nth=nth)
    shown = mine.filter(Q(nth__lte=ROWS_SHOWN) | Q(group__in=named))
    groups = Q(group__in=shown.values("group"))
    found = ranking.summarize(groups, {user.app_id: board}, now, Q(user=user), places=1)
    found = {pk: each for pk, each in found.items() if each.places}
    places = [GroupPlace(each.card, each.places[0]) for each in found.values()]
    return sorted(places, key=lambda each: each.standing.membership.verified_at, reverse=True)


@dataclass(frozen=True)
class MemberPlace:
    """A group that a member is in, and what can be done about that."""

    card: GroupCard
    standing: Place
    state: SafeString
    buttons: list[Button]

    @property
    def url(self) -> str:
        """Return the address of the member's row on the group's page."""
        page, pk = reverse("group-page", args=[self.card.group.pk]), self.standing.member.id
        return f"{page}?member={pk}#member-{pk}"


@dataclass(frozen=True)
class MemberScore:
    """A score of a member, with its group where the board counts by group."""

    score: Score
    group: str
    now: datetime

    @property
    def value(self) -> str:
        return self.score.board.score_text(self.score.value)

    @property
    def period(self) -> str:
        return period_title(self.score, self.now)


@dataclass(frozen=True)
class MemberEvent:
    """Something operators did to a member."""

    event: AuditEvent
    action: Text


class MembershipChangeList(KeysetChangeList):
    """The list of memberships, each with its group's title."""

    @cached_property
    def titles(self) -> dict[int, str]:
        groups = {row.group_id: row.group for row in self.result_list}
        return {card.group.pk: card.title for card in describe(groups.values(), timezone.now())}

    @admin.display(description=_("group"))
    def in_group_column(self, membership: Membership) -> str:
        return self.titles[membership.group_id]


@admin.register(Membership)
class MembershipAdmin(ReadOnlyModelAdmin):
    list_title = _("Memberships")
    app_path = "user__app_id"
    links = ("verified_at__gte", "group__id__exact")
    list_display = ("face", "name", "in_group", "joined", "last_entry", "state")
    list_display_links = ("name",)
    list_select_related: ClassVar[list[str]] = ["user", "group"]
    list_filter = ("alias_state", "hidden", "withheld", "proof", "watermarked")
    search_fields = ("user__nickname", "alias", "group__label", "group__open_gid__exact")
    search_help_text = _("A member's nickname, a group's label, or a whole openGId")
    readonly_fields = (
        "group_link",
        "member_link",
        "joined_at",
        "verified_at",
        "left_at",
        "scene",
        "proof",
        "watermarked",
        "alias",
        "alias_draft",
    )
    fields = readonly_fields

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MembershipChangeList]:
        return MembershipChangeList

    @admin.display(description=_("avatar"))
    def face(self, membership: Membership) -> SafeString:
        return face(membership.user.small_avatar_path)

    @admin.display(description=_("name"))
    def name(self, membership: Membership) -> str:
        return membership.alias or membership.user.display_name

    @admin.display(description=_("joined"))
    def joined(self, membership: Membership) -> str:
        return moment(membership.joined_at)

    @admin.display(description=_("last proven entry"))
    def last_entry(self, membership: Membership) -> str:
        return moment(membership.verified_at)

    @admin.display(description=_("group"))
    def in_group(self, membership: Membership) -> str:
        return str(membership.group)

    @admin.display(description=_("state"))
    def state(self, membership: Membership) -> SafeString:
        return state_of(membership.absences(timezone.now()))

    @admin.display(description=_("group"))
    def group_link(self, membership: Membership) -> SafeString:
        return _link(membership.group)

    @admin.display(description=_("member"))
    def member_link(self, membership: Membership) -> SafeString:
        return _link(membership.user)

    def row_context(self, request: HttpRequest, row: Membership) -> dict[str, Any]:
        """Show why others do not see the member, and what can be done."""
        context = {"title": self.name(row), "subtitle": None, "state": self.state(row)}
        return {**context, "buttons": buttons(request, row)}


def state_of(absences: Sequence[Absence]) -> SafeString:
    """Return listed, or all the reasons why not."""
    reasons = [pill("off", each.label) for each in absences]
    return side_by_side(reasons or [pill("good", _("listed"))])


def _link(row: Any) -> SafeString:
    return format_html('<a href="{}">{}</a>', row_url(row, row.pk), row)
