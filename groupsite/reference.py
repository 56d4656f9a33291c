"""What the API's documentation says of each call, in the order in which a mini-program makes them.

Texts are in the reader's language. Examples are those of the demo, where each works as it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from groups.models import ACTIVE_DAYS
from groups.periods import Period, Window

# What the demo and its sandbox call these: neither is loaded where the site is in use.
PERSON, GAME = "demo-alice", "taps"
OPEN_GID, OPENID = "tGAhLMBy4ihLwXOl-B0jfGdTseTT", "obXaaBU6Lxlca7SbtbZCBKNRqLoL"
ENVELOPE = {
    "encryptedData": (
        "EKSbDskLvMx80uaQB5ZgjxZ4SK7yNzFU5ishhbDVCKtrWcaauFJ+aqKhoGQVdrZbFmS+AOUNeR9irQk/Mdhasg=="
    ),
    "iv": "gqa9/wSyiMPoVHxAkhkQ/g==",
}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
TICKET = "the-ticket-that-groups-resolve-answered"


@dataclass(frozen=True)
class Example:
    """A body to send."""

    title: str | Promise
    body: Mapping[str, Any]


@dataclass(frozen=True)
class CallText:
    """What is said of one operation, by its operationId."""

    name: str
    summary: Promise
    description: Promise
    examples: tuple[Example, ...] = ()
    of_the_past: bool = False  # only periods that have ended will do


@dataclass(frozen=True)
class Chapter:
    """Calls that belong together."""

    title: Promise
    description: Promise
    calls: tuple[CallText, ...]


PARAMETERS: Mapping[str, str] = {
    "openGId": OPEN_GID,
    "openid": OPENID,
    "board": ACTIVE_DAYS,
    "period": Window.WEEK.value,
    "purpose": "avatar",
}

CHAPTERS = (
    Chapter(
        _("1. Log in"),
        _("Everything else needs the token that this call answers."),
        (
            CallText(
                "login",
                _("Log in"),
                _(
                    "Exchange the code of `wx.login` for a token. Earlier tokens stay valid.\n\n"
                    "In the demo run the example, copy `token` from the answer, and put it into "
                    "**Authorize** at the top. The code `demo-alice` works there as often as you "
                    "like."
                ),
                (Example(_("Alice of the demo"), {"code": PERSON}),),
            ),
        ),
    ),
    Chapter(
        _("2. Enter a group"),
        _(
            "From the encrypted data of a card to the group: in one call, or in two. In WeChat "
            "Cloud Run with `WECHAT_CLOUD=cloudid` a log-in needs no `code`, and both calls take "
            "the `cloudID` of the data instead of `encryptedData` and `iv`."
        ),
        (
            CallText(
                "resolve",
                _("Find out which group a card was opened in"),
                _(
                    "Open the encrypted data of `wx.getGroupEnterInfo` or `wx.getShareInfo` "
                    "and answer the group's `openGId`, with a ticket to enter it. Nothing is "
                    "stored.\n\nFetch the data after logging in: WeChat may have changed the key "
                    "since. On `session_stale` log in and fetch it again."
                ),
                (Example(_("A card in a group of the demo"), ENVELOPE),),
            ),
            CallText(
                "bind",
                _("Enter a group"),
                _(
                    "Become a member of the group that the encrypted data names, or that "
                    "`groups/resolve` gave a ticket for. 201 the first time, then 200. The day "
                    "counts on the board `active-days`."
                ),
                (
                    Example(_("With the encrypted data"), {**ENVELOPE, "scene": 1044}),
                    Example(
                        _("With the ticket of groups/resolve (put yours in)"),
                        {"openGId": OPEN_GID, "openid": OPENID, "ticket": TICKET},
                    ),
                ),
            ),
        ),
    ),
    Chapter(
        _("3. Ranking"),
        _("Rankings by day, week, month and all time, and the scores behind them."),
        (
            CallText(
                "ranking",
                _("A group's ranking"),
                _(
                    "From the top, or after the `next` of the page before as `cursor`. `me` is my "
                    "own place, wherever it is. My own score shows at once, those of others within "
                    "two seconds. The answer has an `ETag`: with it as `If-None-Match` the same "
                    "answer again is 304. 404 for a group that I am not in."
                ),
            ),
            CallText(
                "around",
                _("The ranking around me"),
                _(
                    "My place with `size` neighbours on each side. `entries` is empty where I am "
                    "not listed."
                ),
            ),
            CallText(
                "link",
                _("Make a link to the ranking's web page"),
                _(
                    "The page shows the group as I see it, and opens for an hour unless "
                    "LINK_MAX_AGE says otherwise."
                ),
                (Example(_("Active days"), {"board": ACTIVE_DAYS}),),
            ),
            CallText(
                "boards",
                _("The boards of the mini-program"),
                _("What there are, one a key, and what a client that submits scores must know."),
            ),
            CallText(
                "submit_score",
                _("Submit a score of mine"),
                _(
                    "It counts in all current periods of the board at once. With an "
                    "`idempotencyKey` it counts once within seven days, however often it is "
                    "sent. 403 where only the server writes."
                ),
                (
                    Example(
                        _("The demo's game"),
                        {"board": GAME, "value": 88, "idempotencyKey": "example-1"},
                    ),
                ),
            ),
        ),
    ),
    Chapter(
        _("4. My groups"),
        _("The groups that I have entered, and what I show there."),
        (
            CallText("groups", _("My groups"), _("The one visited last comes first.")),
            CallText("group", _("One of my groups"), _("404 for a group that I am not in.")),
            CallText(
                "update_membership",
                _("Hide myself in a group, or change my name there"),
                _(
                    "A name that WeChat's check doubts awaits review; until then only I see it. "
                    "An empty `alias` takes the name back."
                ),
                (Example(_("A name in this group"), {"hidden": False, "alias": "小明"}),),
            ),
            CallText(
                "report",
                _("Report another member's name or face"),
                _(
                    "What the group sees of that member goes to the operators for review: name, "
                    "avatar and name in the group. `member` is the `member.id` of a ranking. It "
                    "counts once for each member and what they show. The answer is the same "
                    "in every case, also where there is no such member or I have sent many today."
                ),
                (Example(_("An abusive name"), {"member": "2", "reason": "abuse"}),),
            ),
            CallText(
                "leave",
                _("Leave a group"),
                _(
                    "I am no longer in its rankings. WeChat's own group does not change, and "
                    "another card of the group lets me in again."
                ),
            ),
        ),
    ),
    Chapter(
        _("5. Me"),
        _("My profile, my consent, my data."),
        (
            CallText("me", _("My profile"), _("As I see myself, with what awaits review.")),
            CallText(
                "update_me",
                _("Change my nickname"),
                _("A name that WeChat's check doubts awaits review; until then only I see it."),
                (Example(_("A nickname"), {"nickname": "小明"}),),
            ),
            CallText(
                "update_avatar",
                _("Change my avatar"),
                _(
                    "JPEG, PNG or WebP of at most 2 MiB, cut to a square: as `wx.uploadFile` sends "
                    "it, as the body itself (`image/*`), or in JSON as `{avatar: base64}`, where "
                    "the body has at most 256 KiB. Until WeChat's check is done only I see it."
                ),
                (Example(_("A picture of one pixel"), {"avatar": PIXEL}),),
            ),
            CallText(
                "consent",
                _("Agree to the terms"),
                _(
                    "Records what I agree to, and answers all that I have agreed to. Agreeing "
                    "twice keeps the first time."
                ),
                (
                    Example(
                        _("To everything"),
                        {"version": "2026-11", "purposes": ["nickname", "avatar", "groups"]},
                    ),
                ),
            ),
            CallText(
                "consents",
                _("What I have agreed to"),
                _("The oldest first; each purpose in each version of the terms."),
            ),
            CallText(
                "withdraw_consent",
                _("Withdraw my consent to a purpose"),
                _(
                    "What it was for is deleted at once: `nickname` deletes my names, also those "
                    "in groups, `avatar` my picture, `groups` leaves every group. Answers what I "
                    "still agree to. A blocked member may do this too."
                ),
            ),
            CallText(
                "my_data",
                _("Everything held about me"),
                _("All but secrets: keys and tokens are kept as ciphertext or digest."),
            ),
            CallText(
                "diagnostics",
                _("Report what my phone could not do"),
                _(
                    "For the operators' integration check: counted by `where`, `code`, `scene`, "
                    "`platform` and `SDKVersion`, kept for 24 hours. Anyone may send it, without a "
                    "token. No ids: what looks like one in a text is masked, and what is too long "
                    "is cut. The client kit sends it for a share of the runs."
                ),
                (
                    Example(
                        _("WeChat did not say which group"),
                        {
                            "where": "getGroupEnterInfo",
                            "code": "not_from_group",
                            "errMsg": "getGroupEnterInfo:fail 40097",
                            "errno": 40097,
                            "scene": 1044,
                            "SDKVersion": "3.7.8",
                            "platform": "ios",
                        },
                    ),
                ),
            ),
            CallText(
                "logout",
                _("Log out"),
                _(
                    "Ends this token; with `everywhere` all of mine, on all my phones. Otherwise "
                    "the others stay valid."
                ),
                (Example(_("On this phone alone"), {"everywhere": False}),),
            ),
            CallText(
                "erase_me",
                _("Delete my account"),
                _("Deletes me and everything held about me, immediately and permanently."),
            ),
        ),
    ),
    Chapter(
        _("6. From server to server"),
        _(
            "For your own back end, with a server key instead of a token: an operator makes one in "
            "the console, and **Authorize** takes it as `Key <server key>`."
        ),
        (
            CallText(
                "server_session",
                _("Make a member's token"),
                _(
                    "For teams whose own back end exchanges the codes of `wx.login`: two that do "
                    "so for one appid would change each other's session_key. Without `sessionKey` "
                    "the member cannot enter groups with encrypted data."
                ),
                (Example(_("Alice of the demo"), {"openid": OPENID, "nickname": "小明"}),),
            ),
            CallText(
                "server_users",
                _("Make many members"),
                _(
                    "Up to 500, without a session; the results come in the same order. Of members "
                    "who are there already it changes what you send. Nicknames wait for an "
                    "operator's review while WeChat's check is on (`CONTENT_SAFETY`): 500 checks "
                    "would take minutes, and WeChat knows nothing of people who have not come "
                    "within two hours.\n\nThis call, `server/sessions` and `server/scores` share "
                    "a limit of their own, by rows: at least 12,000 a minute."
                ),
                (
                    Example(
                        _("Alice of the demo"),
                        {"users": [{"openid": OPENID, "nickname": "小明"}]},
                    ),
                ),
            ),
            CallText(
                "server_scores",
                _("Submit scores of many members"),
                _(
                    "Up to 500; the results come in the same order, and are what each score would "
                    "get by itself. One that is refused has `code`, `detail` and, for `invalid` "
                    "and `not_found`, `fields`, and does not stop the others. The board "
                    "`active-days` counts entries by itself: `permission_denied`."
                ),
                (
                    Example(
                        _("The demo's game"),
                        {
                            "scores": [
                                {
                                    "openid": OPENID,
                                    "board": GAME,
                                    "value": 99,
                                    "idempotencyKey": "example-2",
                                }
                            ]
                        },
                    ),
                ),
            ),
            CallText(
                "server_groups", _("A member's groups"), _("The one visited last comes first.")
            ),
            CallText(
                "server_ranking",
                _("A group's ranking, for a server"),
                _("As seen by no member in particular."),
            ),
            CallText(
                "winners",
                _("The winners of a finished period"),
                _(
                    "Everyone on the first places, ties included. Each has an `id` that is always "
                    "the same, so that a prize can be given once. Answers from a minute after the "
                    "period's end."
                ),
                of_the_past=True,
            ),
        ),
    ),
)


def describe(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Write texts, examples and the order into a schema: a hook of drf-spectacular."""
    paths: dict[str, dict[str, Any]] = result["paths"]
    operations = {
        operation["operationId"]: (path, operation)
        for path, by_method in paths.items()
        for operation in by_method.values()
    }
    last_week = Period.current(Window.WEEK, timezone.now()).previous
    ordered = {}
    for chapter in CHAPTERS:
        for call in chapter.calls:
            path, operation = operations[call.name]
            ordered[path] = paths[path]
            operation["tags"] = [str(chapter.title)]
            operation["summary"] = str(call.summary)
            operation["description"] = str(call.description)
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in PARAMETERS:
                    parameter["example"] = PARAMETERS[parameter["name"]]
                if parameter["name"] == "period" and call.of_the_past and last_week:
                    parameter["example"] = last_week.key
            if "304" in operation["responses"]:
                operation["responses"]["304"]["description"] = gettext("As `If-None-Match` has it.")
            if "204" in operation["responses"]:
                operation["responses"]["204"]["description"] = gettext("Done. The answer is empty.")
            if call.examples:
                operation["requestBody"]["content"]["application/json"]["examples"] = {
                    str(place): {"summary": str(example.title), "value": example.body}
                    for place, example in enumerate(call.examples, start=1)
                }
    result["paths"] = ordered | paths
    for shape in result["components"]["schemas"].values():
        if shape.get("type") == "object":
            shape.pop("description", None)  # a docstring, for who reads the code
    result["tags"] = [
        {"name": str(chapter.title), "description": str(chapter.description)}
        for chapter in CHAPTERS
    ]
    return result


def outline(schema: dict[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Return method, path and summary of each call, by the title of its chapter."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for path, by_method in schema["paths"].items():
        for method, operation in by_method.items():
            row = (method.upper(), path, operation["summary"])
            found.setdefault(operation["tags"][0], []).append(row)
    return found
