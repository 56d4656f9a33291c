"""Two tabs, or two operators, on one row: the form that was opened first does not win unseen.

A form carries what its row held when it was opened, as a short digest of each field. Where that is
not what the row holds now, the form is refused, says which fields were changed meanwhile, by whom
and to what, and keeps what was typed; saved again, it is saved over what it has just shown.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

from django import forms
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext, pgettext

from audit.models import AuditEvent
from console.dates import moment

from .base import AuditedModelAdmin

OPENED = "@"  # no field is called that

RowT = TypeVar("RowT", bound=Model)


class SeenField(forms.CharField):
    """The digests, hidden in the form. Without them, as from a script, nothing is compared."""

    widget = forms.HiddenInput

    def __init__(self) -> None:
        super().__init__(required=False, max_length=4000)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False  # it is no part of the row, nor of what the audit calls changed

    def clean(self, value: Any) -> dict[str, str]:
        return dict(pair.partition(":")[::2] for pair in super().clean(value).split())


class SeenForm(forms.ModelForm[RowT]):
    """A form that is refused where its row has changed since it was opened."""

    seen = SeenField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored = {name: value for name, value in self.initial.items() if name in self.fields}
        if self.instance.pk:
            self.initial["seen"] = self.written()

    def written(self) -> str:
        """Return what is seen now, and when."""
        now = {OPENED: str(int(timezone.now().timestamp())), **self.digests()}
        return " ".join(f"{name}:{digest}" for name, digest in now.items())

    def digests(self) -> dict[str, str]:
        return {name: _digest(self.stored.get(name)) for name in self.fields if name != "seen"}

    def clean(self) -> dict[str, Any] | None:
        super().clean()
        seen, now = self.cleaned_data.pop("seen", {}), self.digests()
        changed = [name for name in now if seen.get(name, now[name]) != now[name]]
        problems = [
            *self.what_changed(changed, seen.pop(OPENED, "")),
            *self.what_is_settled(seen.keys() - now.keys()),
        ]
        if self.instance.pk and problems:
            self.add_error(None, problems)
            data: Any = self.data
            self.data = data = data.copy()
            data[self.add_prefix("seen")] = self.written()
        return self.cleaned_data

    def what_changed(self, names: Iterable[str], opened: str) -> list[str]:
        """Say who changed the row since the form was opened, and what these fields hold now."""
        lines: list[str] = []
        for name in names:
            field = self.fields[name]
            label, now = capfirst(str(field.label or name)), readable(field, self.stored.get(name))
            text = gettext("{field} is now: {value}")
            lines.append(format_html(text, field=label, value=now))
        if not lines:
            return []
        events = AuditEvent.objects.filter(
            target=self.instance._meta.model_name, target_id=self.instance.pk, action="change"
        )
        since = datetime.fromtimestamp(int(opened), UTC) if _is_moment(opened) else timezone.now()
        event = events.filter(at__gte=since).order_by("-pk").first()
        who = gettext("{who} has changed this meanwhile ({when}).")
        if event is None:
            who = gettext("This has been changed meanwhile.")
        else:
            who = format_html(who, who=event.who, when=moment(event.at))
        how = gettext("Nothing has been saved: compare, then save again to put yours in its place.")
        return [who, *lines, how]

    def what_is_settled(self, names: Iterable[str]) -> list[str]:
        """Say which fields can no longer be changed, where something else was typed."""
        model: Any = self.instance._meta
        columns = [column for column in model.concrete_fields if column.name in names]
        text = gettext("{field} cannot be changed any more: scores have come in meanwhile.")
        return [
            format_html(text, field=capfirst(str(column.verbose_name)))
            for column in columns
            if self.data.get(column.name, "") != column.value_to_string(self.instance)
        ]


def _is_moment(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) < 12


def _digest(value: Any) -> str:
    """Return a few letters that differ where the value of a field differs."""
    if isinstance(value, list | tuple | set):
        value = sorted(str(getattr(each, "pk", each)) for each in value)
    return sha256(str(value).encode()).hexdigest()[:10]


def readable(field: forms.Field, value: Any) -> str:
    """Return a field's value as the form's reader would name it."""
    if isinstance(field, forms.ModelMultipleChoiceField):
        name_of = getattr(field, "name_of", field.label_from_instance)
        names = [name_of(each) for each in value or ()]
        return pgettext("between names", ", ").join(map(str, names)) or "–"
    if isinstance(field, forms.BooleanField):
        return gettext("yes") if value else gettext("no")
    if isinstance(field, forms.ChoiceField):
        choices: Any = field.choices
        labels = {str(key): str(label) for key, label in choices}
        chosen = value if isinstance(value, list | tuple) else [value]
        return pgettext("between names", ", ").join(labels.get(str(x), str(x)) for x in chosen)
    if isinstance(value, datetime):
        return moment(value)
    return "–" if value in (None, "") else str(value)


def _replaced(fields: Iterable[Any], by: dict[str, str]) -> list[Any]:
    """Return the fields of a form, some in one line, with others in the place of some."""
    return [by.get(x, x) if isinstance(x, str) else tuple(_replaced(x, by)) for x in fields]


class SeenModelAdmin(AuditedModelAdmin):
    """Pages of rows with a SeenForm: what a form is compared with stays so until it is saved.

    Where a row cannot be changed, each field of `read_only` gives way to one that is for people.
    """

    read_only: ClassVar[dict[str, str]] = {}

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        found: Any = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return found
        return [
            (title, {**how, "fields": _replaced(how["fields"], self.read_only)})
            for title, how in found
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method != "POST":
            return super().changeform_view(request, object_id, form_url, extra_context)
        with transaction.atomic():
            self.lock(request, self.get_object(request, unquote(object_id)) if object_id else None)
            return super().changeform_view(request, object_id, form_url, extra_context)

    def lock(self, request: HttpRequest, row: Any) -> None:
        """Let other forms of this row wait until the transaction ends."""
        if row is not None:
            self.model._default_manager.select_for_update().filter(pk=row.pk).first()
