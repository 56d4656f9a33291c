"""The file by which the platform checks that a domain is the mini-program's."""

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.fields import OpaqueIdField


class VerificationFile(models.Model):
    """What the platform looks for at a domain's root before a web-view may open it (校验文件)."""

    name = OpaqueIdField(
        _("file name"),
        max_length=68,
        unique=True,
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9_-]{1,64}\.txt\Z", _("Letters, digits, _ and -, then .txt.")
            )
        ],
    )
    content = models.CharField(
        _("content"),
        max_length=128,
        validators=[RegexValidator(r"^[ -~]+\Z", _("One line of printable ASCII characters."))],
    )

    class Meta:
        verbose_name = verbose_name_plural = _("verification file")

    def __str__(self) -> str:
        return self.name
