"""What all pages of the admin have in common."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from accounts.audit import Act


class Audited(admin.ModelAdmin[Any]):
    """Django's admin with our audit in the place of its log, which would keep names.

    The admin logs within the transaction of the change, so the two stand or fall together.
    """

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self.audit(request, "add", obj)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self.audit(request, "change", obj, changed=_changed(message))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return [self.audit(request, "delete", row) for row in queryset]

    def audit(self, request: HttpRequest, action: str, row: Model, **details: Any) -> Any:
        """Record what is being done to `row`."""
        return Act(request.user).record(action, row, **self.whose(row), **details)  # type: ignore[arg-type]

    def whose(self, row: Any) -> dict[str, Any]:
        """The mini-program, member and group that a row is about."""
        return {"app_id": getattr(row, "app_id", "")}

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the audit knows of this row."""
        wanted = urlencode({"target": str(self.opts.model_name), "target_id": object_id})
        return HttpResponseRedirect(f"{reverse('admin:accounts_auditevent_changelist')}?{wanted}")


def _changed(message: Any) -> list[str]:
    """The names of the changed fields, out of what the admin would log."""
    parts = message if isinstance(message, list) else []
    return [name for part in parts for name in part.get("changed", {}).get("fields", [])]


class ComesFromWeChat(Audited):
    """Rows that arise when people use the mini-program: nobody adds them by hand.

    Nor deletes them: scores, the day's count or a block would outlive or lose their row.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Writes what was changed and nothing else: the rest may have moved on meanwhile."""
        obj.save(update_fields=form.changed_data)


def face(address: str, size: int = 32) -> SafeString:
    """A member's picture for a list; round by the style sheet."""
    return format_html(
        '<img class="face" src="{0}" width="{1}" height="{1}" alt="">', address, size
    )


def app_choices() -> list[tuple[str, str]]:
    """The mini-programs that are configured here, for a form's choices."""
    return [(app_id, app_id) for app_id in settings.WECHAT_APPS]
