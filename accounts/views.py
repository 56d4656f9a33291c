from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from core.gateway import cloud_app
from wechat.push import PushError, channel_for, media_verdict, read_plain, withdrawal

from .avatars.storage import FOLDER, LARGE, seed_in
from .errors import StorageUnavailable
from .services import save_verdict
from .withdrawals import obey

CONTAINER_TEST = {"action": "CheckContainerPath"}
LONGEST_NAME = 100  # ours have 26 characters

TEXT = "text/plain; charset=utf-8"


@require_safe
@cache_control(public=True, max_age=365 * 24 * 3600, immutable=True)
def default_avatar_view(request: HttpRequest, signed: str, size: int = LARGE) -> HttpResponse:
    """Return the picture of a member without an avatar, drawn from a secret seed: a WebP."""
    from .avatars.drawn import (
        default_avatar,  # Pillow takes 5 MB, and a CDN may ask for all of them
    )

    if (seed := seed_in(signed)) is None:
        raise Http404
    return HttpResponse(default_avatar(seed, size), content_type="image/webp")


@require_safe
@cache_control(public=True, max_age=24 * 3600)
def avatar_view(request: HttpRequest, name: str) -> HttpResponse:
    """Return an uploaded avatar from this machine's disk; other storages serve their own files."""
    if len(name) > LONGEST_NAME:  # or the file system fails at it
        raise Http404
    try:
        picture = Path(default_storage.path(f"{FOLDER}/{name}.webp")).read_bytes()
    except (FileNotFoundError, NotImplementedError):
        raise Http404 from None
    return HttpResponse(picture, content_type="image/webp")


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def wechat_push(request: HttpRequest, appid: str) -> HttpResponse:
    """Answer the platform's callbacks (消息推送): GET proves the address, POST brings an event.

    Verdicts on avatars and withdrawn consents are obeyed; any other event is acknowledged and
    ignored, as is a withdrawal that came unsealed: nothing proves who wrote it. WeChat's private
    gateway proves it for all that it brings.
    """
    try:
        if settings.WECHAT_CLOUD:
            event, proven = read_from_gateway(request, appid), True
        else:
            channel = channel_for(appid)
            if request.method != "POST":
                return HttpResponse(channel.echo(request.GET), content_type=TEXT)
            event, proven = channel.read(request.GET, request.body), bool(channel.aes_key)
        verdict, withdrawn = media_verdict(event), withdrawal(event)
    except KeyError:
        raise Http404 from None
    except PushError:
        return HttpResponse("refused", content_type=TEXT, status=403)
    if verdict:
        save_verdict(appid, verdict)
    if withdrawn and proven:
        try:
            obey(appid, withdrawn)
        except StorageUnavailable:
            return HttpResponse("try again", content_type=TEXT, status=503)
    return HttpResponse("success", content_type=TEXT)


def read_from_gateway(request: HttpRequest, appid: str) -> dict[str, Any]:
    """Return the event that WeChat's private gateway brings, in plain, or its test of the address.

    A phone reaches this address through the same gateway, which then names the person: they may
    withdraw what is theirs, and nothing else. Raises PushError, and KeyError for a mini-program
    that is not configured.
    """
    settings.WECHAT_APPS[appid]
    event = read_plain(request.body)
    if event == CONTAINER_TEST:
        return event
    if not request.headers.get("X-WX-SOURCE"):
        raise PushError("not through WeChat's gateway")
    if "X-WX-APPID" in request.headers and cloud_app(request) != appid:
        raise PushError("for another mini-program")
    person, withdrawn = request.headers.get("X-WX-OPENID"), withdrawal(event)
    if person is not None and (withdrawn is None or withdrawn.openid != person):
        raise PushError("from a phone")
    return event
