from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.audit import AuditEvent
from console.actions import RECORDED


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin[AuditEvent]):
    """Who did what, to be read by everybody who may and changed by nobody."""

    exported = "audit"
    list_display = ("at", "operator_name", "what", "target", "target_id", "reason")
    list_filter = ("action", "app_id")
    search_fields = ("operator_name__exact", "reason", "request_id__exact")
    search_help_text = _("An operator's name, words of a reason, or a request's id")
    ordering = ("-pk",)
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        numbers = {"target", "target_id", "member_id", "group_id"}
        return lookup in numbers or super().lookup_allowed(lookup, value, request)

    @admin.display(description=_("action"), ordering="action")
    def what(self, event: AuditEvent) -> str:
        return str(RECORDED.get(event.action, event.action))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
