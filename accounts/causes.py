"""Why a log-in or a bind fails, once: what the client hears, what it means, what mends it.

For operators. To clients many of these are one and the same answer, and have to stay so.
docs/integration.md holds the same rows.
"""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Cause:
    """One cause by its `key`, a number of WeChat's or a word of ours; `code` goes to the client."""

    key: str
    code: str
    means: str | Promise
    todo: str | Promise


WECHAT = (
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
        "41008",
        "invalid_code",
        _("WeChat got an empty code."),
        _("Send the `code` that the success callback of wx.login receives."),
    ),
    Cause(
        "40226",
        "user_blocked",
        _("WeChat's risk control refuses this account."),
        _("Nothing to mend here; the person may ask WeChat."),
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
    Cause(
        "40013",
        "wechat_unavailable",
        _("WeChat knows no such appid."),
        _("Copy the AppID from mp.weixin.qq.com → Development settings into WECHAT_APPS."),
    ),
    Cause(
        "40125",
        "wechat_unavailable",
        _("The AppSecret is wrong: mistyped, another mini-program's, or reset since."),
        _(
            "Reset it at mp.weixin.qq.com → Development settings, write it into WECHAT_APPS, "
            "and restart."
        ),
    ),
    Cause(
        "40243",
        "wechat_unavailable",
        _("The AppSecret is frozen."),
        _("Unfreeze it at mp.weixin.qq.com → Development settings."),
    ),
    Cause(
        "40164",
        "wechat_unavailable",
        _("This server's address is not on the mini-program's IP whitelist."),
        _("Add the address at mp.weixin.qq.com → Development settings → IP whitelist."),
    ),
    Cause(
        "89503",
        "wechat_unavailable",
        _("WeChat wants the account's administrator to confirm calls from this server."),
        _("Let the administrator confirm WeChat's message on their phone, then try again."),
    ),
    Cause(
        "45009",
        "wechat_unavailable",
        _("The day's quota of this call is used up."),
        _("Find out what calls so often; the quota is back tomorrow."),
    ),
    Cause(
        "50007",
        "wechat_unavailable",
        _("WeChat has frozen this mini-program's account."),
        _("See the notices at mp.weixin.qq.com."),
    ),
    Cause(
        "wechat_other",
        "wechat_unavailable",
        _("WeChat refused for another reason of its own."),
        _("Look the errcode up among WeChat's global return codes; its support wants the rid."),
    ),
    Cause(
        "unreachable",
        "wechat_unavailable",
        _("No connection to WeChat came about."),
        _("See whether this server reaches api.weixin.qq.com: DNS, firewall, WECHAT_API_URL."),
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
)

REQUEST = (
    Cause(
        "invalid",
        "invalid",
        _("The request lacks something, or holds something unknown."),
        _("`fields` in the answer says what; the client kit sends it right."),
    ),
    Cause(
        "unknown_app",
        "invalid",
        _("The appid was not sent, or is not configured here."),
        _("Send the mini-program's own appid, and name it in WECHAT_APPS."),
    ),
    Cause(
        "not_json",
        "invalid",
        _("The body is not JSON, or ended early."),
        _("Send an object as `data` of wx.request, with Content-Type application/json."),
    ),
    Cause(
        "form",
        "unsupported_media_type",
        _("The body came as a form, which turns + into a space."),
        _("Set the header Content-Type to application/json."),
    ),
    Cause(
        "too_large",
        "too_large",
        _("The body is larger than 256 KiB."),
        _("Send `encryptedData` and `iv`, and nothing beside them."),
    ),
    Cause(
        "malformed",
        "invalid",
        _("`encryptedData` or `iv` is missing, or is not base64 as WeChat sends it."),
        _("Hand both on unaltered, as JSON: neither URL-encoded nor trimmed."),
    ),
)

OURS = (
    Cause(
        "blocked",
        "user_blocked",
        _("An operator has blocked this member."),
        _("Unblock them on their page, if that is meant."),
    ),
    Cause(
        "erased",
        "invalid_token",
        _("The member was erased while the call was under way."),
        _("Log in again."),
    ),
    Cause(
        "crash",
        "server_error",
        _("A fault of this site."),
        _("The log has it under the same request id; report it."),
    ),
    Cause(
        "locked",
        "bind_locked",
        _("Ten envelopes of this member did not open within an hour."),
        _("Find the ten before this one and mend their cause; the lock ends by itself."),
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
        _("The data names a group by what cannot be an id of WeChat's."),
        _("Only WeChat makes this data: see what the client alters."),
    ),
    Cause(
        "single_chat",
        "not_a_group",
        _("The data is genuine, and comes from a chat of two."),
        _("Open the card in a group chat."),
    ),
    Cause(
        "no_group",
        "not_a_group",
        _("The data is genuine, and names no group."),
        _("Send what wx.getGroupEnterInfo or wx.getShareInfo gave, not that of another call."),
    ),
    Cause(
        "ticket_expired",
        "group_not_proven",
        _("The ticket is older than five minutes."),
        _("Resolve again, and bind at once."),
    ),
    Cause(
        "ticket_altered",
        "group_not_proven",
        _("The ticket was altered, or is not of this site."),
        _("Hand on what groups/resolve answered; SECRET_KEY must be the same on every server."),
    ),
    Cause(
        "ticket_of_another",
        "group_not_proven",
        _("The ticket was made for another member."),
        _("Resolve and bind under the same log-in."),
    ),
    Cause(
        "other_openid",
        "group_not_proven",
        _("The openid beside the ticket is not the caller's."),
        _("Hand on the `openid` that groups/resolve answered."),
    ),
    Cause(
        "other_group",
        "group_not_proven",
        _("The openGId beside the ticket is not the one that was proven."),
        _("Hand on the `openGId` that groups/resolve answered."),
    ),
    Cause(
        "group_hidden",
        "not_found",
        _("An operator hides this group."),
        _("Show the group again on its page, if that is meant."),
    ),
    Cause(
        "founded_too_many",
        "throttled",
        _("This member was the first in a hundred groups within a day."),
        _("Wait; for a load test use groups that exist."),
    ),
)

CAUSES = {cause.key: cause for cause in (*WECHAT, *REQUEST, *OURS)}
