from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from audit.models import AuditEvent
from console.access import operator_of
from console.actions import RECORDED
from console.audit_targets import target_name, target_urls
from console.grants import grant_names, listed
from console.paging import KeysetChangeList

from .base import LargeTableAdmin

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
VALUES: dict[str, dict[str, Any]] = {
    "format": {"csv": "CSV", "xlsx": "Excel"},
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


class AuditChangeList(KeysetChangeList):
    """The audit, with links to the pages that its reader may see."""

    @cached_property
    def urls(self) -> dict[int, str]:
        return target_urls(self.result_list, self.operator)

    @admin.display(description=_("what"))
    def subject_column(self, event: AuditEvent) -> str | SafeString:
        return _target_link(event, self.urls)


class ActionFilter(admin.SimpleListFilter):
    """A filter by all that can be recorded; to ask the table would read all of it."""

    title = _("action")
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(key, str(label)) for key, label in RECORDED.items()]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.filter(action=self.value()) if self.value() else rows


@admin.register(AuditEvent)
class AuditEventAdmin(LargeTableAdmin):
    """Who did what: only to be read."""

    list_title = _("Audit")
    exported = "audit"
    app_path = "app_id"
    links = ("target", "target_id", "member_id", "group_id")
    list_display = ("at", "who", "what", "subject", "reason")
    list_filter = (ActionFilter,)
    search_fields = ("operator_name__exact", "reason", "request_id__exact")
    search_help_text = _("An operator's name, words of a reason, or a request's id")

    fields = (
        "at",
        "who",
        "what",
        "app_id",
        "member_id",
        "group_id",
        "reason",
        "described",
        "request_id",
    )
    readonly_fields = fields

    @admin.display(description=_("operator"), ordering="operator_name")
    def who(self, event: AuditEvent) -> str:
        return event.who

    @admin.display(description=_("action"))
    def what(self, event: AuditEvent) -> str:
        return str(RECORDED.get(event.action, event.action))

    @admin.display(description=_("what"))
    def subject(self, event: AuditEvent) -> str:
        return target_name(event)

    @admin.display(description=_("details"))
    def described(self, event: AuditEvent) -> SafeString:
        named = (
            (DETAILS.get(key, key), _plain(key, value)) for key, value in event.details.items()
        )
        return format_html_join(SafeString("<br>"), "{}: {}", named)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[AuditChangeList]:
        return AuditChangeList

    def row_context(self, request: HttpRequest, row: AuditEvent) -> dict[str, Any]:
        """Lead to what the event is about."""
        link = _target_link(row, target_urls([row], operator_of(request)))
        return {"title": self.what(row), "subtitle": None, "target": link}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _target_link(event: AuditEvent, urls: Mapping[int, str]) -> str | SafeString:
    """Return the name of what an event is about, with a link where it has a page."""
    name, url = target_name(event), urls.get(event.pk)
    return format_html('<a href="{}">{}</a>', url, name) if url else name


def _plain(key: str, value: Any) -> str:
    """Return a detail for people; Django notes changed fields by their untranslated names."""
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if key in {"given", "taken"}:
        return listed(grant_names(value)) or "–"
    if isinstance(value, list):
        return listed(gettext(str(each)) for each in value) or "–"
    return str(VALUES.get(key, {}).get(value, value))
