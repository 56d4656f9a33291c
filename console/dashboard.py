"""The console's front page in numbers: how much there is, how it goes, and what needs attention.

Each part is for who may see what it counts. All of them are five queries:

- what there is of each, in one: groups, members, who was active in the last seven days and proofs
  without a watermark (a range of the index `latest_entries`), log-ins that failed because of WeChat
  (a day of the index on `Attempt.at`);
- new members by day, and what became of them: one range of `members_by_first_seen`, with a look
  at the memberships and scores of each of these people;
- proven entries by day: one range of the scores' unique index;
- what awaits review: see console/review.py;
- the audit's last rows, by primary key.

Days are those of Asia/Shanghai and computed here, since a database may not know the zone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Case, Count, Exists, OuterRef, QuerySet, Value, When
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import WeChatUser
from audit import attempts
from audit.models import AuditEvent
from groups.models import ACTIVE_DAYS, EVERY_APP, Group, Membership, Score
from groups.periods import Period, Window, day_of

from .actions import RECORDED, Text
from .audit_targets import target_name
from .review import KINDS, union, waiting, waiting_time
from .roles import may_view

DAYS = 30
LATELY = timedelta(days=7)
RETURN_DAYS = 7
AUDIT_ROWS = 8
BAR, GAP, HEIGHT = 8, 2, 80  # of a chart, in its own units


@dataclass(frozen=True)
class Figure:
    """How much there is of something; `link` leads to what is counted."""

    title: str
    value: int
    link: str = ""
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """One day of a chart, and its rectangle."""

    day: date
    value: int
    x: int
    height: int

    width = BAR

    @property
    def y(self) -> int:
        return HEIGHT - self.height


@dataclass(frozen=True)
class Chart:
    """A number for each of the last days, today's the last; `note` says what is counted."""

    key: str
    title: str
    note: str
    bars: list[Bar]

    width = DAYS * (BAR + GAP) - GAP
    height = HEIGHT

    @property
    def total(self) -> int:
        return sum(bar.value for bar in self.bars)

    @property
    def peak(self) -> int:
        return max(bar.value for bar in self.bars)


@dataclass(frozen=True)
class FunnelStep:
    """How many got this far, and which share of the first step's that is, in percent."""

    title: str
    value: int
    share: int


@dataclass(frozen=True)
class AuditLine:
    """Something an operator did, and to what."""

    event: AuditEvent
    what: Text
    subject: str
    link: str


@dataclass(frozen=True)
class Alert:
    text: str
    link: str = ""


@dataclass
class Dashboard:
    """The front page as one operator may see it."""

    figures: list[Figure] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    funnel: list[FunnelStep] = field(default_factory=list)
    audit: list[AuditLine] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


def read(operator: User, now: datetime) -> Dashboard:
    """Read the front page as `operator` may see it at `now`."""
    found, days = Dashboard(alerts=_of_settings()), days_until(now)
    _add_counts(found, operator, now)
    _add_waiting(found, operator, now)
    if may_view(operator, WeChatUser):
        _add_newcomers(found, days)
    if may_view(operator, Score):
        by_day = _active_days(days).values_list("period").annotate(count=Count("pk"))
        note = _("The first of each member into each group a day")
        found.charts.append(_chart("entries", _("Proven entries"), note, days, dict(by_day)))
    if may_view(operator, AuditEvent):
        found.audit = [
            AuditLine(
                event,
                RECORDED.get(event.action, event.action),
                target_name(event),
                _list(AuditEvent, target=event.target, target_id=event.target_id or ""),
            )
            for event in AuditEvent.objects.order_by("-pk")[:AUDIT_ROWS]
        ]
    return found


def days_until(now: datetime) -> list[date]:
    """Return the last days, today included, the latest last."""
    return [day_of(now) - timedelta(days=ago) for ago in reversed(range(DAYS))]


def _period(day: date) -> Period:
    return Period(Window.DAY, day)


def _list(model: Any, **filters: Any) -> str:
    """Return the address of the admin's list of a model, filtered."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{address}?{urlencode(filters)}" if filters else address


# Numbers


def _add_counts(found: Dashboard, operator: User, now: datetime) -> None:
    """Add the counts, each with where it leads, as figures or as alerts."""
    since = now - LATELY
    lately = Membership.objects.filter(verified_at__gte=since)
    unmarked = lately.filter(watermarked=False)
    failed = attempts.wechat_failures(now - timedelta(days=1))
    numbers = _numbers(
        operator,
        groups=(Group.objects.all(), Count("pk")),
        members=(WeChatUser.objects.all(), Count("pk")),
        active=(lately, Count("user", distinct=True)),
        unmarked=(unmarked, Count("pk")),
        failed=(failed, Count("pk")),
    )
    if "groups" in numbers:
        found.figures.append(Figure(_("Groups"), numbers["groups"], reverse("group-list")))
    if "members" in numbers:
        found.figures.append(Figure(_("Members"), numbers["members"], _list(WeChatUser)))
    if "members" in numbers and "active" in numbers:
        link = _list(Membership, verified_at__gte=since.isoformat())
        found.figures.append(Figure(_("Active in 7 days"), numbers["active"], link))
    if count := numbers.get("unmarked"):
        text = ngettext(
            "%(count)d membership was last proven without WeChat's watermark (7 days).",
            "%(count)d memberships were last proven without WeChat's watermark (7 days).",
            count,
        )
        link = _list(Membership, watermarked__exact=0, verified_at__gte=since.isoformat())
        found.alerts.append(Alert(text % {"count": count}, link))
    if count := numbers.get("failed"):
        text = ngettext(
            "WeChat failed %(count)d time within 24 hours.",
            "WeChat failed %(count)d times within 24 hours.",
            count,
        )
        found.alerts.append(Alert(text % {"count": count}, reverse("check")))


def _numbers(operator: User, **wanted: tuple[QuerySet[Any], Count]) -> dict[str, int]:
    """Count each of what `operator` may see, in one query."""
    seen = {name: each for name, each in wanted.items() if may_view(operator, each[0].model)}
    rows = [
        queryset.order_by().values(name=Value(name)).annotate(n=count).values_list("name", "n")
        for name, (queryset, count) in seen.items()
    ]
    return dict.fromkeys(seen, 0) | dict(union(rows) if rows else [])


def _add_waiting(found: Dashboard, operator: User, now: datetime) -> None:
    kinds = [kind for kind in KINDS.values() if may_view(operator, kind.model)]
    if not kinds:
        return
    counts = waiting(kinds).values()
    age = waiting_time(min((each.since for each in counts if each.since), default=None), now)
    note = _("the first for %(age)s") % {"age": age} if age else ""
    theirs = any(kind.decided_by(operator) for kind in kinds)
    link = reverse("review-queue") if theirs else ""
    total = sum(each.count for each in counts)
    found.figures.append(Figure(_("Awaiting review"), total, link, note))


def _active_days(days: Iterable[date]) -> Any:
    """Return a score for each member, group and day of these on which the member entered it."""
    return Score.objects.filter(
        board__app_id=EVERY_APP,
        board__key=ACTIVE_DAYS,
        period__in=[_period(day).key for day in days],
    )


def _chart(
    key: str, title: str, note: str, days: Sequence[date], values: Mapping[str, int]
) -> Chart:
    peak = max(values.values(), default=0)
    bars = []
    for place, day in enumerate(days):
        value = values.get(_period(day).key, 0)
        # However small, it stays visible.
        height = max(1, HEIGHT * value // peak) if value else 0
        bars.append(Bar(day, value, place * (BAR + GAP), height))
    return Chart(key, title, note, bars)


# People who are new


@dataclass(frozen=True)
class Cohort:
    """Who was first seen on one day: how many, how many of them have been in a group, and how
    many entered one again on a later day, at most RETURN_DAYS later."""

    people: int
    bound: int
    back: int


def newcomers(days: Sequence[date]) -> dict[str, Cohort]:
    """Count by day, in one query whose days are ranges of moments."""
    memberships = Membership.objects.filter(user=OuterRef("pk"))
    entries = _active_days(days).filter(
        user=OuterRef("pk"), period__gt=OuterRef("day"), period__lte=OuterRef("last_day")
    )
    rows = (
        WeChatUser.objects.filter(created_at__gte=_period(days[0]).start)
        .annotate(day=_by_day(days, 0), last_day=_by_day(days, RETURN_DAYS))
        .values("day")
        .annotate(
            people=Count("pk"),
            bound=Count("pk", filter=Exists(memberships)),
            back=Count("pk", filter=Exists(entries)),
        )
    )
    found = rows.values_list("day", "people", "bound", "back")
    return {day: Cohort(*numbers) for day, *numbers in found}


def _by_day(days: Sequence[date], later: int) -> Case:
    """Return the key of the day on which a member was first seen, or of a day later."""
    shift = timedelta(days=later)
    return Case(
        *(
            When(created_at__gte=_period(day).start, then=Value(_period(day + shift).key))
            for day in reversed(days)
        )
    )


def _add_newcomers(found: Dashboard, days: Sequence[date]) -> None:
    cohorts = newcomers(days)
    by_day = {key: cohort.people for key, cohort in cohorts.items()}
    note = _("On the day they were first seen")
    found.charts.append(_chart("newcomers", _("New members"), note, days, by_day))
    people = sum(cohort.people for cohort in cohorts.values())
    reached = {
        _("Logged in"): people,
        _("Bound a group"): sum(cohort.bound for cohort in cohorts.values()),
        _("Came back"): sum(cohort.back for cohort in cohorts.values()),
    }
    found.funnel = [
        FunnelStep(title, value, 100 * value // people if people else 0)
        for title, value in reached.items()
    ]


# What was done, and what needs attention


def _of_settings() -> list[Alert]:
    alerts = []
    if settings.CACHES["default"]["BACKEND"].endswith("LocMemCache") and not settings.DEBUG:
        text = _("No shared cache: each process keeps throttles of its own. Set REDIS_URL.")
        alerts.append(Alert(text))
    if not settings.CONTENT_SAFETY:
        text = _("Content safety is off: names and avatars are not checked. Set CONTENT_SAFETY.")
        alerts.append(Alert(text))
    return alerts
