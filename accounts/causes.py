"""The causes and kinds of attempts of this app: why a log-in fails, why an envelope does not open.

See audit/causes.py and audit/attempts.py; `AccountsConfig.ready` imports this module.
"""

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from audit.attempts import AttemptKind
from audit.attempts import register as register_kinds
from audit.causes import Cause, register
from wechat.alarms import BY_ERRCODE, OTHER

LOGIN = AttemptKind(
    "login",
    _("log-in"),
    steps={"code": pgettext_lazy("step", "code"), "openid": _("openid")},
    fields={"code": ("code", "invalid"), "appid": ("code", "unknown_app")},
    claims_watch=True,
)

register_kinds(LOGIN)

register(
    Cause(
        "40029",
        "invalid_code",
        _("WeChat does not know this code: of another mini-program, or older than five minutes."),
        _(
            "Compare the appid in project.config.json with the one here; "
            "send each code of wx.login at once."
        ),
    ),
    Cause(
        "40163",
        "invalid_code",
        _("This code was used before."),
        _("Call wx.login for every log-in, and let no second back end exchange the same code."),
    ),
    Cause(
        "code_of_another",
        "invalid_code",
        _("The code is another person's than WeChat's gateway says is calling."),
        _("Send the code of wx.login from the phone that got it."),
    ),
    Cause(
        "41008",
        "invalid_code",
        _("WeChat got an empty code."),
        _("Send the `code` that the success callback of wx.login receives."),
    ),
    Cause(
        "40226",
        "user_blocked",
        _("WeChat's risk control refuses this account."),
        _("Nothing can be fixed here; the person may ask WeChat."),
    ),
    Cause(
        "45011",
        "throttled",
        _("For WeChat, this person logs in too often within a minute."),
        _("Log in once at launch and keep the token; try again in a minute."),
    ),
    Cause(
        "-1",
        "wechat_unavailable",
        _("WeChat was busy, twice in a row."),
        _("Try again. If it lasts, give WeChat's support the rid."),
    ),
    *(
        Cause(alarm.key, "wechat_unavailable", alarm.means, alarm.todo)
        for alarm in (*BY_ERRCODE.values(), OTHER)
    ),
    Cause(
        "unreachable",
        "wechat_unavailable",
        _("No connection to WeChat came about."),
        _("See whether this server reaches api.weixin.qq.com: DNS, firewall, WECHAT_API_URL."),
    ),
    Cause(
        "proxy",
        "wechat_unavailable",
        _("WECHAT_PROXY could not be reached, or made no connection to WeChat."),
        _("See whether the proxy runs, and lets this server reach api.weixin.qq.com:443."),
    ),
    Cause(
        "crowded",
        "wechat_unavailable",
        _("Too many calls to WeChat were under way in this process; this one was not made."),
        _(
            "If WeChat is slow, nothing can be done here. If it answers at once, run more "
            "processes, or set WECHAT_MAX_IN_FLIGHT higher, below the number of threads."
        ),
    ),
    Cause(
        "resting",
        "wechat_unavailable",
        _("WeChat failed five times in a row, so this call was not made."),
        _("See the failures before this one; as soon as WeChat answers, calls are made again."),
    ),
    Cause(
        "broken",
        "wechat_unavailable",
        _("The connection to WeChat broke off."),
        _("Try again with a new code. If it lasts, look at proxies and TLS on the way out."),
    ),
    Cause(
        "timeout",
        "wechat_unavailable",
        _("WeChat did not answer within three seconds."),
        _("Try again with a new code. If it lasts, look at this server's network."),
    ),
    Cause(
        "http",
        "wechat_unavailable",
        _("Something answered in HTTP's terms, not in WeChat's."),
        _("See whether WECHAT_API_URL and the proxies on the way out lead to WeChat."),
    ),
    Cause(
        "unreadable",
        "wechat_unavailable",
        _("What came as WeChat's answer could not be read as one."),
        _("See whether WECHAT_API_URL and the proxies on the way out lead to WeChat."),
    ),
    Cause(
        "blocked",
        "user_blocked",
        _("An operator has blocked this member."),
        _("Unblock them on their page, if that is meant."),
    ),
    Cause(
        "locked",
        "bind_locked",
        _("Ten envelopes of this member did not open within an hour."),
        _("Find the ten before this one and fix their cause; the lock ends by itself."),
    ),
    Cause(
        "no_key",
        "session_stale",
        _("No session_key is held: the log-in came from another back end, without its key."),
        _("Send `sessionKey` to server/sessions, or let the phone log in here."),
    ),
    Cause(
        "key_unreadable",
        "session_stale",
        _("The session_key held here is encrypted under a key that FIELD_KEYS no longer has."),
        _("Put the former key back at the end of FIELD_KEYS, or let people log in again."),
    ),
    Cause(
        "padding",
        "session_stale",
        _(
            "Neither the current session_key nor the one before it opens the data: "
            "it was made under another log-in."
        ),
        _(
            "Call wx.login first, wait for the log-in's answer, and only then fetch the data; "
            "let no second back end exchange codes."
        ),
    ),
    Cause(
        "encoding",
        "session_stale",
        _("The key fits by its padding, but what comes out is no UTF-8: altered, or another key."),
        _("As with a wrong key; hand `encryptedData` and `iv` of one and the same call on."),
    ),
    Cause(
        "json",
        "session_stale",
        _("The data opens, but is not a JSON object: not made by WeChat, or another key."),
        _("As with a wrong key; hand `encryptedData` and `iv` of one and the same call on."),
    ),
    Cause(
        "one_block",
        "session_stale",
        _("The data is too short for anything that WeChat makes."),
        _("Only WeChat makes this data: see what the client alters."),
    ),
    Cause(
        "other_data",
        "session_stale",
        _("The data names a group beside a profile, a phone number, steps or the like."),
        _("Use wx.getGroupEnterInfo or wx.getShareInfo; what WeChat makes names one thing."),
    ),
    Cause(
        "cloud_id",
        "session_stale",
        _("WeChat tells nothing of this cloudID: older than five minutes, or another person's."),
        _("Fetch the data from WeChat anew for each call, and send its cloudID at once."),
    ),
    Cause(
        "no_watermark",
        "session_stale",
        _("The data opens, but has no watermark where one is due."),
        _("Use wx.getGroupEnterInfo or wx.getShareInfo; see WATERMARK_REQUIRED."),
    ),
    Cause(
        "bad_watermark",
        "session_stale",
        _("The watermark lacks an appid or a timestamp."),
        _("Only WeChat makes this data: see what the client alters."),
    ),
    Cause(
        "other_app",
        "session_stale",
        _("The watermark names another mini-program."),
        _("Let each mini-program log in with its own appid; the plugin's host counts."),
    ),
    Cause(
        "too_old",
        "session_stale",
        _("The data is older than WATERMARK_MAX_AGE allows."),
        _("Fetch it from WeChat anew for each call; set this server's clock by NTP."),
    ),
    Cause(
        "too_new",
        "session_stale",
        _("The data is from the future: this server's clock is slow."),
        _("Set this server's clock by NTP."),
    ),
    Cause(
        "bad_group_id",
        "session_stale",
        _("The data names a group by what cannot be an id of WeChat's: too short, for example."),
        _("Only WeChat makes this data: see what the client alters."),
    ),
)
