"""What members report of each other: a name or face that a group would not want to see."""

import json
from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import WeChatUser
from core.signed import digests

from .groups import Membership


def shown_digests(membership: Membership) -> list[str]:
    """Return the digests of what the group sees of a member, name and face: the one to keep, then
    those that were kept under former values of SECRET_KEY.
    """
    user = membership.user
    shown = [membership.alias or user.nickname, user.avatar]
    return [digest[:32] for digest in digests(json.dumps(shown), "groups.report")]


class ReportQuerySet(models.QuerySet["Report"]):
    def open(self) -> Self:
        """Keep those that no operator has decided."""
        return self.filter(outcome="")

    def settle(self, membership: Membership, outcome: "Report.Outcome", now: datetime) -> int:
        """Close what is open about a member in a group; return how many reports that were."""
        rows = self.open().filter(membership=membership)
        return rows.update(outcome=outcome, settled_at=now)


class Report(models.Model):
    """What one member reports of another in a group: the name and face that are shown there now.

    What was shown is kept as a digest, to tell whether the member has changed it since. Of one
    thing a member's first report counts, and is remembered after the decision.
    """

    class Reason(models.TextChoices):
        ADVERT = "advert", pgettext_lazy("report", "advertising")
        ABUSE = "abuse", pgettext_lazy("report", "abuse")
        IMPERSONATION = "impersonation", pgettext_lazy("report", "impersonation")
        ILLEGAL = "illegal", pgettext_lazy("report", "against the law")
        OTHER = "other", pgettext_lazy("report", "another reason")

    class Outcome(models.TextChoices):
        DISMISSED = "dismissed", pgettext_lazy("report", "dismissed")
        UPHELD = "upheld", pgettext_lazy("report", "upheld")

    user = models.ForeignKey(
        WeChatUser, models.CASCADE, related_name="reports", verbose_name=_("member"), db_index=False
    )
    membership = models.ForeignKey(Membership, models.CASCADE, related_name="reports")
    reason = models.CharField(_("reason"), max_length=13, choices=Reason.choices)
    shown = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)
    outcome = models.CharField(max_length=9, choices=Outcome.choices, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[ReportQuerySet] = ReportQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = verbose_name_plural = _("report")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "membership", "shown"], name="one_report_per_thing"
            )
        ]
        indexes = [models.Index(fields=["outcome", "created_at"], name="open_reports")]

    def __str__(self) -> str:
        return f"report {self.pk}"


def reported() -> models.QuerySet[Membership]:
    """Select the memberships with open reports, the longest waiting first.

    Each has `since`, the number of `reporters`, the digest that was reported `last`, and by reason
    the number of its reports.
    """
    about = Report.objects.open().filter(membership=models.OuterRef("pk")).order_by("-pk")
    by_reason = {
        reason.value: models.Count("reports", filter=models.Q(reports__reason=reason))
        for reason in Report.Reason
    }
    rows = Membership.objects.filter(reports__outcome="").select_related("user", "group")
    return rows.annotate(
        since=models.Min("reports__created_at"),
        reporters=models.Count("reports__user", distinct=True),
        last=models.Subquery(about.values("shown")[:1]),
        **by_reason,
    ).order_by("since", "pk")


def reports_sent(outcome: str | None = None) -> models.Count:
    """Count the reports that a member has sent, or those of them with that outcome."""
    return models.Count("reports", filter=models.Q(reports__outcome=outcome) if outcome else None)
