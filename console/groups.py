"""The page of every group: found, filtered, in order, and labelled several at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.core.paginator import Page, Paginator
from django.db import transaction
from django.db.models import (
    Case,
    Count,
    F,
    Func,
    IntegerField,
    Max,
    OuterRef,
    Q,
    Subquery,
    When,
)
from django.db.models import Window as Over
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from accounts.nicknames import folded, shown
from audit.actors import Actor
from groups import moderation, ranking
from groups.models import (
    Board,
    Group,
    GroupCard,
    GroupQuerySet,
    Membership,
    MembershipQuerySet,
    called,
    describe,
)

from .access import operator_of, operators_only
from .actions import Text
from .mini_programs import chosen_app
from .paging import LONGEST_SEARCH, is_plain
from .redirects import next_url
from .replica import from_replica

GROUPS_PER_PAGE = 50

ORDERS: dict[str, tuple[Text, list[Any]]] = {
    "entry": (_("Last entry"), []),
    "members": (_("Most members"), []),
    "created": (_("Newest"), ["-created_at"]),
    "label": (_("By label"), [Case(When(label="", then=1), default=0), "label"]),
}
FILTERS: dict[str, tuple[Text, dict[str, Text]]] = {
    "labelled": (_("label"), {"": _("All"), "1": _("labelled"), "0": _("not yet")}),
    "hidden": (_("state"), {"": _("All"), "0": _("shown"), "1": _("hidden")}),
}


@dataclass(frozen=True)
class GroupQuery:
    """Which groups an operator asks for, in which order; a value that is not known is ignored."""

    text: str
    app_id: str
    labelled: str
    hidden: str
    order: str

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        """Read the query: `?q=&labelled=0&hidden=1&sort=members`."""
        asked = request.GET
        app_id, order = asked.get("app", ""), asked.get("sort", "")
        chosen = {name: asked.get(name, "") for name in FILTERS}
        return cls(
            text=shown(asked.get("q", "")[:LONGEST_SEARCH]),
            app_id=app_id if app_id in settings.WECHAT_APPS else chosen_app(request),
            order=order if order in ORDERS else "entry",
            **{name: value if value in FILTERS[name][1] else "" for name, value in chosen.items()},
        )

    @property
    def is_narrow(self) -> bool:
        """Return whether some groups are left out."""
        return bool(self.text or self.app_id or self.labelled or self.hidden)

    def groups(self) -> GroupQuerySet:
        """Return the groups in no order, which is all that counting them needs."""
        groups = Group.objects.matching(self.text) if self.text else Group.objects.all()
        if self.app_id:
            groups = groups.filter(app_id=self.app_id)
        if self.labelled:
            groups = groups.filter(label="") if self.labelled == "0" else groups.exclude(label="")
        return groups.filter(hidden=self.hidden == "1") if self.hidden else groups

    def entries(self) -> MembershipQuerySet:
        """Return the memberships of these groups."""
        entries = Membership.objects.all()
        return entries.filter(group__in=self.groups()) if self.is_narrow else entries

    def ranked(self, now: datetime, number: int) -> list[int] | None:
        """Return the first `number` groups by what their members did, or all there are if fewer.

        None for an order that no member has a part in.
        """
        if self.order == "entry":
            return list(self.entries().latest_groups(now, number))
        if self.order == "members":
            sizes = self.entries().entries(now).values_list("group").annotate(size=Count("*"))
            return [pk for pk, _size in sizes.order_by("-size", "-group")[:number]]
        return None


class GroupPaginator(Paginator[Any]):
    """Pages of groups, counted by the query that reads a page.

    Where members decide the order, their groups are chosen first, by narrow rows; those without a
    current member follow, the newest first.
    """

    def __init__(self, query: GroupQuery, now: datetime) -> None:
        super().__init__((), GROUPS_PER_PAGE)
        self.query, self.now = query, now

    @cached_property
    def count(self) -> int:
        return self.query.groups().count()

    def get_page(self, number: Any) -> Page[Any]:
        asked = int(number) if str(number).isdecimal() and len(str(number)) < 9 else 1
        found = self._read(max(0, asked - 1) * self.per_page)
        if not found and asked > 1:
            asked = self.num_pages
            found = self._read((asked - 1) * self.per_page)
        self.count = found[0].total if found else 0
        return Page(found, max(1, asked), self)

    def _read(self, first: int) -> list[Any]:
        """Read the groups of the page that begins at place `first`."""
        groups, last = self.query.groups(), first + self.per_page
        if self.query.text:
            return list(self._searched()[first:last])
        counted = Func(F("pk"), function="COUNT", output_field=IntegerField())
        total = groups.order_by().annotate(total=counted).values("total")
        rows: Any = groups.annotate(total=Subquery(total))
        ranked = self.query.ranked(self.now, last)
        if ranked is None:
            return list(rows.order_by(*ORDERS[self.query.order][1], "-pk")[first:last])
        page = ranked[first:]
        places = {pk: place for place, pk in enumerate(page)}
        if len(ranked) == last:
            rows = Group.objects.filter(pk__in=page).annotate(total=Subquery(total))
            return sorted(rows, key=lambda row: places[row.pk])
        # These are all that have members: the others follow.
        others = ~Q(pk__in=self.query.entries().entries(self.now).values("group"))
        whens = [When(pk=pk, then=place) for pk, place in places.items()]
        placed = [Case(*whens, default=len(page))] if whens else []  # or it is a bare number
        rows = rows.filter(Q(pk__in=page) | others).order_by(*placed, "-pk")
        begin = max(0, first - len(ranked))
        return list(rows[begin : begin + self.per_page])

    def _searched(self) -> Any:
        """Select the groups with what was searched for, in order: names are searched only once, and
        nothing is read of other groups.
        """
        current = Membership.objects.current(self.now).filter(group=OuterRef("pk"))
        facts = {"entry": Max("verified_at"), "members": Count("*")}
        rows: Any = self.query.groups().annotate(total=Over(Count("*")))
        order = ORDERS[self.query.order][1]
        if fact := facts.get(self.query.order):
            fact_of_each = current.values("group").annotate(fact=fact).values("fact")
            rows = rows.annotate(fact=Subquery(fact_of_each))
            order = [F("fact").desc(nulls_last=True)]
        return rows.order_by(*order, "-pk")


@dataclass(frozen=True)
class GroupRow:
    """A group in the list, and why it was found: those in it who are called what was searched."""

    summary: ranking.Summary
    query: GroupQuery

    @property
    def card(self) -> GroupCard:
        return self.summary.card

    @property
    def faces(self) -> list[ranking.Member]:
        """Return the members who were searched for, or else the first of the ranking."""
        return [place.member for place in self.summary.places] or self.summary.top

    @property
    def matches(self) -> list[tuple[ranking.Place, str]]:
        """Return each place found, with the address of its row on the group's page."""
        page = reverse("group-page", args=[self.card.group.pk])
        return [
            (place, f"{page}?member={place.member.id}#member-{place.member.id}")
            for place in self.summary.places
        ]

    @property
    def more_url(self) -> str:
        """Return where all who are called so are found, where there may be more."""
        if len(self.summary.places) < ranking.PLACES:
            return ""
        page = reverse("group-page", args=[self.card.group.pk])
        return f"{page}?{urlencode({'q': self.query.text})}"

    @property
    def by_label(self) -> bool:
        text = self.query.text
        return bool(text) and folded(text) in folded(self.card.group.label)

    @property
    def by_open_gid(self) -> bool:
        return self.query.text == self.card.group.open_gid


def rows_of(groups: Sequence[Group], query: GroupQuery, now: datetime) -> list[GroupRow]:
    """Read what the list shows of these groups; two queries, however many they are."""
    boards = Board.objects.defaults({group.app_id for group in groups})
    wanted = called(query.text) if query.text else None
    found = ranking.summarize(Q(group__in=groups), boards, now, wanted) if groups else {}
    empty = {
        group.pk: ranking.Summary(GroupCard.of(group, [], 0, None), [], []) for group in groups
    }
    return [GroupRow((empty | found)[group.pk], query) for group in groups]


@require_safe
@operators_only("groups.view_group", "groups.view_membership")
@from_replica
def group_list(request: HttpRequest) -> HttpResponse:
    """Show every group with its first faces: searched, filtered, sorted."""
    now, query = timezone.now(), GroupQuery.of(request)
    page = GroupPaginator(query, now).get_page(request.GET.get("page"))
    context = {
        **admin.site.each_context(request),
        "title": _("Groups and rankings"),
        "page": page,
        "query": query,
        "orders": {key: label for key, (label, _order) in ORDERS.items()},
        "filters": [
            (name, title, getattr(query, name), choices)
            for name, (title, choices) in FILTERS.items()
        ],
        "rows": rows_of(list(page.object_list), query, now),
        "may_label": request.user.has_perm("groups.change_group"),
        "several_apps": len(settings.WECHAT_APPS) > 1 and not query.app_id,
    }
    return TemplateResponse(request, "console/groups.html", context)


# Labels


class LabelField(forms.CharField):
    """A group's label, without what cannot be seen or turns a line round, as in nicknames."""

    def __init__(self, **kwargs: Any) -> None:
        longest = Group._meta.get_field("label").max_length
        super().__init__(**{"max_length": longest, "required": False} | kwargs)

    def clean(self, value: Any) -> str:
        return shown(super().clean(value))


class LabelsForm(forms.Form):
    """A label for each of some groups, or one for all of them."""

    all = LabelField(label=_("The same for all"))

    def __init__(self, cards: Sequence[GroupCard], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cards = cards
        for card in cards:
            self.fields[f"label-{card.group.pk}"] = LabelField(
                label=card.title,
                initial=card.group.label,
                show_hidden_initial=True,  # what it was when it was shown
            )
        if len(cards) == 1:
            del self.fields["all"]
        next(iter(self.fields.values())).widget.attrs["autofocus"] = True

    def save(self, actor: Actor) -> int:
        """Label the groups changed here and return how many; what another wrote meanwhile stays."""
        data = self.cleaned_data
        for_all = data.get("all", "")
        names = {f"label-{card.group.pk}": card.group for card in self.cards}
        labels = [
            (group, for_all or data[name])
            for name, group in names.items()
            if for_all or name in self.changed_data
        ]
        with transaction.atomic():
            return sum(moderation.label([group], label, actor) for group, label in labels)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only("groups.view_group", "groups.view_membership", "groups.change_group")
def label_groups(request: HttpRequest) -> HttpResponse:
    """Ask for the labels of the groups ticked on a page of the list: `?group=3&group=5`."""
    ticked = (request.POST if request.method == "POST" else request.GET).getlist("group")
    if len(ticked) > GROUPS_PER_PAGE or not all(is_plain(pk) and pk.isdecimal() for pk in ticked):
        raise BadRequest("group")
    back = next_url(request) or reverse("group-list")
    groups = list(Group.objects.filter(pk__in=ticked).order_by("-pk"))
    if not groups:
        messages.warning(request, _("Choose the groups to label first."))
        return HttpResponseRedirect(back)
    form = LabelsForm(describe(groups, timezone.now()), request.POST or None)
    if form.is_valid():
        count = form.save(Actor(operator_of(request)))
        text = ngettext("%(count)d group labelled.", "%(count)d groups labelled.", count)
        messages.success(request, text % {"count": count})
        return HttpResponseRedirect(back)
    title = _("Label groups") if len(groups) > 1 else _("Label a group")
    context = {**admin.site.each_context(request), "title": title, "form": form}
    context |= {"groups": groups, "back": back}
    return TemplateResponse(request, "console/labels.html", context)
