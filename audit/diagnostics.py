"""What phones could not do, as mini-programs report it: counted by kind, for operators.

Much that goes wrong on a phone never reaches a server: WeChat refuses to name a group, or a domain
is not entered. A report holds what failed and no one's ids. It ends after 24 hours, and is bounded:
KINDS_AN_HOUR rows an hour, whatever comes; what would be more counts as `other`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Max, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .models import MAX_ERR_MSG, PhoneFailure

KEPT = timedelta(hours=24)
KINDS_AN_HOUR = 500
KIND = ("call", "code", "scene", "platform", "sdk_version")
OTHER = {"call": "other", "code": "other", "scene": 0, "platform": "", "sdk_version": ""}

ID = re.compile(r"[A-Za-z0-9_-]{20,}", re.ASCII)  # an openid, an openGId, a ticket
CALL = re.compile(
    r"[A-Za-z]+(?=:|\Z)", re.ASCII
)  # the name of a `wx` call, with which errMsg begins
MASK = "…"


def without_ids(text: str) -> str:
    """Return what is kept of a text: no ids, and no part of one that was cut off at the end."""
    if len(text) >= MAX_ERR_MSG:
        text = re.sub(r"[A-Za-z0-9_-]+\Z", MASK, text[:MAX_ERR_MSG], flags=re.ASCII)
    call = found[0] if (found := CALL.match(text)) else ""
    return call + ID.sub(MASK, text[len(call) :])


def count_failure(kind: Mapping[str, Any], example: Mapping[str, str], now: datetime) -> None:
    """Count a failure of a `kind` (a value for each of KIND), with `example` as its latest."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    if _add(hour, kind, at=now, **example):
        return
    PhoneFailure.objects.filter(hour__lt=now - KEPT).delete()
    if PhoneFailure.objects.filter(hour=hour).count() >= KINDS_AN_HOUR:
        kind, example = OTHER, {}
    PhoneFailure.objects.get_or_create(hour=hour, **kind, defaults={"at": now})
    _add(hour, kind, at=now, **example)


def _add(hour: datetime, kind: Mapping[str, Any], **seen: Any) -> bool:
    """Count one more of a kind that this hour has had; return whether it has."""
    rows = PhoneFailure.objects.filter(hour=hour, **kind)
    return bool(rows.update(count=F("count") + 1, **seen))


@dataclass(frozen=True)
class FailureCount:
    """How often phones failed in one way within the last day, with an example of WeChat's words."""

    call: str
    code: str
    scene: int
    platform: str
    sdk_version: str
    count: int
    latest: datetime
    err_msg: str
    errno: str

    @property
    def todo(self) -> str | Promise:
        """Return what an operator can do about it; "" where no one knows."""
        return TODO.get(self.code, "")


def failures(now: datetime, most: int) -> list[FailureCount]:
    """Return what phones could not do within the last day, the most frequent first."""
    rows = PhoneFailure.objects.filter(hour__gte=now - KEPT).values(*KIND)
    rows = rows.annotate(
        sum=Sum("count"), latest=Max("at"), example=Max("err_msg"), number=Max("errno")
    )
    found = rows.order_by("-sum", "-latest", *KIND)[:most].values_list(
        *KIND, "sum", "latest", "example", "number"
    )
    return [FailureCount(*row) for row in found]


# What to do, by the codes of the client kit's errors.
TODO: dict[str, str | Promise] = {
    "not_from_group": _(
        "WeChat's 40097: it did not say which group. Common where the scene is not that of a group "
        "card; for a group card, let the person leave the mini-program and tap the card again. It "
        "lasts for certain groups, whatever the phone."
    ),
    "privacy_undeclared": _(
        "WeChat's 112: declare it at mp.weixin.qq.com → 用户隐私保护指引; docs/privacy.md has the "
        "texts. It counts from the next version that is released."
    ),
    "domain_not_listed": _(
        "Enter this site's domain at mp.weixin.qq.com → Development settings → Server domains: for "
        "request, upload and download."
    ),
    "unsupported": _(
        "A base library below 2.17.3, or not WeChat: set the lowest version at mp.weixin.qq.com → "
        "Settings, or leave it."
    ),
    "timeout": _(
        "The phone, or WeChat on it, did not answer in time. If one base library or platform "
        "stands out, ask WeChat; otherwise nothing can be done here."
    ),
    "wx_fail": _("WeChat refused for another reason: read its words, and look them up."),
    "bad_answer": _(
        "Something between the phone and this site answered in its place: see what the proxy or "
        "the CDN sends."
    ),
    "get_token": _("Your own `getToken` failed or gave no token: see your back end's log."),
    "misconfigured": _("`createGroups` has no `baseUrl` for this version of the mini-program."),
    "other": _("More kinds than are kept apart in an hour. Someone may be inventing them."),
}
