from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from .models import WeChatUser

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


def face(user: WeChatUser) -> SafeString:
    return format_html('<img src="{}" width="32" height="32" alt="">', user.avatar_path)


@admin.register(WeChatUser)
class WeChatUserAdmin(ComesFromWeChat):
    list_display = ("face", "name", "status", "app_id", "created_at")
    list_display_links = ("face", "name")
    list_filter = ("status", "app_id")
    search_fields = ("nickname", "openid__exact")
    search_help_text = _("Nickname, or a whole openid")
    readonly_fields = ("face", "app_id", "openid", "unionid", "created_at", "session_key_at")
    fields = (*readonly_fields, "nickname", "status")
    ordering = ("-pk",)
    show_full_result_count = False

    @admin.display(description=_("nickname"), ordering="nickname")
    def name(self, user: WeChatUser) -> str:
        return user.display_name

    @admin.display(description=_("avatar"))
    def face(self, user: WeChatUser) -> SafeString:
        return face(user)
