"""What operators did: who, to whom, why; written in the transaction that does it.

Neither names nor openids: a record outlives an erasure, so it tells people by our own number.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .caller import request_id
from .fields import OpaqueIdField

LONGEST_REASON = 200  # characters


class AuditEvent(models.Model):
    """One thing an operator did. `target` is a model's name, in small letters.

    Numbers instead of foreign keys, since what they point at may be gone.
    """

    at = models.DateTimeField(_("when"), default=timezone.now, db_index=True)
    operator = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", verbose_name=_("operator")
    )
    operator_name = models.CharField(_("operator"), max_length=150)
    action = models.CharField(_("action"), max_length=40, db_index=True)
    app_id = OpaqueIdField(_("appid"), blank=True)
    target = models.CharField(_("what"), max_length=40)
    target_id = models.BigIntegerField(_("its number"), null=True)
    member_id = models.BigIntegerField(_("member's number"), null=True, db_index=True)
    group_id = models.BigIntegerField(_("group's number"), null=True, db_index=True)
    reason = models.CharField(_("reason"), max_length=LONGEST_REASON, blank=True)
    details = models.JSONField(_("details"), default=dict)
    request_id = models.CharField(_("request's id"), max_length=32, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = _("audit")
        indexes = [models.Index(fields=["target", "target_id"], name="audit_of_target")]

    def __str__(self) -> str:
        return f"{self.action} {self.target} #{self.target_id}"


@dataclass(frozen=True)
class Act:
    """An operator's hand at work, or None's at a command line, and the reason they gave."""

    operator: User | None
    reason: str = ""

    def record(
        self,
        action: str,
        target: models.Model | str,
        *,
        app_id: str = "",
        member: int | None = None,
        group: int | None = None,
        **details: Any,
    ) -> AuditEvent:
        """Write what is being done to `target`, a row or a kind of rows.

        To be called within the transaction that does it. `details` are numbers, keys and states;
        never a name, an openid or a secret.
        """
        kind, number = _identity(target)
        return AuditEvent.objects.create(
            operator=self.operator,
            operator_name=self.operator.get_username() if self.operator else "manage.py",
            action=action,
            app_id=app_id,
            target=kind,
            target_id=number,
            member_id=member,
            group_id=group,
            reason=self.reason,
            details=details,
            request_id=request_id.get(),
        )


def _identity(target: models.Model | str) -> tuple[str, int | None]:
    if isinstance(target, str):
        return target, None
    return str(target._meta.model_name), target.pk
