"""Keys of teams' own back ends."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext

from audit.actors import Actor
from console import shown_once
from console.access import operator_of
from console.action_page import buttons
from console.dates import moment
from console.mini_programs import app_choices
from console.reasons import ReasonField
from core.vault import decrypt, encrypt
from groups.models import ServerKey

from .base import pill
from .stale import SeenForm, SeenModelAdmin


class ServerKeyForm(SeenForm[ServerKey]):
    app_id = forms.ChoiceField(label=_("appid"), choices=app_choices)

    def clean(self) -> dict[str, Any] | None:
        """Refuse a second key of a name: also the one that a form sent twice would make."""
        super().clean()
        app_id = self.cleaned_data.get("app_id", self.instance.app_id)
        same = ServerKey.objects.filter(app_id=app_id, name=self.cleaned_data.get("name"))
        if same.filter(revoked_at=None).exclude(pk=self.instance.pk).exists():
            text = _(
                "This mini-program has a key of that name. Choose another, or rotate that key."
            )
            self.add_error("name", text)
        return self.cleaned_data


class RotationForm(forms.Form):
    """Why a key gets a new text; `made` says which text the operator saw, and can replace."""

    made = forms.CharField(widget=forms.HiddenInput)
    reason = ReasonField(widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}))


@admin.register(ServerKey)
class ServerKeyAdmin(SeenModelAdmin):
    """The keys; the text of one is shown once, on its page, after it was made."""

    list_title = _("Server keys")
    when_empty = _("With a key your own server writes scores, makes log-ins and reads rankings.")
    form = ServerKeyForm
    fields = ("app_id", "name")
    facts: ClassVar[tuple[str, ...]] = ("beginning", "made", "last_used", "state")
    list_display = ("name", "app", *facts)
    app_path = "app_id"
    ordering = ("-pk",)
    show_full_result_count = False

    @admin.display(description=_("Mini-program"))
    def app(self, key: ServerKey) -> str:
        return key.app_id

    @admin.display(description=_("begins with"))
    def beginning(self, key: ServerKey) -> SafeString | str:
        return format_html("<code>{}…</code>", key.prefix) if key.prefix else "–"

    @admin.display(description=_("made"))
    def made(self, key: ServerKey) -> str:
        return moment(key.created_at)

    @admin.display(description=_("last used"))
    def last_used(self, key: ServerKey) -> str:
        return moment(key.last_used_at) if key.last_used_at else str(_("not used yet"))

    @admin.display(description=_("state"))
    def state(self, key: ServerKey) -> SafeString:
        if key.revoked_at is None:
            return pill("good", pgettext("state", "valid"))
        return format_html(
            "{} {}", pill("off", pgettext("state", "revoked")), moment(key.revoked_at)
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("app_id", *self.facts) if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.fields, *(self.facts if obj else ()))

    def get_urls(self) -> list[Any]:
        rotate = self.admin_site.admin_view(self.rotate_view)
        return [
            path("<path:object_id>/rotate/", rotate, name="groups_serverkey_rotate"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to open the new key's page, which alone shows its text."""
        return super().has_add_permission(request) and self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a revoked key stays in the list

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
        else:
            self.show(request, obj, obj.rotate(timezone.now()))

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(page_of(obj))

    def lock(self, request: HttpRequest, row: Any) -> None:
        """Let the same form sent twice at once wait for itself: its second turn is refused."""
        User.objects.select_for_update().filter(pk=operator_of(request).pk).first()
        super().lock(request, row)

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then give a key a new text: `/admin/groups/serverkey/5/rotate/`."""
        key = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, key):
            raise PermissionDenied
        if key is None:
            raise Http404
        form = RotationForm(request.POST or None, initial={"made": key.created_at.isoformat()})
        if request.method == "POST" and form.is_valid():
            self.rotate(request, key, **form.cleaned_data)
            return HttpResponseRedirect(page_of(key))
        context = {**self.admin_site.each_context(request), "opts": self.opts, "original": key}
        context |= {"title": _("Rotate"), "form": form, "back": page_of(key)}
        context |= {"crumbs": [(key.name, page_of(key))], "last_used": self.last_used(key)}
        return TemplateResponse(request, "admin/groups/serverkey/rotate.html", context)

    def rotate(self, request: HttpRequest, key: ServerKey, made: str, reason: str) -> None:
        """Give the text that was made at `made` a successor, once, unless the key is revoked."""
        with transaction.atomic():
            key = ServerKey.objects.select_for_update().get(pk=key.pk)
            if key.revoked_at is not None:
                text = _("This key is revoked and stays so. Make another one if you need it.")
                messages.error(request, text)
            elif key.created_at.isoformat() != made:
                messages.error(
                    request, _("The key was rotated meanwhile. Nothing has been changed.")
                )
            else:
                self.show(request, key, key.rotate(timezone.now()))
                Actor(operator_of(request), reason).record("rotate", key, app_id=key.app_id)

    def show(self, request: HttpRequest, key: ServerKey, text: str) -> None:
        """Let the next look at the key's page show its text."""
        shown_once.keep(request, key, encrypt(text))

    def row_context(self, request: HttpRequest, row: ServerKey) -> dict[str, Any]:
        may_rotate = row.revoked_at is None and self.has_change_permission(request, row)
        return {
            "buttons": buttons(request, row),
            "new_text": decrypt(shown_once.take(request, row) or ""),
            "rotate_url": reverse("admin:groups_serverkey_rotate", args=[row.pk]) * may_rotate,
        }


def page_of(key: ServerKey) -> str:
    return reverse("admin:groups_serverkey_change", args=[key.pk])
