from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from groups.models import VerificationFile

from .stale import SeenForm, SeenModelAdmin


@admin.register(VerificationFile)
class VerificationFileAdmin(SeenModelAdmin):
    """The platform's proof of a domain: served at the root as soon as it is saved."""

    list_title = _("Verification files")
    when_empty = _("WeChat asks for a file at the root of each domain. Paste its name and content.")
    form = SeenForm
    fields = ("name", "content")
    list_display = ("name", "content")
    ordering = ("name",)

    def get_view_on_site_url(self, obj: VerificationFile | None = None) -> str | None:
        return f"/{obj.name}" if obj else None
