"""Settings about WeChat that `manage.py check` refuses, each with what to do about it."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

PLATFORM_HOST = "api.weixin.qq.com"


@register
def apps_are_configured(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """At least one mini-program; only a warning while developing."""
    if settings.WECHAT_APPS:
        return []
    kind = Warning if settings.DEBUG else Error
    hint = "Set 请设置 WECHAT_APPS=appid:secret (mp.weixin.qq.com → 开发管理)."
    return [kind("No mini-program is configured, so nobody can log in.", hint, id="wechat.E001")]


@register
def platform_is_genuine(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """With DEBUG off, only WeChat itself says who people are, unless ALLOW_SANDBOX is set."""
    url = urlsplit(settings.WECHAT_API_URL)
    genuine = (url.scheme, url.hostname) == ("https", PLATFORM_HOST)
    if genuine or settings.DEBUG or settings.ALLOW_SANDBOX:
        return []
    hint = (
        f"Leave WECHAT_API_URL unset, or https://{PLATFORM_HOST}. "
        "只有压测等场合才设 ALLOW_SANDBOX=True（set it for benchmarks only）."
    )
    return [Error("WECHAT_API_URL is not WeChat.", hint, id="wechat.E002")]
