from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.admin import ComesFromWeChat, UnderReview, face

from .models import Board, Group, Membership, Score


@admin.register(Group)
class GroupAdmin(ComesFromWeChat):
    list_display = ("__str__", "open_gid", "last_entry", "created_at", "ranking")
    list_filter = ("app_id",)
    search_fields = ("label", "open_gid__exact", "memberships__user__nickname")
    search_help_text = _("Label, a member's nickname, or a whole openGId")
    readonly_fields = ("app_id", "open_gid", "created_at", "ranking")
    fields = ("label", *readonly_fields)
    ordering = ("-pk",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return Group.objects.with_activity(timezone.now())

    def get_view_on_site_url(self, obj: Any = None) -> str | None:
        return reverse("group-page", args=[obj.pk]) if obj else None

    @admin.display(description=_("last proven entry"), ordering="last_entry_at")
    def last_entry(self, group: Any) -> Any:
        return group.last_entry_at

    @admin.display(description=_("ranking"))
    def ranking(self, group: Group) -> SafeString:
        address = reverse("group-page", args=[group.pk])
        return format_html('<a href="{}">{}</a>', address, _("Open"))


class OfMember(ComesFromWeChat):
    """Rows that belong to a member, shown with their face."""

    list_select_related: ClassVar[list[str]] = ["user"]
    show_full_result_count = False

    @admin.display(description=_("avatar"))
    def face(self, row: Any) -> SafeString:
        return face(row.user.avatar_path)


@admin.register(Membership)
class MembershipAdmin(OfMember, UnderReview):
    reviewed = ("alias",)
    list_display = (
        *("face", "user", "group", "alias_draft"),
        *("joined_at", "verified_at", "hidden", "left_at"),
    )
    list_display_links = ("face", "user")
    list_select_related = ["user", "group"]
    list_filter = ("alias_state", "hidden", "watermarked")
    search_fields = ("user__nickname", "alias", "group__label", "group__open_gid__exact")
    search_help_text = _("A member's nickname, a group's label, or a whole openGId")
    readonly_fields = (
        "user",
        "group",
        "joined_at",
        "verified_at",
        "left_at",
        "scene",
        "watermarked",
        "alias_draft",
    )
    fields = (*readonly_fields, "hidden", "alias")
    ordering = ("-pk",)

    def person_of(self, row: Membership) -> int:
        return row.user_id


@admin.register(Board)
class BoardAdmin(admin.ModelAdmin[Board]):
    """To look at; operators make their own in a later version."""

    list_display = ("title", "key", "order", "policy", "scope", "default_window", "app_id")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Score)
class ScoreAdmin(OfMember):
    list_display = ("face", "user", "board", "period", "value", "achieved_at")
    list_display_links = ("face", "user")
    list_select_related = ["user", "board"]
    list_filter = ("board",)
    search_fields = ("user__nickname",)
    search_help_text = _("A member's nickname")
    ordering = ("-pk",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
