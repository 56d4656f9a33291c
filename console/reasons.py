"""Why an operator does something: asked in a form, kept in the audit."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
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
    """A reason in words, one of the offered reasons, or both; `reason` is then all of it."""

    reason = ReasonField()
    preset = ReasonField(required=False)

    def __init__(self, *args: Any, required: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.data.get("preset", "").strip()
        self.fields["reason"].required = required and not chosen
        self.fields["reason"].widget.attrs["autofocus"] = True

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "reason" in data and "preset" in data:
            data["reason"] = " · ".join(filter(None, [data["preset"], data["reason"]]))
            if len(data["reason"]) > MAX_REASON:
                raise ValidationError({"reason": _("Give a shorter reason.")})
        return data


def read_reason(request: HttpRequest) -> str:
    """Return the reason that came with any form; "" without one that can be kept."""
    form = ReasonForm(request.POST)
    return str(form.cleaned_data["reason"]) if form.is_valid() else ""
