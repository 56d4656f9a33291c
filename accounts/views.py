from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_http_methods, require_safe

from .avatars import default_avatar
from .signin import sign_in_tokens

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_safe
@cache_control(public=True, max_age=365 * 24 * 3600, immutable=True)
def default_avatar_view(request: HttpRequest, seed: str) -> HttpResponse:
    """The picture of somebody who gave none, drawn from an unguessable seed: a WebP of 192 px."""
    return HttpResponse(default_avatar(seed), content_type="image/webp")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in(request: HttpRequest, pk: int, token: str) -> HttpResponse:
    """An operator's one-time link: GET shows a button, since previews open links; POST uses it."""
    with transaction.atomic():
        # Locked, so that the same link pressed twice at once signs in once.
        operator = (
            User.objects.select_for_update().filter(pk=pk, is_active=True, is_staff=True).first()
        )
        if not sign_in_tokens.check_token(operator, token):
            return render(request, "accounts/sign_in.html", {"usable": False}, status=410)
        if request.method != "POST":
            return render(request, "accounts/sign_in.html", {"usable": True, "operator": operator})
        login(request, operator, MODEL_BACKEND)
    return redirect("group-list")
