"""What a person shows of themselves, and what WeChat or an operator has yet to approve.

A value under review has three columns: `name`, which others see; `name_draft`, which its owner
alone sees while it waits; and `name_state`, how the owner's last one fared. So waiting never takes
a person, or the name they had, off a ranking. The record has a fourth, `review_since`: since when
one of its values or another has been waiting.
"""

from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class State(models.TextChoices):
    APPROVED = "approved", pgettext_lazy("review", "approved")
    PENDING = "pending", pgettext_lazy("review", "awaiting review")
    REFUSED = "refused", pgettext_lazy("review", "refused")


class StateField(models.CharField[str, str]):
    """The state of the last value that its owner chose."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        fixed = {"max_length": 8, "choices": State.choices, "editable": False}
        super().__init__(*args, **{**fixed, "default": State.APPROVED.value, **kwargs})


class Reviewed(models.Model):
    """A record with values under review. Its methods change the instance; saving is the caller's,
    who holds the lock on the person."""

    reviewed: ClassVar[tuple[str, ...]]

    review_since = models.DateTimeField(_("awaits review since"), null=True, editable=False)

    class Meta:
        abstract = True

    @staticmethod
    def columns_of(name: str) -> list[str]:
        """The columns that `save(update_fields=…)` has to write."""
        return [name, f"{name}_draft", f"{name}_state", "review_since"]

    def own(self, name: str) -> str:
        """What the owner sees: the draft, or else what everybody sees."""
        return str(getattr(self, f"{name}_draft") or getattr(self, name))

    def approve(self, name: str, value: str) -> None:
        """Everybody sees `value` from now on."""
        self._put(name, value, "", State.APPROVED)

    def propose(self, name: str, value: str) -> None:
        """`value` waits; others go on seeing what they saw."""
        self._put(name, getattr(self, name), value, State.PENDING)

    def refuse(self, name: str) -> None:
        """The draft is gone; others go on seeing what they saw."""
        self._put(name, getattr(self, name), "", State.REFUSED)

    def reset(self, name: str) -> None:
        """Neither the value nor a draft of it is left, and the owner is told so."""
        self._put(name, "", "", State.REFUSED)

    def _put(self, name: str, value: str, draft: str, state: State) -> None:
        setattr(self, name, value)
        setattr(self, f"{name}_draft", draft)
        setattr(self, f"{name}_state", state.value)
        waits = any(getattr(self, f"{each}_state") == State.PENDING for each in self.reviewed)
        # Kept while anything waits: who changes a draft does not lose their place in the queue.
        self.review_since = (self.review_since or timezone.now()) if waits else None
