"""The console's front page in numbers: how much there is, how it goes, and what needs attention.

Each part is for who may see what it counts. All of them are five queries:

- what there is of each, in one: groups, boards, members, new members by day (a range of
  `members_by_first_seen` each), proven entries by day (a range of the scores' unique index each),
  proofs of the last seven days without a watermark, log-ins that failed because of WeChat (a day of
  the index on `Attempt.at`); on a site without members one more, of its tests;
- who was active in the last seven days, and what became of the new members: two queries that look
  at the memberships and scores of each of these people, or, where there are more than SAMPLE, of
  one in so many, by their ids: the page then says "about";
- what awaits review: see console/review.py;
- the audit's last rows, by primary key.

Days are those of Asia/Shanghai and computed here, since a database may not know the zone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import (
    Case,
    Count,
    Exists,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Mod
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import WeChatUser
from audit import attempts
from audit.models import AuditEvent
from core.routing import read_from
from groups.models import ACTIVE_DAYS, EVERY_APP, Board, Group, Membership, Score
from groups.periods import Period, Window, day_of

from .access import operator_of
from .actions import RECORDED, Text
from .audit_targets import target_name
from .paging import EXACT_UP_TO, RowCount
from .review import QUEUE, waiting_for, waiting_time
from .roles import holds, may_view

DAYS = 30
LATELY = timedelta(days=7)
RETURN_DAYS = 7
AUDIT_ROWS = 8
IN_USE = 3  # groups: from then on the first steps are known
SAMPLE = EXACT_UP_TO  # people whose memberships and scores are looked at
BAR, GAP, HEIGHT = 8, 2, 80  # of a chart, in its own units


@dataclass(frozen=True)
class Figure:
    """How much there is of something, `about` so much; `link` leads to what is counted."""

    title: str
    value: int
    link: str = ""
    note: str = ""
    about: bool = False

    @property
    def text(self) -> str:
        return str(RowCount(self.value, self.about))


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
    """How many got this far, `about` so many, and which share of the first step's that is, in
    percent.
    """

    title: str
    value: int
    share: int
    about: bool = False

    @property
    def text(self) -> str:
        return str(RowCount(self.value, self.about))


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


@dataclass(frozen=True)
class FirstStep:
    """One of the steps from an empty site to a group's ranking; `is_next` is the first to do."""

    title: str
    note: str
    link: str
    is_done: bool
    is_next: bool


@dataclass
class Dashboard:
    """The front page as one operator may see it; `steps` are there on a new site."""

    steps: list[FirstStep] = field(default_factory=list)

    figures: list[Figure] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    funnel: list[FunnelStep] = field(default_factory=list)
    audit: list[AuditLine] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


def read(request: HttpRequest, now: datetime) -> Dashboard:
    """Read the front page as the operator may see it at `now`."""
    operator = operator_of(request)
    found, days = Dashboard(alerts=_of_settings()), days_until(now)
    numbers = _numbers(operator, days, now)
    _add_counts(found, operator, numbers, now)
    _add_waiting(found, request, now)
    if may_view(operator, WeChatUser):
        note = _("On the day they were first seen")
        found.charts.append(
            _chart("newcomers", _("New members"), note, days, _by_day_of("newcomers", numbers))
        )
        _add_funnel(found, days, found.charts[-1].total)
    if may_view(operator, Score):
        note = _("The first of each member into each group a day")
        by_day = _by_day_of("entries", numbers)
        found.charts.append(_chart("entries", _("Proven entries"), note, days, by_day))
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


class CountRows(Subquery):
    """The number of rows that a query finds."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"

    def __init__(self, rows: QuerySet[Any, Any]) -> None:
        super().__init__(rows.order_by(), output_field=IntegerField())


def _numbers(operator: User, days: Sequence[date], now: datetime) -> dict[str, int]:
    """Count each of what `operator` may see, in one query; what is counted by day once a day."""
    failed = attempts.wechat_failures(now - timedelta(days=1))
    wanted: dict[str, QuerySet[Any]] = {
        "groups": Group.objects.all(),
        "members": WeChatUser.objects.all(),
        "unmarked": _lately(now).filter(watermarked=False),
        "failed": failed,
        "boards": Board.objects.exclude(app_id=EVERY_APP),
    }
    for day in days:
        span = Q(created_at__gte=_period(day).start, created_at__lt=_period(day).end)
        wanted[_key("newcomers", day)] = WeChatUser.objects.filter(span)
        wanted[_key("entries", day)] = _entries(period=_period(day).key)
    wanted = {name: rows for name, rows in wanted.items() if may_view(operator, rows.model)}
    counts = [CountRows(rows.values("pk")) for rows in wanted.values()]
    one_row = User.objects.using(read_from()).filter(pk=operator.pk)
    found = one_row.values_list(*counts) if counts else []
    return dict.fromkeys(wanted, 0) | {
        name: count for row in found for name, count in zip(wanted, row, strict=True)
    }


def _lately(now: datetime) -> QuerySet[Membership]:
    return Membership.objects.filter(verified_at__gte=now - LATELY)


def _key(chart: str, day: date) -> str:
    return f"{chart} {_period(day).key}"


def _by_day_of(chart: str, numbers: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers of a chart by the day's key."""
    return {
        key.removeprefix(f"{chart} "): number
        for key, number in numbers.items()
        if key.startswith(f"{chart} ")
    }


def _entries(**more: Any) -> QuerySet[Score]:
    """Return the scores that count entries: one for each member, group and period."""
    board = Board.objects.filter(app_id=EVERY_APP, key=ACTIVE_DAYS)
    return Score.objects.filter(board=Subquery(board.values("pk")[:1]), **more)


def sampled(people: QuerySet[WeChatUser], total: int) -> tuple[QuerySet[WeChatUser], int]:
    """Return all people, or one in so many of them, at most about SAMPLE; and that number."""
    step = -(-total // SAMPLE) or 1
    return (people.alias(part=Mod("pk", step)).filter(part=0) if step > 1 else people), step


def _add_counts(
    found: Dashboard, operator: User, numbers: Mapping[str, int], now: datetime
) -> None:
    """Add the counts, each with where it leads, as figures or as alerts."""
    since = now - LATELY
    found.steps = _first_steps(operator, numbers)
    if "groups" in numbers:
        found.figures.append(Figure(_("Groups"), numbers["groups"], reverse("group-list")))
    if "members" in numbers:
        found.figures.append(Figure(_("Members"), numbers["members"], _list(WeChatUser)))
    if "members" in numbers and "unmarked" in numbers:
        link = _list(Membership, verified_at__gte=since.isoformat())
        people, step = sampled(WeChatUser.objects.all(), numbers["members"])
        active = people.filter(Exists(_lately(now).filter(user=OuterRef("pk")))).count()
        title = _("Active in 7 days")
        found.figures.append(Figure(title, active * step, link, about=step > 1))
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


def _first_steps(operator: User, numbers: Mapping[str, int]) -> list[FirstStep]:
    """Return the steps to a first ranking; none once all are done, or the site is used."""
    members, groups = numbers.get("members", 0), numbers.get("groups", 0)
    if "groups" not in numbers or (groups and (numbers.get("boards") or groups >= IN_USE)):
        return []
    steps = [
        (
            _("Test the credentials"),
            _("Whether WeChat takes the AppID and the AppSecret from this server."),
            reverse("check-credentials") if operator.has_perm("audit.test_credentials") else "",
            bool(members) or _are_credentials_tested(),
        ),
        (
            _("See the first log-in"),
            _("Open the mini-program; the integration check shows each step, and what failed."),
            reverse("check") if holds(operator, "audit.view_attempt") else "",
            bool(members),
        ),
        (
            _("See the first group"),
            _("Share the mini-program's card into a group and tap it there."),
            reverse("check") if holds(operator, "audit.view_attempt") else "",
            bool(groups),
        ),
        (
            _("Make the first board"),
            _("Days of activity are ranked already; a game needs a board of its own."),
            reverse("admin:groups_board_add") if operator.has_perm("groups.add_board") else "",
            bool(numbers.get("boards")),
        ),
    ]
    first = next(place for place, step in enumerate(steps) if not step[3])
    return [FirstStep(*step, is_next=place == first) for place, step in enumerate(steps)]


def _are_credentials_tested() -> bool:
    """Return whether a test succeeded; asked on sites without members, whose audit is short."""
    tests = AuditEvent.objects.filter(action="test_credentials", details__outcome="ok")
    return tests.exists()


def _add_waiting(found: Dashboard, request: HttpRequest, now: datetime) -> None:
    operator = operator_of(request)
    kinds = [kind for kind in QUEUE.values() if may_view(operator, kind.model)]
    if not kinds:
        return
    counts = waiting_for(request).values()
    age = waiting_time(min((each.since for each in counts if each.since), default=None), now)
    note = _("the first for %(age)s") % {"age": age} if age else ""
    theirs = any(kind.decided_by(operator) for kind in kinds)
    link = reverse("review-queue") if theirs else ""
    total = sum(each.count for each in counts)
    found.figures.append(Figure(_("Awaiting review"), total, link, note))


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


def _add_funnel(found: Dashboard, days: Sequence[date], total: int) -> None:
    """Add how many of the `total` new members have been in a group, and how many entered one again
    on a later day, at most RETURN_DAYS later.
    """
    newcomers = WeChatUser.objects.filter(
        created_at__gte=_period(days[0]).start, created_at__lt=_period(days[-1]).end
    )
    people, step = sampled(newcomers, total)
    entries = _entries(
        period__in=[_period(day).key for day in days],
        user=OuterRef("pk"),
        period__gt=OuterRef("day"),
        period__lte=OuterRef("last_day"),
    )
    today = _period(days[-1]).start
    rows = (
        people.alias(day=_by_day(days, 0), last_day=_by_day(days, RETURN_DAYS))
        .annotate(bound=Exists(Membership.objects.filter(user=OuterRef("pk"))))
        # Who came today has no later day, so their entries are not looked for.
        .annotate(back=Case(When(Q(Exists(entries), created_at__lt=today), then=1), default=0))
        .values_list("bound", "back")
        .annotate(people=Count("pk"))
    )
    looked_at = bound = back = 0
    for is_bound, is_back, number in rows:
        looked_at += number
        bound += number if is_bound else 0
        back += number if is_back else 0
    found.funnel = [
        FunnelStep(_("Logged in"), total, 100 if total else 0),
        *(
            FunnelStep(title, number * step, 100 * number // (looked_at or 1), about=step > 1)
            for title, number in ((_("Bound a group"), bound), (_("Came back"), back))
        ),
    ]


def _by_day(days: Sequence[date], later: int) -> Case:
    """Return the key of the day on which a member was first seen, or of a day later."""
    shift = timedelta(days=later)
    return Case(
        *(
            When(created_at__gte=_period(day).start, then=Value(_period(day + shift).key))
            for day in reversed(days)
        )
    )


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
