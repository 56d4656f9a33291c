from django.contrib import admin

from groups.models import VerificationFile

from .base import AuditedModelAdmin


@admin.register(VerificationFile)
class VerificationFileAdmin(AuditedModelAdmin):
    """The platform's proof of a domain: served at the root as soon as it is saved."""

    list_display = ("name", "content")
    ordering = ("name",)

    def get_view_on_site_url(self, obj: VerificationFile | None = None) -> str | None:
        return f"/{obj.name}" if obj else None
