from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from .models import ServerKey, WeChatUser
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


def app_choices() -> list[tuple[str, str]]:
    """The mini-programs that are configured here, for a form's choices."""
    return [(app_id, app_id) for app_id in settings.WECHAT_APPS]


class ServerKeyForm(forms.ModelForm[ServerKey]):
    app_id = forms.ChoiceField(label=_("appid"), choices=app_choices)


@admin.register(ServerKey)
class ServerKeyAdmin(admin.ModelAdmin[ServerKey]):
    """Keys of teams' own back ends. The text of one is shown in the answer that made it, once."""

    form = ServerKeyForm
    fields = ("app_id", "name")
    list_display = ("name", "app_id", "created_at", "revoked_at")
    list_filter = ("app_id",)
    ordering = ("-pk",)
    actions = ("rotate", "revoke")
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("app_id", "created_at", "revoked_at") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.fields, *(("created_at", "revoked_at") if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # revoked, it goes on telling that it was there

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
        else:
            obj.text = obj.rotate(timezone.now())

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self.shown(request, obj, obj.text)

    @admin.action(
        description=_("Rotate: a new text, and the old one ends at once"), permissions=["change"]
    )
    def rotate(self, request: HttpRequest, keys: QuerySet[ServerKey]) -> HttpResponse | None:
        if len(keys) != 1:
            self.message_user(request, _("Choose one key to rotate."), messages.WARNING)
            return None
        [key] = keys
        with transaction.atomic():
            text = key.rotate(timezone.now())
            self.log_change(request, key, "rotated")
        return self.shown(request, key, text)

    @admin.action(description=_("Revoke for good"), permissions=["change"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ServerKey]) -> None:
        for key in keys:
            with transaction.atomic():
                key.revoke(timezone.now())
                self.log_change(request, key, "revoked")

    def shown(self, request: HttpRequest, key: ServerKey, text: str) -> HttpResponse:
        """The one page that ever holds a key's text: an answer, never a message or a redirect."""
        context = {**self.admin_site.each_context(request), "key": key, "text": text}
        context |= {"title": _("Server key"), "opts": self.opts}
        response = TemplateResponse(request, "admin/accounts/serverkey/shown.html", context)
        patch_cache_control(response, no_store=True, private=True)
        return response
