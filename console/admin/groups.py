"""Groups in the admin: known to it, for its permissions and its links; shown at /groups/."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from console.access import operator_of
from console.paging import is_plain
from console.roles import may_view
from groups.models import Group, Membership

from .base import WeChatModelAdmin


@admin.register(Group)
class GroupAdmin(WeChatModelAdmin):
    """The addresses that the admin has for groups; each leads to the console's own page."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the operator may see groups and members: a group is named after them."""
        return may_view(operator_of(request), Membership) and may_view(operator_of(request), Group)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to every group, with what was searched and filtered."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = {"q": "q", "labelled": "labelled", "hidden": "hidden__exact", "app": "app_id"}
        query = {name: request.GET[old] for name, old in asked.items() if old in request.GET}
        url = reverse("group-list")
        return HttpResponseRedirect(f"{url}?{urlencode(query)}" if query else url)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Lead to the group's page, in the same board and period."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not (is_plain(object_id) and object_id.isdecimal()):
            return HttpResponseRedirect(reverse("group-list"))
        query = request.META.get("QUERY_STRING", "")
        url = reverse("group-page", args=[int(object_id)])
        return HttpResponseRedirect(f"{url}?{query}" if query else url)
