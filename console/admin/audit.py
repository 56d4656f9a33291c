from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.audit import AuditEvent
from console.actions import RECORDED

from .base import Large


class ByAction(admin.SimpleListFilter):
    """Out of what can be recorded; to ask the table for what is would read all of it."""

    title = _("action")
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(key, str(label)) for key, label in RECORDED.items()]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.filter(action=self.value()) if self.value() else rows


@admin.register(AuditEvent)
class AuditEventAdmin(Large):
    """Who did what, to be read by everybody who may and changed by nobody."""

    exported = "audit"
    app_path = "app_id"
    links = ("target", "target_id", "member_id", "group_id")
    list_display = ("at", "operator_name", "what", "target", "target_id", "reason")
    list_filter = (ByAction,)
    search_fields = ("operator_name__exact", "reason", "request_id__exact")
    search_help_text = _("An operator's name, words of a reason, or a request's id")

    @admin.display(description=_("action"))
    def what(self, event: AuditEvent) -> str:
        return str(RECORDED.get(event.action, event.action))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
