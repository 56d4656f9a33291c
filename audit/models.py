"""What is kept for operators to find out: what one of them did, how a log-in or bind went, and what
phones could not do.

Neither names nor openids: an audit event outlives an erasure, so it refers to members by our own
number.
"""

from datetime import timedelta
from typing import ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from core.fields import OpaqueIdField

MAX_REASON = 200  # characters
WATCH_LIFETIME = timedelta(minutes=30)
MAX_WORD, MAX_ERR_MSG, MAX_ERRNO = 32, 200, 16  # characters of what a phone reports


MEMBER, WECHAT = "member", "WeChat"
NOT_OPERATORS = {MEMBER: pgettext_lazy("audit", "the member"), WECHAT: _("WeChat")}


class AuditEvent(models.Model):
    """One thing an operator did. `target` is a model's name, in lower case.

    Numbers instead of foreign keys, since the rows they point at may be gone. Where no operator did
    it, `operator_name` is one of NOT_OPERATORS, or a command.
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
    reason = models.CharField(_("reason"), max_length=MAX_REASON, blank=True)
    details = models.JSONField(_("details"), default=dict)
    request_id = models.CharField(_("request's id"), max_length=32, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = _("audit")
        indexes = [models.Index(fields=["target", "target_id"], name="audit_of_target")]

    def __str__(self) -> str:
        return f"{self.action} {self.target} #{self.target_id}"

    @property
    def who(self) -> str:
        """Return who did it, in the reader's language where it was no operator."""
        known = NOT_OPERATORS if self.operator_id is None else {}
        return str(known.get(self.operator_name, self.operator_name))


class Attempt(models.Model):
    """One log-in or bind, step by step: see audit/attempts.py.

    `outcome` is the code of the error that the client got, "" after a success.
    """

    at = models.DateTimeField(default=timezone.now, db_index=True)
    app_id = OpaqueIdField(blank=True)
    user = models.ForeignKey(
        "accounts.WeChatUser", models.CASCADE, null=True, related_name="attempts"
    )
    kind = models.CharField(max_length=7)
    outcome = models.CharField(max_length=30, blank=True)
    cause = models.CharField(max_length=20, blank=True)
    steps = models.JSONField(default=list)
    request_id = models.CharField(max_length=32, db_index=True)

    class Meta:
        verbose_name = verbose_name_plural = _("log-in and bind")
        permissions = [("test_credentials", _("Can test a mini-program's credentials"))]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"


class WatchManager(models.Manager["Watch"]):
    def running(self) -> models.QuerySet["Watch"]:
        """Return the watches that have not ended."""
        return self.filter(until__gt=timezone.now())

    def begin(
        self,
        app_id: str,
        user_id: int | None = None,
        *,
        everyone: bool = False,
        lasting: timedelta = WATCH_LIFETIME,
    ) -> "Watch":
        """Watch that member, or everyone of the mini-program, or else the next who logs in.

        The same watch once more lasts longer.
        """
        self.filter(until__lte=timezone.now()).delete()
        asked = {"app_id": app_id, "user_id": user_id, "everyone": everyone}
        watch = self.filter(**asked).first() or Watch(**asked)
        watch.until = timezone.now() + lasting
        watch.save()
        return watch


class Watch(models.Model):
    """A time in which successful attempts are kept too: those of one member, of everyone in a
    mini-program, or of the next who logs in there, who then becomes the member."""

    app_id = OpaqueIdField()
    user = models.ForeignKey(
        "accounts.WeChatUser", models.CASCADE, null=True, related_name="watches"
    )
    everyone = models.BooleanField(default=False)
    until = models.DateTimeField(db_index=True)

    objects: ClassVar[WatchManager] = WatchManager()

    class Meta:
        verbose_name = verbose_name_plural = _("watch")

    def __str__(self) -> str:
        return f"watch {self.pk}"

    @property
    def is_open(self) -> bool:
        """Return whether it waits for the next person who logs in."""
        return self.user_id is None and not self.everyone


class PhoneFailure(models.Model):
    """How often phones reported one kind of failure within an hour: see audit/diagnostics.py.

    Empty texts and scene 0 stand for what was not sent. It is about no one person.
    """

    hour = models.DateTimeField()
    call = OpaqueIdField(max_length=MAX_WORD)
    code = OpaqueIdField(max_length=MAX_WORD)
    scene = models.PositiveIntegerField()
    platform = OpaqueIdField(max_length=MAX_WORD, blank=True)
    sdk_version = OpaqueIdField(max_length=MAX_WORD, blank=True)
    count = models.PositiveIntegerField(default=0)
    at = models.DateTimeField()
    err_msg = models.CharField(max_length=MAX_ERR_MSG, blank=True)
    errno = models.CharField(max_length=MAX_ERRNO, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = _("failure on phones")
        default_permissions = ()  # the integration check shows it to those who see attempts
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "call", "code", "scene", "platform", "sdk_version"],
                name="one_row_per_kind_and_hour",
            )
        ]

    def __str__(self) -> str:
        return f"{self.call} {self.code}"
