from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from .models import WeChatUser
from .services import decide

admin.site.site_header = _("Group rankings")
admin.site.site_title = _("Group rankings")
admin.site.index_title = _("Console")


class ComesFromWeChat(admin.ModelAdmin[Any]):
    """Rows that arise when people use the mini-program: nobody adds them by hand.

    Nor deletes them: scores, the day's count or a block would outlive or lose their row.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Writes what was changed and nothing else: the rest may have moved on meanwhile."""
        obj.save(update_fields=form.changed_data)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """Without the person's name: the log outlives an erasure."""
        entry: LogEntry = super().log_change(request, obj, message)
        entry.object_repr = f"#{obj.pk}"
        entry.save(update_fields=["object_repr"])
        return entry


class UnderReview(ComesFromWeChat):
    """People's own words and pictures, which an operator can approve or refuse."""

    reviewed: ClassVar[tuple[str, ...]]
    actions = ("approve_drafts", "refuse_drafts")

    @admin.action(description=_("Approve what awaits review"), permissions=["change"])
    def approve_drafts(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._decide(rows, approved=True)

    @admin.action(description=_("Refuse what awaits review"), permissions=["change"])
    def refuse_drafts(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._decide(rows, approved=False)

    def _decide(self, rows: QuerySet[Any], *, approved: bool) -> None:
        for row in rows:
            with transaction.atomic():
                WeChatUser.objects.lock(self.person_of(row))
                row.refresh_from_db()
                for column in self.reviewed:
                    decide(row, column, approved=approved)

    def person_of(self, row: Any) -> int:
        """The pk of the person that a row is about."""
        return int(row.pk)


def face(address: str) -> SafeString:
    return format_html('<img src="{}" width="32" height="32" alt="">', address)


@admin.register(WeChatUser)
class WeChatUserAdmin(UnderReview):
    reviewed = ("nickname", "avatar")
    list_display = ("face", "name", "draft", "draft_face", "status", "app_id", "created_at")
    list_display_links = ("face", "name")
    list_filter = ("nickname_state", "avatar_state", "status", "app_id")
    search_fields = ("nickname", "openid__exact")
    search_help_text = _("Nickname, or a whole openid")
    readonly_fields = (
        *("face", "draft_face", "draft"),
        *("app_id", "openid", "unionid", "created_at", "session_key_at"),
    )
    fields = (*readonly_fields, "nickname", "status")
    ordering = ("-pk",)
    show_full_result_count = False

    @admin.display(description=_("nickname"), ordering="nickname")
    def name(self, user: WeChatUser) -> str:
        return user.display_name

    @admin.display(description=_("avatar"))
    def face(self, user: WeChatUser) -> SafeString:
        return face(user.avatar_path)

    @admin.display(description=_("name awaiting review"), empty_value="")
    def draft(self, user: WeChatUser) -> str:
        return user.nickname_draft

    @admin.display(description=_("avatar awaiting review"), empty_value="")
    def draft_face(self, user: WeChatUser) -> SafeString | None:
        return face(user.own_avatar_path) if user.avatar_draft else None
