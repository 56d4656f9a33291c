"""The system checks of the settings about WeChat, each with a hint how to fix it."""

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured

from core.gateway import proves_by_cloud_id

PLATFORM_HOST = "api.weixin.qq.com"


def refuse_in_production(module: str) -> None:
    """Raise ImproperlyConfigured where the site is in use: DEBUG and ALLOW_SANDBOX are both off.

    A process without Django's settings is no site.
    """
    if settings.configured and not (settings.DEBUG or settings.ALLOW_SANDBOX):
        raise ImproperlyConfigured(
            f"{module} is not for a site in use. Set DEBUG=True to develop, or ALLOW_SANDBOX=True "
            f"for benchmarks. {module} 不能用于生产环境：开发请设 DEBUG=True，压测请设 "
            "ALLOW_SANDBOX=True。"
        )


@register
def check_apps(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that there is a mini-program; with DEBUG on, a missing one is only a warning."""
    if settings.WECHAT_APPS:
        return []
    kind = Warning if settings.DEBUG else Error
    hint = "Set 请设置 WECHAT_APPS=appid:secret (mp.weixin.qq.com → 开发管理)."
    return [kind("No mini-program is configured, so no one can log in.", hint, id="wechat.E001")]


@register
def check_api_url(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that WECHAT_API_URL is WeChat itself, unless DEBUG or ALLOW_SANDBOX is set."""
    url = urlsplit(settings.WECHAT_API_URL)
    # With 开放接口服务 a call leaves the container in plain, and goes on over TLS.
    scheme = "http" if proves_by_cloud_id() else "https"
    genuine = (url.scheme, url.hostname) == (scheme, PLATFORM_HOST)
    if genuine or settings.DEBUG or settings.ALLOW_SANDBOX:
        return []
    hint = (
        f"Leave WECHAT_API_URL unset, or {scheme}://{PLATFORM_HOST}. "
        "只有压测等场合才设 ALLOW_SANDBOX=True（set it for benchmarks only）."
    )
    return [Error("WECHAT_API_URL is not WeChat.", hint, id="wechat.E002")]


@register
def check_proxy(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that WECHAT_PROXY, if it is set, is the address of an HTTP proxy."""
    try:
        url = urlsplit(settings.WECHAT_PROXY)
        readable = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        readable = False
    if not settings.WECHAT_PROXY or readable:
        return []
    hint = "Write 请写成 WECHAT_PROXY=http://host:port or http://user:password@host:port."
    return [Error("WECHAT_PROXY cannot be read.", hint, id="wechat.E006")]


@register
def check_push(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check the appid, token and EncodingAESKey of each entry of WECHAT_PUSH."""
    return [error for app_id in settings.WECHAT_PUSH for error in _push_errors(app_id)]


def _push_errors(app_id: str) -> Iterator[Error]:
    token, aes_key = (settings.WECHAT_PUSH[app_id][part] for part in ("TOKEN", "AES_KEY"))
    if settings.WECHAT_APPS and app_id not in settings.WECHAT_APPS:
        hint = "Add it to WECHAT_APPS, or delete the entry 请写进 WECHAT_APPS，或删去此项."
        yield Error(f"WECHAT_PUSH has an unknown appid, {app_id}.", hint, id="wechat.E003")
    if not re.fullmatch(r"[A-Za-z0-9]{3,32}", token):
        hint = "3–32 letters and digits, as in the console 与后台「消息推送」中的 Token 一致."
        yield Error(f"The push token of {app_id} is not valid.", hint, id="wechat.E004")
    if aes_key and not re.fullmatch(r"[A-Za-z0-9]{43}", aes_key):
        hint = "43 letters and digits, as in the console 与后台的 EncodingAESKey 一致（43 位）."
        yield Error(f"The EncodingAESKey of {app_id} is not valid.", hint, id="wechat.E005")


@register
def check_content_safety(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that content safety is on, and that its verdicts on avatars can be pushed here."""
    if not settings.CONTENT_SAFETY:
        hint = "Leave CONTENT_SAFETY unset unless something else checks them 请勿关闭内容安全."
        unchecked = "Nicknames and avatars are shown unchecked: CONTENT_SAFETY is off."
        return [Warning(unchecked, hint, id="wechat.W001")]
    if settings.WECHAT_CLOUD:  # the gateway brings them, which no setting of ours knows
        return []
    without_push = [app_id for app_id in settings.WECHAT_APPS if app_id not in settings.WECHAT_PUSH]
    hint = "Set 请设置 WECHAT_PUSH=appid:token:encodingaeskey (mp.weixin.qq.com → 消息推送)."
    waiting = "No verdict on an avatar can arrive for {}, so avatars wait for an operator."
    return [Info(waiting.format(app_id), hint, id="wechat.I001") for app_id in without_push]
