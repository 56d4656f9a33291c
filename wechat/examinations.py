"""What `manage.py doctor` examines of this package: credentials, whitelist and clock."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from core.doctor import Finding, error, examination, ok, warning

from .alarms import alarm_for
from .client import PROXY, client_for, wechat_proxies
from .crypto import MAX_CLOCK_SKEW
from .errors import WeChatError
from .transport import FetchError, fetch

NOTABLE_SKEW = 10  # seconds


@examination("wechat", "wechat.E001")
def examine_credentials() -> Iterator[Finding]:
    """Let WeChat judge the credentials of each mini-program, and the address that we call from.

    The token that WeChat answers with is the one that is valid already.
    """
    if not settings.WECHAT_APPS:
        yield error(
            _("No mini-program is configured, so no one can log in."),
            _("Set WECHAT_APPS=appid:secret, from mp.weixin.qq.com → Development settings."),
        )
    for app_id in settings.WECHAT_APPS:
        try:
            client_for(app_id).try_credentials()
        except WeChatError as problem:
            yield _refusal(app_id, problem)
        else:
            yield ok(
                format_lazy(
                    _("WeChat accepts the credentials of {app}, and this server."), app=app_id
                )
            )


def _refusal(app_id: str, problem: WeChatError) -> Finding:
    if alarm := alarm_for(problem):
        about = format_lazy("{app}: {means}", app=app_id, means=alarm.means)
        code = {} if problem.errcode is None else {"errcode": str(problem.errcode)}
        known = ", ".join(f"{name} {value}" for name, value in (code | problem.facts).items())
        return error(about, format_lazy("{todo} ({known})", todo=alarm.todo, known=known))
    if problem.errcode is not None:
        return warning(
            format_lazy(_("{app}: WeChat is busy ({said})."), app=app_id, said=str(problem)),
            _("Try again. If it lasts, give WeChat's support the rid."),
        )
    if problem.reason == PROXY:
        return error(
            format_lazy(_("{app}: WECHAT_PROXY does not lead to WeChat."), app=app_id),
            _("See whether the proxy runs, and lets this server reach api.weixin.qq.com:443."),
        )
    return error(
        format_lazy(
            _("{app}: WeChat was not reached ({reason})."), app=app_id, reason=problem.reason
        ),
        _("See whether this server reaches api.weixin.qq.com: DNS, firewall, WECHAT_PROXY."),
    )


@examination("clock")
def examine_clock() -> Iterator[Finding]:
    """Compare this machine's clock with the date of an answer of WeChat's."""
    began = time.time()
    try:
        date = fetch(settings.WECHAT_API_URL, proxies=wechat_proxies()).headers.get("Date", "")
        theirs = parsedate_to_datetime(date).timestamp()
    except (FetchError, ValueError):
        yield warning(
            _("WeChat was not reached, so the clock was compared with nothing."),
            _("See the finding about WeChat, and examine again."),
        )
        return
    # The header has whole seconds.
    skew = (began + time.time()) / 2 - (theirs + 0.5)
    seconds = f"{abs(skew):.0f}"
    ahead = _("This machine's clock is {seconds} s ahead of WeChat's.")
    behind = _("This machine's clock is {seconds} s behind WeChat's.")
    saw = format_lazy(ahead if skew > 0 else behind, seconds=seconds)
    fix = _("Set the clock by NTP: timedatectl set-ntp true. Envelopes are refused by their age.")
    if abs(skew) > MAX_CLOCK_SKEW:
        yield error(saw, fix)
    elif abs(skew) > NOTABLE_SKEW:
        yield warning(saw, fix)
    else:
        yield ok(_("This machine's clock agrees with WeChat's."))
