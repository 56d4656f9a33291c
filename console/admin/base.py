"""What all pages of the admin have in common."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db.models import DateTimeField, ManyToManyField, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from audit.actors import Actor
from console.access import operator_of
from console.actions import Text
from console.audit_targets import audit_url
from console.paging import LONGEST_SEARCH, KeysetChangeList, MiniProgramChangeList, is_plain
from console.reasons import read_reason
from console.replica import from_replica
from core.routing import LISTED


class DateTimeWidget(forms.DateTimeInput):
    """One field with the browser's own calendar; Django's two have one label."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


class ConsoleModelAdmin(admin.ModelAdmin[Any]):
    """What every model of the admin has in common.

    `app_path` leads to the appid, where the rows have one; `links` are the lookups by which other
    pages lead to a list; `list_title` stands above the list; `exported` is the name of its
    download; `when_empty` says how the first row comes. No row is changed from a list: each has a
    page that says what is done to it.
    """

    app_path: ClassVar[str | None] = None
    links: ClassVar[tuple[str, ...]] = ()
    list_title: ClassVar[Text] = ""
    exported: ClassVar[str] = ""
    when_empty: ClassVar[Text] = ""
    actions = None
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    formfield_overrides: ClassVar[dict[Any, dict[str, Any]]] = {
        DateTimeField: {"form_class": forms.DateTimeField, "widget": DateTimeWidget},
        ManyToManyField: {"widget": forms.CheckboxSelectMultiple},
    }

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MiniProgramChangeList]:
        return MiniProgramChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list; from the replica, unless it is of operators or roles."""
        show: Any = super().changelist_view
        if self.opts.app_label in LISTED:
            show = from_replica(show)
        return show(request, extra_context)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the console itself asks.

        By `openid__startswith` one could guess what is not shown, and some lookups fail or take
        minutes.
        """
        return lookup in {self.app_path, *self.links, *self._filters(request)} and is_plain(value)

    def _filters(self, request: HttpRequest) -> Iterator[str]:
        """Find the parameters of the filters beside a list."""
        for each in self.get_list_filter(request):
            if isinstance(each, str):
                yield from (f"{each}__exact", f"{each}__id__exact", f"{each}__isnull")
            else:
                yield str(each.parameter_name)  # type: ignore[union-attr]

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Any], words: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(request, rows, words[:LONGEST_SEARCH])

    @property
    def media(self) -> forms.Media:
        """Return nothing: our templates need none of the scripts of Django's."""
        return forms.Media()

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Return a field without Django's buttons for related rows, which need its pop-ups."""
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field

    def row_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page of a row that exists shows beside its form."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj:
            history = audit_url(target=self.opts.model_name, target_id=obj.pk)
            context |= {"title": str(obj), "subtitle": None, "history": history}
            context |= self.row_context(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to what the audit knows of this row."""
        return HttpResponseRedirect(audit_url(target=self.opts.model_name, target_id=object_id))


class LargeTableAdmin(ConsoleModelAdmin):
    """A table that may grow without end: see console/paging.py."""

    list_per_page = 50
    sortable_by = ()
    ordering = ("-pk",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MiniProgramChangeList]:
        return KeysetChangeList


class AuditedModelAdmin(ConsoleModelAdmin):
    """Django's admin with our audit in the place of its log, which would keep names.

    The admin logs within the transaction of the change, so the two are saved together or not at
    all.
    """

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self.audit(request, "add", obj, **_details(message))

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self.audit(request, "change", obj, **{"changed": []} | _details(message))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Delete a row for a reason."""
        if request.method == "POST" and not read_reason(request):
            if self.has_delete_permission(request, self.get_object(request, object_id)):
                self.message_user(request, _("Say why; nothing has been changed."), messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
            raise PermissionDenied
        return super().delete_view(request, object_id, extra_context)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return [self.audit(request, "delete", row) for row in queryset]

    def audit(self, request: HttpRequest, action: str, row: Model, **details: Any) -> Any:
        """Record what is being done to `row`."""
        actor = Actor(operator_of(request), read_reason(request))
        return actor.record(action, row, app_id=getattr(row, "app_id", ""), **details)


def _details(message: Any) -> dict[str, Any]:
    """Return what the audit keeps of the message that Django's log would keep.

    That is a list of parts: the names of changed fields, and what a part of ours says in "audit".
    """
    details: dict[str, Any] = {}
    for part in message if isinstance(message, list) else []:
        if "changed" in part:
            details["changed"] = [*details.get("changed", []), *part["changed"].get("fields", [])]
        details |= part.get("audit", {})
    return details


class WeChatModelAdmin(LargeTableAdmin, AuditedModelAdmin):
    """Rows that arise when people use the mini-program: no operator adds or deletes them.

    Deleted by hand, a row would take scores, the day's count or a block with it. What operators do
    are the actions and the functions of groups/moderation.py, which record it.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record nothing: the function that saved the change has recorded it."""


class ReadOnlyModelAdmin(WeChatModelAdmin):
    """Rows without a form: actions alone change them."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def face(address: str, size: int = 32) -> SafeString:
    """Return a member's picture for a list; the style sheet makes it round."""
    return format_html(
        '<img class="face" src="{0}" width="{1}" height="{1}" alt="" loading="lazy">', address, size
    )


def pill(kind: str, text: Any) -> SafeString:
    """Return a state in a word; `kind` is good, wait or off."""
    return format_html('<span class="pill {}">{}</span>', kind, text)


def side_by_side(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join(" ", "{}", ((part,) for part in parts))


def shortened(opaque_id: str) -> str:
    """Return enough of an id to compare, too little to use: "oAbc…9xyz"."""
    length = min(4, len(opaque_id) // 4)
    return f"{opaque_id[:length]}…{opaque_id[-length:] if length else ''}"
