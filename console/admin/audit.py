from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from audit.models import AuditEvent
from console.actions import RECORDED
from console.paging import AppList, KeysetList
from console.site import operator_of
from console.subjects import add_pages, subject_of

from .base import Large

# What `details` holds, for people who read it.
DETAILS = {
    "way": _("by"),
    "changed": _("changed"),
    "outcome": _("outcome"),
    "board": _("board"),
    "period": _("period"),
    "who": _("who"),
    "format": _("format"),
    "rows": _("rows"),
    "openids": _("with openids"),
    "filters": _("filters"),
    "given": _("given"),
    "taken": _("taken"),
}
VALUES = {
    "way": {
        "password": _("password"),
        "link": _("one-time link"),
        "code": _("code of the app"),
        "backup_code": _("backup code"),
    },
    "who": {
        "member": _("member"),
        "next": _("the next who logs in"),
        "everyone": _("everyone"),
    },
}


class AuditList(KeysetList):
    """With where each row leads its reader."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        add_pages(self.result_list, operator_of(request))


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
    list_display = ("at", "operator_name", "what", "subject", "reason")
    list_filter = (ByAction,)
    search_fields = ("operator_name__exact", "reason", "request_id__exact")
    search_help_text = _("An operator's name, words of a reason, or a request's id")

    fields = (
        *("at", "operator_name", "what", "subject", "app_id", "member_id", "group_id"),
        *("reason", "told", "request_id"),
    )
    readonly_fields = fields

    @admin.display(description=_("action"))
    def what(self, event: AuditEvent) -> str:
        return str(RECORDED.get(event.action, event.action))

    @admin.display(description=_("what"))
    def subject(self, event: Any) -> str | SafeString:
        name = subject_of(event)
        return format_html('<a href="{}">{}</a>', event.page, name) if event.page else name

    @admin.display(description=_("details"))
    def told(self, event: AuditEvent) -> SafeString:
        named = (
            (DETAILS.get(key, key), _plain(key, value)) for key, value in event.details.items()
        )
        return format_html_join(SafeString("<br>"), "{}: {}", named)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[AppList]:
        return AuditList

    def page(self, request: HttpRequest, row: AuditEvent) -> dict[str, Any]:
        add_pages([row], operator_of(request))
        return {"title": self.what(row), "subtitle": None}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _plain(key: str, value: Any) -> str:
    """Django notes changed fields by their untranslated names."""
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, list):
        return pgettext("between names", ", ").join(gettext(str(each)) for each in value) or "–"
    return str(VALUES.get(key, {}).get(value, value))
