from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.audit import Act
from accounts.models import ServerKey, WeChatUser
from console.actions import ACTIONS

from .base import Audited, ComesFromWeChat, app_choices, face


class UnderReview(ComesFromWeChat):
    """People's own words and pictures, which an operator can approve or refuse."""

    reviewed: ClassVar[tuple[str, ...]]
    actions = ("approve_drafts", "refuse_drafts")

    @admin.action(description=_("Approve what awaits review"), permissions=["change"])
    def approve_drafts(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._decide(request, rows, "approve")

    @admin.action(description=_("Refuse what awaits review"), permissions=["change"])
    def refuse_drafts(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._decide(request, rows, "refuse")

    def _decide(self, request: HttpRequest, rows: QuerySet[Any], verdict: str) -> None:
        act = Act(request.user)  # type: ignore[arg-type]
        for row in rows:
            for column in self.reviewed:
                ACTIONS[f"{verdict}_{column}"].run(row, act)


@admin.register(WeChatUser)
class WeChatUserAdmin(UnderReview):
    exported = "members"
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

    def whose(self, row: WeChatUser) -> dict[str, Any]:
        return {"app_id": row.app_id, "member": row.pk}

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


class ServerKeyForm(forms.ModelForm[ServerKey]):
    app_id = forms.ChoiceField(label=_("appid"), choices=app_choices)


@admin.register(ServerKey)
class ServerKeyAdmin(Audited):
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
            self.audit(request, "rotate", key)
        return self.shown(request, key, text)

    @admin.action(description=_("Revoke for good"), permissions=["change"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ServerKey]) -> None:
        for key in keys:
            with transaction.atomic():
                key.revoke(timezone.now())
                self.audit(request, "revoke", key)

    def shown(self, request: HttpRequest, key: ServerKey, text: str) -> HttpResponse:
        """The one page that ever holds a key's text: an answer, never a message or a redirect."""
        context = {**self.admin_site.each_context(request), "key": key, "text": text}
        context |= {"title": _("Server key"), "opts": self.opts}
        response = TemplateResponse(request, "admin/accounts/serverkey/shown.html", context)
        patch_cache_control(response, no_store=True, private=True)
        return response
