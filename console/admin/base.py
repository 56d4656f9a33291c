"""What all pages of the admin have in common."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import DateTimeField, ManyToManyField, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

from audit.actors import Actor
from console.actions import offered
from console.paging import LONGEST_SEARCH, AppList, KeysetList, is_plain
from console.site import operator_of
from console.views import reason_of


class Moment(forms.DateTimeInput):
    """One field with the browser's own calendar; Django's two have one label."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


class Console(admin.ModelAdmin[Any]):
    """Whatever the admin shows. `app_path` leads to the appid, where the rows have one; `links` are
    the lookups by which other pages lead to a list."""

    app_path: ClassVar[str | None] = None
    links: ClassVar[tuple[str, ...]] = ()
    formfield_overrides: ClassVar[dict[Any, dict[str, Any]]] = {
        DateTimeField: {"form_class": forms.DateTimeField, "widget": Moment},
        ManyToManyField: {"widget": forms.CheckboxSelectMultiple},
    }

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[AppList]:
        return AppList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the console itself asks: by `openid__startswith` one could feel one's way to
        what is not shown, and some lookups fail or take minutes."""
        return lookup in {self.app_path, *self.links, *self._filters(request)} and is_plain(value)

    def _filters(self, request: HttpRequest) -> Iterator[str]:
        """The parameters of the filters beside a list."""
        for each in self.get_list_filter(request):
            if isinstance(each, str):
                yield from (f"{each}__exact", f"{each}__id__exact", f"{each}__isnull")
            else:
                yield str(each.parameter_name)  # type: ignore[union-attr]

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *where: Any) -> Any:
        """What is ticked on this page, and nothing beyond it."""
        ticked = request.POST.getlist(ACTION_CHECKBOX_NAME)
        numbers = all(is_plain(pk) and pk.isdecimal() for pk in ticked)
        if not numbers or request.POST.get("select_across", "0") != "0":
            raise BadRequest("_selected_action")
        return super().response_action(request, queryset, *where)

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Any], words: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(request, rows, words[:LONGEST_SEARCH])

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page of a row that exists shows beside its form."""
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
        context |= self.page(request, obj) if obj else {}
        return super().render_change_form(request, context, add, change, form_url, obj)


class Large(Console):
    """A table that may grow without end: see console/paging.py."""

    list_per_page = 50
    sortable_by = ()
    ordering = ("-pk",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "console/large_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[AppList]:
        return KeysetList

    def prepare(self, rows: Sequence[Any]) -> None:
        """Read what the columns need beside the rows of a page, all at once."""


class Audited(Console):
    """Django's admin with our audit in the place of its log, which would keep names.

    The admin logs within the transaction of the change, so the two stand or fall together.
    """

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self.audit(request, "add", obj)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self.audit(request, "change", obj, changed=_changed(message))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What goes for good goes for a reason."""
        if request.method == "POST" and not reason_of(request):
            if self.has_delete_permission(request, self.get_object(request, object_id)):
                self.message_user(request, _("Say why; nothing has been changed."), messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
            raise PermissionDenied
        return super().delete_view(request, object_id, extra_context)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return [self.audit(request, "delete", row) for row in queryset]

    def audit(self, request: HttpRequest, action: str, row: Model, **details: Any) -> Any:
        """Record what is being done to `row`."""
        app_id = getattr(row, "app_id", "")
        act = Actor(operator_of(request), reason_of(request))
        return act.record(action, row, app_id=app_id, **details)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the audit knows of this row."""
        return HttpResponseRedirect(audit_of(target=self.opts.model_name, target_id=object_id))


def _changed(message: Any) -> list[str]:
    """The names of the changed fields, out of what the admin would log."""
    parts = message if isinstance(message, list) else []
    return [name for part in parts for name in part.get("changed", {}).get("fields", [])]


class ComesFromWeChat(Large, Audited):
    """Rows that arise when people use the mini-program: nobody adds them by hand, or deletes them,
    lest scores, the day's count or a block lose their row.

    What operators do to them are the actions and verbs of groups/moderation.py, which record it.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The verb that saved it has recorded it."""


class OnlyActions(ComesFromWeChat):
    """Rows without a form: all that changes them is an action."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def audit_of(**numbers: Any) -> str:
    """The address of what the audit knows of a row, a member or a group."""
    return f"{reverse('admin:audit_auditevent_changelist')}?{urlencode(numbers)}"


@dataclass(frozen=True)
class Button:
    """A link to a page that asks before it does something."""

    label: str
    address: str
    is_harsh: bool


def buttons(request: HttpRequest, rows: Iterable[Model], *keys: str) -> list[Button]:
    """What may be done to these rows, of `keys` or of everything; each leads back to this page."""
    operator, back = operator_of(request), urlencode({"next": request.get_full_path()})
    return [
        Button(
            str(action.label),
            f"{reverse('console-act', args=[action.key, row.pk])}?{back}",
            action.is_harsh,
        )
        for row in rows
        for action in offered(operator, row, *keys)
    ]


def face(address: str, size: int = 32) -> SafeString:
    """A member's picture for a list; round by the style sheet."""
    return format_html(
        '<img class="face" src="{0}" width="{1}" height="{1}" alt="" loading="lazy">', address, size
    )


def moment(when: datetime | None) -> str:
    """Short enough for a column."""
    return f"{localtime(when):%y-%m-%d %H:%M}" if when else "–"


def pill(kind: str, text: Any) -> SafeString:
    """A state in a word; `kind` is good, wait or off."""
    return format_html('<span class="pill {}">{}</span>', kind, text)


def side_by_side(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join(" ", "{}", ((part,) for part in parts))


def shortened(opaque_id: str) -> str:
    """Enough of an id to compare, too little to use: "oAbc…9xyz"."""
    shown = min(4, len(opaque_id) // 4)
    return f"{opaque_id[:shown]}…{opaque_id[-shown:] if shown else ''}"


def app_choices() -> list[tuple[str, str]]:
    """The mini-programs that are configured here, for a form's choices."""
    return [(app_id, app_id) for app_id in settings.WECHAT_APPS]
