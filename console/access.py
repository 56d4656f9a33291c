"""Who may open the console's pages outside the admin's own."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from .roles import holds

View = Callable[..., HttpResponseBase]


def operator_of(request: HttpRequest) -> User:
    """Return whose request it is; the console lets in operators alone."""
    return cast(User, request.user)


def operators_only(*permissions: str) -> Callable[[View], View]:
    """Open a page to operators who may enter the admin and hold all of `permissions`.

    No cache keeps the page.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not all(holds(operator_of(request), each) for each in permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        @wraps(view)
        def entered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return admin.site.admin_view(guarded)(request, *args, **kwargs)

        return entered

    return decorate
