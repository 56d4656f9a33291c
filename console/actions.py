"""Everything an operator can do to a row, in one list; each has a page that asks before it is done.

The page says what will happen, asks for a reason, and acts on a POST. Pages that show rows offer
what `offered` finds; beside them, the review queue decides what waits, and nothing else in the
console changes members, memberships or scores.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Model
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts import moderation as people
from accounts.models import WeChatUser
from accounts.review import State
from audit.actors import Actor
from groups import moderation as groups
from groups.models import Group, Membership, Score, ServerKey

from .roles import outranks
from .sessions import end_all_sessions, lasting_sessions

Text = str | Promise


class Place(Enum):
    """Where the button of an action stands."""

    ROW = "in the row itself, wherever a page lists it"
    MENU = "in the menu of the row"
    OWN_PAGE = "on the row's own page alone"


class Tone(Enum):
    """How heavy an action is; the value is the class of its button."""

    CALM = "calm"  # takes something back
    FIRM = "firm"  # takes something away, until it is taken back
    HARSH = "harsh"  # shuts a person out, or deletes


# Reasons of one click.
CHEATING, ADVERTISING = _("Cheating"), _("Advertising")
AGAINST_THE_LAW, ABUSIVE, IMPERSONATION = (
    _("Against the law"),
    _("Vulgar or abusive"),
    _("Impersonation"),
)
REPORTED, ON_REQUEST = _("Reported by members"), _("At the member's own request")
TEST_DATA, NOT_NEEDED = _("Test data"), _("No longer needed")
MISCONDUCT = (CHEATING, ADVERTISING, ABUSIVE, REPORTED)
CONTENT = (ADVERTISING, AGAINST_THE_LAW, ABUSIVE, IMPERSONATION)
RELENTING = (_("Done by mistake"), _("Appeal accepted"), _("Checked, nothing wrong"))


@dataclass(frozen=True)
class Action:
    """One thing that an operator with `permission` can do to a row of `model`.

    `run` does it and records it; `fits` says whether it makes sense for a row; `undo` is the key of
    the action that takes it back, where there is one; `presets` are reasons to choose from. Some
    rows are `beyond` an operator who holds the permission.
    """

    key: str
    label: Text
    consequence: Text
    done: Text
    model: type[Model]
    permission: str
    run: Callable[[Any, Actor], bool]
    fits: Callable[[Any], bool]
    place: Place = Place.MENU
    undo: str | None = None
    needs_reason: bool = True
    tone: Tone = Tone.HARSH
    presets: tuple[Text, ...] = ()
    beyond: Callable[[Any, User], bool] = lambda row, operator: False

    def allowed(self, operator: User) -> bool:
        return operator.has_perm(self.permission)


MODERATE = "accounts.change_wechatuser"

ACTIONS: dict[str, Action] = {
    action.key: action
    for action in (
        Action(
            "block",
            pgettext_lazy("action", "Block"),
            _("The member can do nothing and is in no ranking until you unblock them."),
            pgettext_lazy("done", "Blocked"),
            WeChatUser,
            MODERATE,
            people.block,
            lambda user: not user.is_blocked,
            place=Place.ROW,
            undo="unblock",
            presets=(*MISCONDUCT, AGAINST_THE_LAW),
        ),
        Action(
            "unblock",
            pgettext_lazy("action", "Unblock"),
            _("The member is back in their groups, with their scores."),
            pgettext_lazy("done", "Unblocked"),
            WeChatUser,
            MODERATE,
            people.unblock,
            lambda user: user.is_blocked,
            place=Place.ROW,
            undo="block",
            tone=Tone.CALM,
            presets=RELENTING,
        ),
        Action(
            "reset_nickname",
            _("Reset the nickname"),
            _("The nickname and the one that awaits review are deleted. Members can set another."),
            pgettext_lazy("done", "Nickname reset"),
            WeChatUser,
            MODERATE,
            people.reset_nickname,
            lambda user: bool(user.nickname or user.nickname_draft),
            presets=CONTENT,
        ),
        Action(
            "reset_avatar",
            _("Reset the avatar"),
            _("The avatar, also one that awaits review, is deleted; a drawn one is shown."),
            pgettext_lazy("done", "Avatar reset"),
            WeChatUser,
            MODERATE,
            people.reset_avatar,
            lambda user: bool(user.avatar or user.avatar_draft),
            presets=CONTENT,
        ),
        Action(
            "erase",
            pgettext_lazy("action", "Erase"),
            _("Everything held about the member is deleted at once and cannot be restored."),
            pgettext_lazy("done", "Erased"),
            WeChatUser,
            "accounts.delete_wechatuser",
            people.erase,
            lambda user: True,
            place=Place.OWN_PAGE,
            presets=(ON_REQUEST, AGAINST_THE_LAW, TEST_DATA),
        ),
        Action(
            "hide",
            pgettext_lazy("action", "Hide"),
            _("The member is not in this group's ranking until you show them again."),
            pgettext_lazy("done", "Hidden"),
            Membership,
            "groups.change_membership",
            groups.hide,
            lambda membership: not membership.withheld,
            place=Place.ROW,
            undo="show",
            tone=Tone.FIRM,
            presets=(*MISCONDUCT, ON_REQUEST),
        ),
        Action(
            "show",
            pgettext_lazy("action", "Show"),
            _("The member is listed again, unless they hide themselves."),
            pgettext_lazy("done", "Shown"),
            Membership,
            "groups.change_membership",
            groups.show,
            lambda membership: membership.withheld,
            place=Place.ROW,
            undo="hide",
            tone=Tone.CALM,
            presets=RELENTING,
        ),
        Action(
            "reset_alias",
            _("Reset the name in this group"),
            _("The member's name in this group is deleted; their nickname is shown."),
            pgettext_lazy("done", "Name in the group reset"),
            Membership,
            "groups.change_membership",
            groups.reset_alias,
            lambda membership: bool(membership.alias or membership.alias_draft),
            presets=CONTENT,
        ),
        Action(
            "remove_score",
            _("Remove the score"),
            _("This one score is deleted and cannot be restored; those of other periods stay."),
            pgettext_lazy("done", "Score removed"),
            Score,
            "groups.delete_score",
            groups.remove_score,
            lambda score: True,
            presets=(CHEATING, _("Sent by mistake"), TEST_DATA),
        ),
        Action(
            "hide_group",
            _("Hide the group"),
            _("Until you show the group again, its members do not see it and cannot enter it."),
            pgettext_lazy("done", "Hidden"),
            Group,
            "groups.change_group",
            groups.hide_group,
            lambda group: not group.hidden,
            undo="show_group",
            tone=Tone.FIRM,
            presets=(AGAINST_THE_LAW, REPORTED, TEST_DATA),
        ),
        Action(
            "show_group",
            _("Show the group"),
            _("Its members see it again, and can enter."),
            pgettext_lazy("done", "Shown"),
            Group,
            "groups.change_group",
            groups.show_group,
            lambda group: group.hidden,
            undo="hide_group",
            tone=Tone.CALM,
            presets=RELENTING,
        ),
        Action(
            "revoke",
            _("Revoke"),
            _("Calls with this key are refused from now on. You can make another key."),
            pgettext_lazy("done", "Revoked"),
            ServerKey,
            "groups.change_serverkey",
            groups.revoke,
            lambda key: key.revoked_at is None,
            presets=(_("Leaked"), NOT_NEEDED),
        ),
        Action(
            "end_sessions",
            _("End sessions"),
            _("The operator is signed out everywhere, and can sign in again."),
            pgettext_lazy("done", "Sessions ended"),
            User,
            "auth.change_user",
            end_all_sessions,
            lambda operator: lasting_sessions(operator).exists(),
            place=Place.OWN_PAGE,
            presets=(_("Device lost"), _("Has left"), _("Looks like someone else")),
            # One's own are on the page of one's account, where the current one stays.
            beyond=lambda row, operator: row == operator or outranks(row, operator),
        ),
    )
}

# What is decided in the review queue alone, which shows what waits: nothing is decided unseen.
DECISIONS: dict[str, Action] = {
    action.key: action
    for action in (
        Action(
            "approve_nickname",
            _("Approve the nickname"),
            _("Everyone sees the new nickname."),
            _("Approved."),
            WeChatUser,
            MODERATE,
            people.approve_nickname,
            lambda user: user.nickname_state == State.PENDING,
            needs_reason=False,
        ),
        Action(
            "refuse_nickname",
            _("Refuse the nickname"),
            _("The new nickname is deleted; others still see the one before."),
            _("Refused."),
            WeChatUser,
            MODERATE,
            people.refuse_nickname,
            lambda user: user.nickname_state == State.PENDING,
        ),
        Action(
            "approve_avatar",
            _("Approve the avatar"),
            _("Everyone sees the new avatar."),
            _("Approved."),
            WeChatUser,
            MODERATE,
            people.approve_avatar,
            lambda user: user.avatar_state == State.PENDING,
            needs_reason=False,
        ),
        Action(
            "refuse_avatar",
            _("Refuse the avatar"),
            _("The new avatar is deleted; others still see the one before."),
            _("Refused."),
            WeChatUser,
            MODERATE,
            people.refuse_avatar,
            lambda user: user.avatar_state == State.PENDING,
        ),
        Action(
            "approve_alias",
            _("Approve the name in this group"),
            _("The group sees the new name."),
            _("Approved."),
            Membership,
            "groups.change_membership",
            groups.approve_alias,
            lambda membership: membership.alias_state == State.PENDING,
            needs_reason=False,
        ),
        Action(
            "refuse_alias",
            _("Refuse the name in this group"),
            _("The new name is deleted; the group still sees the one before."),
            _("Refused."),
            Membership,
            "groups.change_membership",
            groups.refuse_alias,
            lambda membership: membership.alias_state == State.PENDING,
        ),
        Action(
            "dismiss_reports",
            _("Dismiss the reports"),
            _("The reports are closed; nothing else changes."),
            _("Dismissed."),
            Membership,
            "groups.change_membership",
            groups.dismiss_reports,
            lambda membership: membership.reports.open().exists(),
            needs_reason=False,
        ),
    )
}

# Everything the audit records, with the words that its readers see.
RECORDED: dict[str, Text] = {
    **{action.key: action.label for action in (*ACTIONS.values(), *DECISIONS.values())},
    "withdraw_consent": _("Withdraw a consent"),
    "close_account": _("Close the WeChat account"),
    "label": _("Label a group"),
    "change_score": _("Correct a score"),
    "add": _("Add"),
    "change": _("Change"),
    "delete": _("Delete"),
    "rotate": _("Rotate"),
    "export": _("Export"),
    "import": _("Import"),
    "erase_again": _("Erase again after a restore"),
    "see_openid": _("See an openid"),
    "sign_in": _("Sign in"),
    "sign_in_link": _("Make a sign-in link"),
    "change_password": _("Change one's password"),
    "enrol_totp": _("Set up a second factor"),
    "backup_codes": _("Make backup codes"),
    "reset_totp": _("Reset the second factor"),
    "watch": _("Follow log-ins and binds"),
    "unwatch": _("Stop following"),
    "test_credentials": _("Test credentials"),
}


def offered(operator: User, row: Model) -> Iterator[Action]:
    """Find the actions that make sense for `row` and are allowed to `operator`."""
    for action in ACTIONS.values():
        if not (isinstance(row, action.model) and action.allowed(operator) and action.fits(row)):
            continue
        if not action.beyond(row, operator):
            yield action
