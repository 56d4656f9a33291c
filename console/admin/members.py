"""People, and their places in groups: without a form, since all that changes them is an action."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.models import WeChatUser
from accounts.review import State
from audit.models import AuditEvent
from console.actions import RECORDED
from console.roles import may_view
from console.site import operator_of
from console.subjects import page_of
from groups.models import Absence, Membership, Score, describe

from .base import OnlyActions, audit_of, buttons, face, moment, pill, shortened, side_by_side

ROWS_SHOWN = 50


@admin.register(WeChatUser)
class WeChatUserAdmin(OnlyActions):
    exported = "members"
    app_path = "app_id"
    list_display = ("face", "name", "state", "review", "in_groups", "short_id", "first_seen")
    list_display_links = ("name",)
    list_filter = ("status", "nickname_state", "avatar_state")
    search_fields = ("nickname", "openid__exact")
    search_help_text = _("Nickname, or a whole openid")
    fields = ()

    def prepare(self, rows: Sequence[Any]) -> None:
        current = Membership.objects.current(timezone.now()).filter(user__in=rows)
        counts = dict(current.values_list("user").annotate(count=Count("pk")))
        for user in rows:
            user.group_count = counts.get(user.pk, 0)

    @admin.display(description=_("nickname"))
    def name(self, user: WeChatUser) -> str:
        return user.display_name

    @admin.display(description=_("avatar"))
    def face(self, user: WeChatUser) -> SafeString:
        return face(user.avatar_path)

    @admin.display(description=_("state"))
    def state(self, user: WeChatUser) -> SafeString:
        return pill("off" if user.is_blocked else "good", user.get_status_display())

    @admin.display(description=_("awaiting review"))
    def review(self, user: WeChatUser) -> SafeString:
        waiting = [_("nickname")] if user.nickname_state == State.PENDING else []
        waiting += [_("avatar")] if user.avatar_state == State.PENDING else []
        return side_by_side(pill("wait", what) for what in waiting)

    @admin.display(description=_("in groups"))
    def in_groups(self, user: Any) -> str:
        return str(user.group_count)

    @admin.display(description=_("openid"))
    def short_id(self, user: WeChatUser) -> str:
        return shortened(user.openid)

    @admin.display(description=_("first seen"))
    def first_seen(self, user: WeChatUser) -> str:
        return moment(user.created_at)

    def page(self, request: HttpRequest, row: WeChatUser) -> dict[str, Any]:
        return member_page(request, row)


def member_page(request: HttpRequest, user: WeChatUser) -> dict[str, Any]:
    """What a member's page shows: groups, scores with their source, what operators did."""
    now, operator = timezone.now(), operator_of(request)
    memberships = _latest(operator, Membership.objects.filter(user=user), "-verified_at", "group")
    groups = {each.group_id: each.group for each in memberships}
    describe(groups.values(), now)
    for membership in memberships:
        membership.user = user
    scores = _latest(operator, Score.objects.filter(user=user), "-pk", "board")
    events = _latest(operator, AuditEvent.objects.filter(member_id=user.pk), "-pk")
    return {
        "title": user.display_name,
        "subtitle": None,
        "member": user,
        "short_id": shortened(user.openid),
        "may_see_openid": operator.has_perm("accounts.see_openids"),
        "buttons": buttons(request, [user]),
        "places": [
            (each, state_of(each.absences(now)), buttons(request, [each], "hide", "show"))
            for each in memberships
        ],
        "scores": [
            (each, groups.get(each.scope), each.board.score_text(each.value)) for each in scores
        ],
        "events": [(each, RECORDED.get(each.action, each.action)) for each in events],
        "audit": audit_of(member_id=user.pk),
    }


def _latest(operator: User, rows: QuerySet[Any], order: str, *related: str) -> list[Any]:
    """The first of these rows, where the operator may see such rows at all."""
    if not may_view(operator, rows.model):
        return []
    return list(rows.select_related(*related).order_by(order)[:ROWS_SHOWN])


@admin.register(Membership)
class MembershipAdmin(OnlyActions):
    app_path = "user__app_id"
    links = ("verified_at__gte", "group__id__exact")
    list_display = ("face", "name", "in_group", "joined", "last_entry", "state")
    list_display_links = ("name",)
    list_select_related: ClassVar[list[str]] = ["user", "group"]
    list_filter = ("alias_state", "hidden", "withheld", "watermarked")
    search_fields = ("user__nickname", "alias", "group__label", "group__open_gid__exact")
    search_help_text = _("A member's nickname, a group's label, or a whole openGId")
    readonly_fields = (
        *("group_link", "member_link", "joined_at", "verified_at", "left_at"),
        *("scene", "watermarked", "alias", "alias_draft"),
    )
    fields = readonly_fields

    def prepare(self, rows: Sequence[Membership]) -> None:
        groups = {row.group_id: row.group for row in rows}
        describe(groups.values(), timezone.now())
        for row in rows:
            row.group = groups[row.group_id]

    @admin.display(description=_("avatar"))
    def face(self, membership: Membership) -> SafeString:
        return face(membership.user.avatar_path)

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
        return membership.group.title

    @admin.display(description=_("state"))
    def state(self, membership: Membership) -> SafeString:
        return state_of(membership.absences(timezone.now()))

    @admin.display(description=_("group"))
    def group_link(self, membership: Membership) -> SafeString:
        return _link(membership.group)

    @admin.display(description=_("member"))
    def member_link(self, membership: Membership) -> SafeString:
        return _link(membership.user)

    def page(self, request: HttpRequest, row: Membership) -> dict[str, Any]:
        told = {"title": self.name(row), "subtitle": None, "state": self.state(row)}
        return {**told, "buttons": buttons(request, [row])}


def state_of(absences: Sequence[Absence]) -> SafeString:
    """Listed, or all the reasons why not."""
    reasons = [pill("off", each.label) for each in absences]
    return side_by_side(reasons or [pill("good", _("listed"))])


def _link(row: Any) -> SafeString:
    return format_html('<a href="{}">{}</a>', page_of(row, row.pk), row)
