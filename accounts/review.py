"""What a member shows of themselves, and what WeChat or an operator has yet to approve.

A value under review has five columns: `name`, which others see; `name_draft`, which its owner
alone sees while it waits; `name_state`, how the owner's last one fared; and `name_at` and
`name_draft_at`, when its owner set each of the two. So waiting never takes a member, or the name
they had, off a ranking. The record has one more, `review_since`: since when any of its values has
been waiting.
"""

from abc import abstractmethod
from datetime import datetime
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


class SetAtField(models.DateTimeField[datetime | None, datetime | None]):
    """When its owner set a value; null for none, and for those set before this was kept."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"null": True, "editable": False, **kwargs})


class Reviewed(models.Model):
    """A record with values under review.

    Its methods change the instance; the caller holds the lock on the member, and saves, with
    `save_value`.
    """

    reviewed: ClassVar[tuple[str, ...]]
    looks_new = False  # whether a value or a draft is another than the one that was read

    review_since = models.DateTimeField(_("awaits review since"), null=True, editable=False)

    class Meta:
        abstract = True

    @staticmethod
    def columns_of(name: str) -> list[str]:
        """Return the columns that `save(update_fields=…)` has to write."""
        suffixes = ("", "_draft", "_state", "_at", "_draft_at")
        return [*(name + suffix for suffix in suffixes), "review_since"]

    @abstractmethod
    def announce(self) -> None:
        """Tell other apps, before it is saved, that people see this record differently."""

    def save_value(self, name: str) -> None:
        """Save a value; announce that first where someone, its owner too, sees another now."""
        if self.looks_new:
            self.announce()
            self.looks_new = False
        self.save(update_fields=self.columns_of(name))

    def own(self, name: str) -> str:
        """Return what the owner sees: the draft, or else what everyone sees."""
        return str(getattr(self, f"{name}_draft") or getattr(self, name))

    def approve(self, name: str, value: str) -> None:
        """Show `value`, which its owner sets now, to everyone from now on."""
        self._put_value(name, value, timezone.now())
        self._put_draft(name, "", None, State.APPROVED)

    def approve_draft(self, name: str) -> None:
        """Show the draft to everyone from now on."""
        draft, at = getattr(self, f"{name}_draft"), getattr(self, f"{name}_draft_at")
        self._put_value(name, draft, at)
        self._put_draft(name, "", None, State.APPROVED)

    def propose(self, name: str, value: str) -> None:
        """Make `value` the draft; others still see what they saw."""
        self._put_draft(name, value, timezone.now(), State.PENDING)

    def refuse(self, name: str) -> None:
        """Drop the draft; others still see what they saw."""
        self._put_draft(name, "", None, State.REFUSED)

    def reset(self, name: str) -> None:
        """Drop both the value and its draft; the owner sees the state "refused"."""
        self._put_value(name, "", None)
        self._put_draft(name, "", None, State.REFUSED)

    def withdraw(self, name: str, until: datetime) -> list[str]:
        """Drop what its owner set up to `until`, and return it; what is newer stays."""
        dropped = []
        value, draft = getattr(self, name), getattr(self, f"{name}_draft")
        if value and _is_up_to(getattr(self, f"{name}_at"), until):
            self._put_value(name, "", None)
            dropped.append(value)
        if draft and _is_up_to(getattr(self, f"{name}_draft_at"), until):
            self._put_draft(name, "", None, State.APPROVED)
            dropped.append(draft)
        return dropped

    def _put_value(self, name: str, value: str, at: datetime | None) -> None:
        self.looks_new |= getattr(self, name) != value
        setattr(self, name, value)
        setattr(self, f"{name}_at", at if value else None)

    def _put_draft(self, name: str, draft: str, at: datetime | None, state: State) -> None:
        self.looks_new |= getattr(self, f"{name}_draft") != draft
        setattr(self, f"{name}_draft", draft)
        setattr(self, f"{name}_draft_at", at)
        setattr(self, f"{name}_state", state.value)
        waits = any(getattr(self, f"{each}_state") == State.PENDING for each in self.reviewed)
        # Kept while anything waits: changing a draft does not lose the place in the queue.
        self.review_since = (self.review_since or timezone.now()) if waits else None


def _is_up_to(at: datetime | None, until: datetime) -> bool:
    return at is None or at <= until
