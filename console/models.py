"""What only the console keeps: the operators' second factors and sessions."""

import secrets
from base64 import b32decode, b32encode
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_otp.models import Device, ThrottlingMixin
from django_otp.oath import TOTP

from core.fields import EncryptedField
from core.vault import decrypt, digest_of, encrypt

BACKUP_CODES = 10
TOLERANCE = 1  # steps of 30 s that a phone's clock may be off, either way
MOST_DOUBLINGS = 10  # so a wrong code makes its operator wait 8.5 minutes at most


class SecondFactor(ThrottlingMixin, Device):  # type: ignore[misc]
    """An operator's authenticator app, and the backup codes in case the phone is lost.

    django-otp's device, with its throttle; its own TOTP model keeps the secret in clear, this one
    under FIELD_KEYS. Backup codes are random enough for a plain digest.
    """

    user = models.OneToOneField(User, models.CASCADE)
    sealed_key = EncryptedField(
        if_lost=_(
            "These operators sign in with a backup code and set up the app again, or after "
            "manage.py reset_totp."
        )
    )
    last_step = models.BigIntegerField(default=-1)
    backup_digests = models.JSONField(default=list)
    throttling_failure_count: int  # of the mixin

    objects: ClassVar[models.Manager["SecondFactor"]]

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"second factor {self.pk}"

    @classmethod
    def enrol(cls, operator: User, key: str, code: str) -> "tuple[SecondFactor, list[str]] | None":
        """Make a factor of that key, and return it with its backup codes, which are shown once.

        None where `code` is not the key's, or the operator has got a factor meanwhile.
        """
        step = step_of(key, code)
        if step is None:
            return None
        codes = new_backup_codes()
        kept = {"sealed_key": encrypt(key), "last_step": step}
        kept |= {"backup_digests": [digest_of(each) for each in codes]}
        factor, created = cls.objects.get_or_create(user=operator, defaults=kept)
        return (factor, codes) if created else None

    def verify_token(self, token: str) -> bool:
        """Return whether `token` is the app's code or a backup code; each works once.

        The row must be locked: `django_otp.verify_token` does it. Wrong ones make the next wait.
        """
        if not self.verify_is_allowed()[0]:
            return False
        if not (self._takes_code(token) or self._takes_backup(token)):
            self.throttle_increment()
            return False
        self.throttle_reset()
        return True

    def _takes_code(self, token: str) -> bool:
        key = decrypt(self.sealed_key)
        step = step_of(key, token, after=self.last_step) if key else None
        if key is None or step is None:
            return False
        self.last_step, self.sealed_key = step, encrypt(key)  # under the newest of FIELD_KEYS
        return True

    def _takes_backup(self, token: str) -> bool:
        digest = digest_of(token)
        if digest not in self.backup_digests:
            return False
        self.backup_digests = [each for each in self.backup_digests if each != digest]
        return True

    def renew_backup_codes(self) -> list[str]:
        """Make ten new ones, saved as digests; the old ones stop working."""
        codes = new_backup_codes()
        self.backup_digests = [digest_of(each) for each in codes]
        self.save(update_fields=["backup_digests"])
        return codes

    def throttle_increment(self, commit: bool = True) -> None:
        super().throttle_increment(commit=False)
        self.throttling_failure_count = min(self.throttling_failure_count, MOST_DOUBLINGS)
        if commit:
            self.save()

    def get_throttle_factor(self) -> int:
        return 1


class OperatorSession(AbstractBaseSession):
    """A session that knows whose it is and when it was last used: see console/sessions.py."""

    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="sessions")
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()

    @classmethod
    def get_session_store_class(cls) -> Any:
        return import_module(settings.SESSION_ENGINE).SessionStore

    def way_it_ended(self, now: datetime) -> str:
        """Return "age" a fixed time after the sign-in, "idle" a shorter one after the last use."""
        if self.expire_date <= now:
            return "age"
        idle = self.seen_at <= now - timedelta(seconds=settings.SESSION_IDLE_AGE)
        return "idle" if idle else ""


def new_key() -> str:
    """Make a secret for an authenticator app: 160 bits, as RFC 4226 asks, in base32."""
    return b32encode(secrets.token_bytes(20)).decode()


def new_backup_codes() -> list[str]:
    """Make ten codes of 80 bits, in letters and digits that are not taken for one another."""
    return [b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(BACKUP_CODES)]


def step_of(key: str, code: str, after: int = -1) -> int | None:
    """Return the step of 30 s, later than `after`, that this is the code of; else None."""
    if len(code) != 6 or not code.isdecimal():
        return None
    totp: Any = TOTP(b32decode(key))
    return totp.t() if totp.verify(int(code), TOLERANCE, after + 1) else None
