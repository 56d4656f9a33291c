"""Keys of teams' own back ends."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _

from console.action_page import buttons
from console.mini_programs import app_choices
from groups.models import ServerKey

from .base import AuditedModelAdmin


class ServerKeyForm(forms.ModelForm[ServerKey]):
    app_id = forms.ChoiceField(label=_("appid"), choices=app_choices)


@admin.register(ServerKey)
class ServerKeyAdmin(AuditedModelAdmin):
    """The keys; the text of one is shown once, in the answer that made it."""

    form = ServerKeyForm
    fields = ("app_id", "name")
    list_display = ("name", "app_id", "created_at", "revoked_at")
    app_path = "app_id"
    ordering = ("-pk",)
    actions = ("rotate",)
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("app_id", "created_at", "revoked_at") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.fields, *(("created_at", "revoked_at") if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a revoked key stays in the list

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
        else:
            obj.rotate(timezone.now())  # `response_add` makes the text that is shown

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self.show_text(request, obj, obj.rotate(timezone.now()))

    @admin.action(
        description=_("Rotate: a new text, and the old one ends at once"), permissions=["change"]
    )
    def rotate(self, request: HttpRequest, keys: QuerySet[ServerKey]) -> HttpResponse | None:
        if len(keys) != 1:
            self.message_user(request, _("Choose one key to rotate."), messages.WARNING)
            return None
        with transaction.atomic():
            key = keys.select_for_update().filter(revoked_at=None).first()
            if key is None:
                text = _("This key is revoked and stays so. Make another one if you need it.")
                self.message_user(request, text, messages.ERROR)
                return None
            new = key.rotate(timezone.now())
            self.audit(request, "rotate", key)
        return self.show_text(request, key, new)

    def row_context(self, request: HttpRequest, row: ServerKey) -> dict[str, Any]:
        return {"buttons": buttons(request, row)}

    def show_text(self, request: HttpRequest, key: ServerKey, text: str) -> HttpResponse:
        """Show a key's text, on the one page that ever holds it: never a message or a redirect."""
        context = {**self.admin_site.each_context(request), "key": key, "text": text}
        context |= {"title": _("Server key"), "opts": self.opts}
        response = TemplateResponse(request, "admin/groups/serverkey/shown.html", context)
        patch_cache_control(response, no_store=True, private=True)
        return response
