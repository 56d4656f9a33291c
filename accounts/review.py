"""What a member shows of themselves, and what WeChat or an operator has yet to approve.

A value under review has three columns: `name`, which others see; `name_draft`, which its owner
alone sees while it waits; and `name_state`, how the owner's last one fared. So waiting never takes
a member, or the name they had, off a ranking. The record has a fourth, `review_since`: since when
any of its values has been waiting.
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
    """A record with values under review.

    Its methods change the instance; the caller holds the lock on the member, and saves.
    """

    reviewed: ClassVar[tuple[str, ...]]

    review_since = models.DateTimeField(_("awaits review since"), null=True, editable=False)

    class Meta:
        abstract = True

    @staticmethod
    def columns_of(name: str) -> list[str]:
        """Return the columns that `save(update_fields=…)` has to write."""
        return [name, f"{name}_draft", f"{name}_state", "review_since"]

    def own(self, name: str) -> str:
        """Return what the owner sees: the draft, or else what everyone sees."""
        return str(getattr(self, f"{name}_draft") or getattr(self, name))

    def approve(self, name: str, value: str) -> None:
        """Show `value` to everyone from now on."""
        self._put(name, value, "", State.APPROVED)

    def propose(self, name: str, value: str) -> None:
        """Make `value` the draft; others still see what they saw."""
        self._put(name, getattr(self, name), value, State.PENDING)

    def refuse(self, name: str) -> None:
        """Drop the draft; others still see what they saw."""
        self._put(name, getattr(self, name), "", State.REFUSED)

    def reset(self, name: str) -> None:
        """Drop both the value and its draft; the owner sees the state "refused"."""
        self._put(name, "", "", State.REFUSED)

    def _put(self, name: str, value: str, draft: str, state: State) -> None:
        setattr(self, name, value)
        setattr(self, f"{name}_draft", draft)
        setattr(self, f"{name}_state", state.value)
        waits = any(getattr(self, f"{each}_state") == State.PENDING for each in self.reviewed)
        # Kept while anything waits: changing a draft does not lose the place in the queue.
        self.review_since = (self.review_since or timezone.now()) if waits else None
