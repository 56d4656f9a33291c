"""The page of every group: found, filtered, in order, and labelled several at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Case, F, When
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from accounts.nicknames import shown
from audit.actors import Actor
from groups import moderation, ranking
from groups.models import Group, GroupCard, GroupQuerySet, describe

from .access import operator_of, operators_only
from .actions import Text
from .mini_programs import chosen_app
from .paging import LONGEST_SEARCH, is_plain
from .redirects import next_url

GROUPS_PER_PAGE = 50

ORDERS: dict[str, tuple[Text, list[Any]]] = {
    "entry": (_("Last entry"), [F("last_entry_at").desc(nulls_last=True)]),
    "members": (_("Most members"), ["-size"]),
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
            text=asked.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH],
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

    def in_order(self, now: datetime) -> GroupQuerySet:
        """Sort the groups; only the order that needs every group's members asks for them."""
        groups = self.groups()
        if self.order == "entry":
            groups = groups.with_activity(now)
        if self.order == "members":
            groups = groups.with_size(now)
        return groups.order_by(*ORDERS[self.order][1], "-pk")


class GroupPaginator(Paginator[Any]):
    """Pages of groups, counted without what their order is computed from."""

    def __init__(self, query: GroupQuery, now: datetime) -> None:
        super().__init__(query.in_order(now), GROUPS_PER_PAGE)
        self.query = query

    @cached_property
    def count(self) -> int:
        return self.query.groups().count()


@require_safe
@operators_only("groups.view_group", "groups.view_membership")
def group_list(request: HttpRequest) -> HttpResponse:
    """Show every group with its first faces: searched, filtered, sorted."""
    now, query = timezone.now(), GroupQuery.of(request)
    page = GroupPaginator(query, now).get_page(request.GET.get("page"))
    groups = list(page.object_list)
    faces = ranking.top(groups, now)
    context = {
        **admin.site.each_context(request),
        "title": _("Groups"),
        "page": page,
        "query": query,
        "orders": {key: label for key, (label, _order) in ORDERS.items()},
        "filters": [
            (name, title, getattr(query, name), choices)
            for name, (title, choices) in FILTERS.items()
        ],
        "rows": [(card, faces.get(card.group.pk, [])) for card in describe(groups, now)],
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

    def save(self, actor: Actor) -> int:
        """Label the groups changed here and return how many; what another wrote meanwhile stays."""
        data = self.cleaned_data
        names = {f"label-{card.group.pk}": card.group for card in self.cards}
        labels = [
            (group, data["all"] or data[name])
            for name, group in names.items()
            if data["all"] or name in self.changed_data
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
    context = {**admin.site.each_context(request), "title": _("Label groups"), "form": form}
    context |= {"groups": groups, "back": back}
    return TemplateResponse(request, "console/labels.html", context)
