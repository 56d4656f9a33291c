"""Model fields for what members show of themselves."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.fields import PersonalTextField

from .nicknames import MAX_CODE_POINTS, UnacceptableNickname, clean_nickname

REFUSALS = {
    "blank": _("This name would look empty. Use at least one visible character."),
    "too_long": _("This name is too long. Use at most 32 characters."),
}


def acceptable_nickname(text: str) -> str:
    """Return `text` as it may be shown. Raises Django's ValidationError with a sentence."""
    try:
        return clean_nickname(text)
    except UnacceptableNickname as error:
        raise ValidationError(REFUSALS[error.reason], code=error.reason) from None


class NicknameField(PersonalTextField):
    """A name that others see, cleaned by every form it comes through; may be empty."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_length": MAX_CODE_POINTS, "blank": True, **kwargs})

    def clean(self, value: Any, model_instance: models.Model | None) -> str:
        text: str = super().clean(value, model_instance)
        return acceptable_nickname(text) if text else ""
