from collections.abc import Sequence
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.nicknames import shown
from audit.actors import Actor
from console.paging import LONGEST_SEARCH
from console.roles import may_view
from console.site import operator_of
from groups import moderation
from groups.models import Group, GroupQuerySet, Membership, describe, is_current

from . import group_page
from .base import ComesFromWeChat, moment, pill, shortened


class Labelled(admin.SimpleListFilter):
    title = _("label")
    parameter_name = "labelled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [("1", _("labelled")), ("0", _("not yet"))]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"0", "1"}:
            return rows
        return rows.filter(label="") if self.value() == "0" else rows.exclude(label="")


class LabelField(forms.CharField):
    """Without what cannot be seen or turns a line round, as in members' own names."""

    def clean(self, value: Any) -> str:
        return shown(super().clean(value))


class LabelForm(forms.ModelForm[Group]):
    class Meta:
        field_classes: ClassVar = {"label": LabelField}


class LabelsForm(forms.Form):
    """A label for each of some groups, or one for all of them."""

    def __init__(self, groups: Sequence[Group], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = groups
        longest = Group._meta.get_field("label").max_length
        self.fields["all"] = LabelField(
            label=_("The same for all"), max_length=longest, required=False
        )
        for group in groups:
            self.fields[f"label-{group.pk}"] = LabelField(
                label=group.title,
                initial=group.label,
                max_length=longest,
                required=False,
                show_hidden_initial=True,  # what it was when it was shown
            )

    def labels(self) -> list[tuple[Group, str]]:
        """Those that were changed here: what another operator wrote meanwhile stays."""
        told = self.cleaned_data
        if told["all"]:
            return [(group, told["all"]) for group in self.groups]
        own = [(group, f"label-{group.pk}") for group in self.groups]
        return [(group, told[name]) for group, name in own if name in self.changed_data]


@admin.register(Group)
class GroupAdmin(ComesFromWeChat):
    form = LabelForm
    app_path = "app_id"
    list_display = ("name", "members", "last_entry", "state", "short_id", "first_seen")
    list_display_links = ("name",)
    list_filter = (Labelled, "hidden")
    search_fields = ("label", "open_gid__exact")
    search_help_text = _("Label, a member's nickname, or a whole openGId")
    fields = ("label",)
    actions = ("label_groups",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A group is called after its members, and shows them."""
        members = may_view(operator_of(request), Membership)
        return members and super().has_view_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        members = may_view(operator_of(request), Membership)
        return members and super().has_change_permission(request, obj)

    def prepare(self, rows: Sequence[Group]) -> None:
        describe(rows, timezone.now())

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Any], words: str
    ) -> tuple[QuerySet[Any], bool]:
        """As on /groups/."""
        text = words.strip()[:LONGEST_SEARCH]
        return cast(GroupQuerySet, rows).matching(text) if text else rows, False

    @admin.display(description=_("group's name"))
    def name(self, group: Group) -> str:
        return group.title

    @admin.display(description=_("members"))
    def members(self, group: Group) -> str:
        return f"{group.member_count:,}"

    @admin.display(description=_("last proven entry"))
    def last_entry(self, group: Group) -> str:
        return moment(group.last_entry_at)

    @admin.display(description=_("first seen"))
    def first_seen(self, group: Group) -> str:
        return moment(group.created_at)

    @admin.display(description=_("state"))
    def state(self, group: Group) -> SafeString:
        return pill("off", _("hidden")) if group.hidden else pill("good", _("shown"))

    @admin.display(description=_("openGId"))
    def short_id(self, group: Group) -> str:
        return shortened(group.open_gid)

    @admin.action(description=_("Label…"), permissions=["change"])
    def label_groups(self, request: HttpRequest, rows: QuerySet[Group]) -> HttpResponse | None:
        """Asks for the labels on a page of its own."""
        groups = list(rows)
        describe(groups, timezone.now())
        form = LabelsForm(groups, request.POST if "apply" in request.POST else None)
        if form.is_valid():
            self._label(request, form.labels())
            return None
        context = {**self.admin_site.each_context(request), "opts": self.opts, "form": form}
        context |= {"title": _("Label groups"), "groups": groups}
        return TemplateResponse(request, "admin/groups/group/labels.html", context)

    def _label(self, request: HttpRequest, labels: Sequence[tuple[Group, str]]) -> None:
        act = Actor(operator_of(request))
        with transaction.atomic():
            changed = sum(moderation.label([group], label, act) for group, label in labels)
        told = ngettext("%(count)d group labelled.", "%(count)d groups labelled.", changed)
        self.message_user(request, told % {"count": changed}, messages.SUCCESS)

    # One group

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Group | None:
        """With what its page tells, in the same query."""
        now = timezone.now()
        unmarked = Q(memberships__watermarked=False) & is_current(now, "memberships__")
        rows = Group.objects.with_activity(now).annotate(
            unmarked=Count("memberships", filter=unmarked)
        )
        try:
            return rows.filter(pk=object_id).first()
        except (ValidationError, ValueError):
            return None

    def get_view_on_site_url(self, obj: Any = None) -> str | None:
        return reverse("group-page", args=[obj.pk]) if obj else None

    def page(self, request: HttpRequest, row: Group) -> dict[str, Any]:
        return group_page.context(request, row)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        moderation.label([obj], obj.label, Actor(operator_of(request)))
