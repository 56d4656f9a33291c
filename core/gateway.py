"""WeChat Cloud Run's private gateway: who it says is calling, where WECHAT_CLOUD believes it.

The gateway sets `X-WX-*` itself, whatever a phone sends. On any other way in they are a client's
own invention, so without WECHAT_CLOUD nothing reads them.
"""

import re
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest

ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class CloudCaller:
    """The person whose phone calls through the gateway; `unionid` is "" where WeChat tells none."""

    app_id: str
    openid: str
    unionid: str = ""


def cloud_caller(request: HttpRequest) -> CloudCaller | None:
    """Return who calls, of a mini-program in WECHAT_APPS; None where the gateway does not say it,
    and always without WECHAT_CLOUD.
    """
    app_id, openid = cloud_app(request), _id_in(request, "X-WX-OPENID")
    return (
        CloudCaller(app_id, openid, _id_in(request, "X-WX-UNIONID")) if app_id and openid else None
    )


def cloud_app(request: HttpRequest) -> str:
    """Return the mini-program, of those in WECHAT_APPS, that the gateway names; "" for none."""
    app_id = _id_in(request, "X-WX-APPID")
    return app_id if settings.WECHAT_CLOUD and app_id in settings.WECHAT_APPS else ""


def _id_in(request: HttpRequest, name: str) -> str:
    # Sent twice, a header's values come joined by a comma, which no id has.
    value = request.headers.get(name, "")
    return value if ID.fullmatch(value) else ""


def proves_by_cloud_id() -> bool:
    """Return whether cloudIDs prove groups here, and the gateway's headers who logs in."""
    return bool(settings.WECHAT_CLOUD == "cloudid")
