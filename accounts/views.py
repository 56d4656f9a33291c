from pathlib import Path

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from wechat.push import PushError, channel_for, media_verdict

from .audit import Act
from .avatars import default_avatar
from .media import FOLDER, seed_in
from .services import note_verdict
from .signin import sign_in_tokens


@require_safe
@cache_control(public=True, max_age=365 * 24 * 3600, immutable=True)
def default_avatar_view(request: HttpRequest, signed: str) -> HttpResponse:
    """The picture of somebody who gave none, drawn from an unguessable seed: a WebP of 192 px."""
    if (seed := seed_in(signed)) is None:
        raise Http404
    return HttpResponse(default_avatar(seed), content_type="image/webp")


@require_safe
@cache_control(public=True, max_age=24 * 3600)
def avatar_view(request: HttpRequest, name: str) -> HttpResponse:
    """An uploaded avatar from this machine's disk; another storage serves its files itself."""
    try:
        picture = Path(default_storage.path(f"{FOLDER}/{name}.webp")).read_bytes()
    except (FileNotFoundError, NotImplementedError):
        raise Http404 from None
    return HttpResponse(picture, content_type="image/webp")


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def wechat_push(request: HttpRequest, appid: str) -> HttpResponse:
    """The platform's callbacks (消息推送): GET proves the address, POST brings an event.

    Whatever is not a verdict on an avatar is acknowledged and forgotten.
    """
    try:
        channel = channel_for(appid)
        if request.method != "POST":
            return HttpResponse(channel.echo(request.GET), content_type="text/plain")
        heard = media_verdict(channel.read(request.GET, request.body))
    except KeyError:
        raise Http404 from None
    except PushError:
        return HttpResponse("refused", content_type="text/plain", status=403)
    if heard:
        note_verdict(appid, heard)
    return HttpResponse("success", content_type="text/plain")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in(request: HttpRequest, pk: int, token: str) -> HttpResponse:
    """An operator's one-time link: GET shows a button, since previews open links; POST uses it."""
    with transaction.atomic():
        # Locked, so that the same link pressed twice at once signs in once.
        operator = (
            User.objects.select_for_update().filter(pk=pk, is_active=True, is_staff=True).first()
        )
        if operator is None or not sign_in_tokens.check_token(operator, token):
            return render(request, "accounts/sign_in.html", {"usable": False}, status=410)
        if request.method != "POST":
            return render(request, "accounts/sign_in.html", {"usable": True, "operator": operator})
        login(request, operator)
        Act(operator).record("sign_in", operator, way="link")
    return redirect("group-list")
