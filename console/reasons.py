"""Why an operator does something: asked in a form, kept in the audit."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from audit.models import MAX_REASON


class ReasonField(forms.CharField):
    """A reason as the audit can keep it: without NUL, which PostgreSQL takes in no text."""

    def __init__(self, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "label": _("reason"),
            "max_length": MAX_REASON,
            "help_text": _("Kept in the audit. Write no names, numbers or openids."),
            "widget": forms.TextInput(attrs={"autocomplete": "off"}),
        }
        super().__init__(**defaults | kwargs)

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value.replace("\0", "") if value else value))


class ReasonForm(forms.Form):
    """The reason alone, as the page of an action asks for it."""

    reason = ReasonField()

    def __init__(self, *args: Any, required: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = required


def read_reason(request: HttpRequest) -> str:
    """Return the reason that came with any form; "" without one that can be kept."""
    form = ReasonForm(request.POST)
    return str(form.cleaned_data["reason"]) if form.is_valid() else ""
