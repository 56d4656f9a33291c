"""What WeChat answers where only an operator can help.

Sources: the errcode tables of auth.code2Session, stable_token and content safety, and 全局返回码.
The console has the same words (accounts/causes.py).
"""

from django.utils.translation import gettext_lazy as _

from core.alarms import Alarm, alarm

from .errors import BUSY, AccessTokenError, UnavailableError, WeChatError

OTHER = alarm(
    "wechat_other",
    _("WeChat refused for another reason of its own."),
    _("Look the errcode up among WeChat's global return codes; its support wants the rid."),
)

# By errcode; AccessTokenError has three of them, and one alarm.
BY_ERRCODE: dict[str, Alarm] = {
    found.key: found
    for found in (
        alarm(
            "40001",
            _("WeChat refused the AppSecret, or an access token that it had just given."),
            _(
                "See whether WECHAT_APPS has the mini-program's present AppSecret, and let no "
                "other back end renew its stable token by force."
            ),
        ),
        alarm(
            "40013",
            _("WeChat knows no such appid."),
            _("Copy the AppID from mp.weixin.qq.com → Development settings into WECHAT_APPS."),
        ),
        alarm(
            "40125",
            _("The AppSecret is wrong: mistyped, another mini-program's, or reset since."),
            _(
                "Reset it at mp.weixin.qq.com → Development settings, write it into WECHAT_APPS, "
                "and restart."
            ),
        ),
        alarm(
            "40243",
            _("The AppSecret is frozen."),
            _("Unfreeze it at mp.weixin.qq.com → Development settings."),
        ),
        alarm(
            "40164",
            _("This server's address is not on the mini-program's IP whitelist."),
            _("Add the address at mp.weixin.qq.com → Development settings → IP whitelist."),
        ),
        alarm(
            "89503",
            _("WeChat wants the account's administrator to confirm calls from this server."),
            _("Let the administrator confirm WeChat's message on their phone, then try again."),
        ),
        alarm(
            "89506",
            _("The account's administrator has refused calls from this server, for 24 hours."),
            _("Agree with the administrator; WeChat asks them again after that time."),
        ),
        alarm(
            "89507",
            _("The account's administrator has refused calls from this server, for an hour."),
            _("Agree with the administrator; WeChat asks them again after that time."),
        ),
        alarm(
            "45009",
            _("The day's quota of this call is used up."),
            _("Find out what calls so often; the quota is back tomorrow."),
        ),
        alarm(
            "48001",
            _("This mini-program may not make this call."),
            _("See its permissions at mp.weixin.qq.com: it may have to be verified first."),
        ),
        alarm(
            "48004",
            _("WeChat has taken this call away from the mini-program, for a breach of its rules."),
            _("See the notices at mp.weixin.qq.com."),
        ),
        alarm(
            "50004",
            _("WeChat gives this mini-program no access tokens."),
            _("See the notices at mp.weixin.qq.com."),
        ),
        alarm(
            "50007",
            _("WeChat has frozen this mini-program's account."),
            _("See the notices at mp.weixin.qq.com."),
        ),
    )
}

OUTAGE = alarm(
    "wechat_away",
    _("WeChat failed five times in a row, so no calls are made for a while."),
    _("See whether this server reaches api.weixin.qq.com: DNS, firewall, WECHAT_PROXY."),
)


def alarm_for(error: WeChatError) -> Alarm | None:
    """Return the alarm for an error; None where waiting, the phone or its user may help."""
    if isinstance(error, AccessTokenError):
        return BY_ERRCODE["40001"]
    if isinstance(error, UnavailableError) and error.errcode not in {None, BUSY}:
        return BY_ERRCODE.get(str(error.errcode), OTHER)
    return None


def ring_for(error: WeChatError, app_id: str) -> None:
    """Ring the alarm for an error of a mini-program's call, if it has one."""
    if found := alarm_for(error):
        errcode = {} if error.errcode is None else {"errcode": error.errcode}
        about = f"{app_id} {error.errcode}" if found is OTHER else app_id
        found.ring(about, {**errcode, **error.facts})
