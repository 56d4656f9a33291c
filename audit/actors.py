"""The one way in which the console writes down what an operator does."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import models

from core.context import KEPT_OF_ID, request_id

from .models import AuditEvent


@dataclass(frozen=True)
class Actor:
    """An operator who does something, for a reason.

    `operator` is None where none of them does it: then `who` is a command, or MEMBER or WECHAT of
    audit/models.py.
    """

    operator: User | None
    reason: str = ""
    who: str = "manage.py"

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
        """Record what is being done to `target`, a row or the name of a model.

        Call it within the transaction that does it. `details` are numbers, keys and states; never
        a name, an openid or a secret.
        """
        name, number = (
            (str(target._meta.model_name), target.pk)
            if isinstance(target, models.Model)
            else (target, None)
        )
        return AuditEvent.objects.create(
            operator=self.operator,
            operator_name=self.operator.get_username() if self.operator else self.who,
            action=action,
            app_id=app_id,
            target=name,
            target_id=number,
            member_id=member,
            group_id=group,
            reason=self.reason,
            details=details,
            request_id=request_id.get()[:KEPT_OF_ID],
        )
