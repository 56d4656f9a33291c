"""Where an operator goes after a page: what `next` asks for, if that is on this site."""

from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def next_url(request: HttpRequest) -> str:
    """Return where `next` asks to go, if that is on this site; else ""."""
    url = request.POST.get("next") or request.GET.get("next") or ""
    hosts = {request.get_host()}
    local = url_has_allowed_host_and_scheme(url, hosts, require_https=request.is_secure())
    return url if local else ""


def next_or_list(request: HttpRequest, row: Model | type[Model], deleted_url: str = "") -> str:
    """Return where `next` asks to go, else the list that `row`, or a row of that model, is in.

    `deleted_url` is the page of a row that has been deleted: `next` must not lead there.
    """
    url = next_url(request)
    if url and not (deleted_url and url.startswith(deleted_url)):
        return url
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_changelist")
