from pathlib import Path

from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from wechat.push import PushError, channel_for, media_verdict

from .avatars.drawn import default_avatar
from .avatars.storage import FOLDER, seed_in
from .services import save_verdict


@require_safe
@cache_control(public=True, max_age=365 * 24 * 3600, immutable=True)
def default_avatar_view(request: HttpRequest, signed: str) -> HttpResponse:
    """Return the picture of a member without an avatar, drawn from a secret seed: WebP, 192 px."""
    if (seed := seed_in(signed)) is None:
        raise Http404
    return HttpResponse(default_avatar(seed), content_type="image/webp")


@require_safe
@cache_control(public=True, max_age=24 * 3600)
def avatar_view(request: HttpRequest, name: str) -> HttpResponse:
    """Return an uploaded avatar from this machine's disk; other storages serve their own files."""
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

    An event that is not a verdict on an avatar is acknowledged and ignored.
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
        save_verdict(appid, heard)
    return HttpResponse("success", content_type="text/plain")
