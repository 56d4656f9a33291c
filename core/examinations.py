"""What `manage.py doctor` examines of this package."""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks
from django.utils.translation import gettext_lazy as _

from .doctor import Finding, error, examination, ok, warning


@examination("settings")
def examine_settings() -> Iterator[Finding]:
    """Say what `manage.py check --deploy` says."""
    if settings.DEBUG:
        yield warning(
            _("DEBUG is on: pages show their code when they fail."),
            _("Leave DEBUG out, or set it to False, wherever others reach the site."),
        )
    messages = run_checks(include_deployment_checks=not settings.DEBUG)
    faults = [message for message in messages if message.level >= WARNING]
    for fault in faults:
        kind = error if fault.level >= ERROR else warning
        elsewhere = _("See docs/settings.md, and Django's list of system checks.")
        yield kind(f"{fault.msg} ({fault.id})", fault.hint or elsewhere)
    if not (faults or settings.DEBUG):
        yield ok(_("`manage.py check --deploy` finds nothing."))
