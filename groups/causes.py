"""The causes and kinds of attempts of this app: why a group is not proven or not entered.

See audit/causes.py and audit/attempts.py; `GroupsConfig.ready` imports this module.
"""

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from audit.attempts import AttemptKind
from audit.attempts import register as register_kinds
from audit.causes import Cause, register

SCENE = {"scene": _("scene")}
ENVELOPE = {
    "envelope": _("encrypted data"),
    "watermark": _("watermark"),
    "group": pgettext_lazy("step", "group"),
}
MEMBERSHIP = {"membership": pgettext_lazy("step", "membership")}
ENVELOPE_FIELDS = dict.fromkeys(("encryptedData", "iv", "cloudID"), ("envelope", "malformed"))

RESOLVE = AttemptKind("resolve", _("decode"), steps=ENVELOPE, fields=ENVELOPE_FIELDS)
BIND = AttemptKind(
    "bind",
    _("bind"),
    steps={**SCENE, **ENVELOPE, **MEMBERSHIP},
    fields={"scene": ("scene", "invalid"), **ENVELOPE_FIELDS},
)
REDEEM = AttemptKind(
    "redeem",
    _("bind by ticket"),
    steps={**SCENE, "ticket": _("ticket"), **MEMBERSHIP},
    fields={
        "scene": ("scene", "invalid"),
        "ticket": ("ticket", "invalid"),
        "openid": ("ticket", "invalid"),
        "openGId": ("ticket", "invalid"),
    },
)

register_kinds(RESOLVE, BIND, REDEEM)

register(
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
        _("Send what groups/resolve answered; SECRET_KEY must be the same on every server."),
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
        _("Send the `openid` that groups/resolve answered."),
    ),
    Cause(
        "other_group",
        "group_not_proven",
        _("The openGId beside the ticket is not the one that was proven."),
        _("Send the `openGId` that groups/resolve answered."),
    ),
    Cause(
        "group_hidden",
        "not_found",
        _("An operator hides this group."),
        _("To undo this, show the group again on its page."),
    ),
    Cause(
        "founded_too_many",
        "throttled",
        _("This member was the first in a hundred groups within a day."),
        _("Wait; for a load test use groups that exist."),
    ),
)
