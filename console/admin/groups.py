from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.models import WeChatUser
from groups import ranking
from groups.models import EVERY_APP, MAX_SCORE, Board, Group, Membership, Score, Source
from groups.periods import Window

from .base import Audited, ComesFromWeChat, app_choices, face
from .members import UnderReview


@admin.register(Group)
class GroupAdmin(ComesFromWeChat):
    list_display = ("__str__", "open_gid", "last_entry", "created_at", "ranking")
    list_filter = ("app_id",)
    search_fields = ("label", "open_gid__exact", "memberships__user__nickname")
    search_help_text = _("Label, a member's nickname, or a whole openGId")
    readonly_fields = ("app_id", "open_gid", "created_at", "ranking")
    fields = ("label", *readonly_fields)
    ordering = ("-pk",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return Group.objects.with_activity(timezone.now())

    def whose(self, row: Group) -> dict[str, Any]:
        return {"app_id": row.app_id, "group": row.pk}

    def get_view_on_site_url(self, obj: Any = None) -> str | None:
        return reverse("group-page", args=[obj.pk]) if obj else None

    @admin.display(description=_("last proven entry"), ordering="last_entry_at")
    def last_entry(self, group: Any) -> Any:
        return group.last_entry_at

    @admin.display(description=_("ranking"))
    def ranking(self, group: Group) -> SafeString:
        address = reverse("group-page", args=[group.pk])
        return format_html('<a href="{}">{}</a>', address, _("Open"))


class OfMember(ComesFromWeChat):
    """Rows that belong to a member, shown with their face."""

    list_select_related: ClassVar[list[str]] = ["user"]
    show_full_result_count = False

    def whose(self, row: Any) -> dict[str, Any]:
        group = getattr(row, "group_id", None) or getattr(row, "scope", None) or None
        return {"app_id": row.user.app_id, "member": row.user_id, "group": group}

    @admin.display(description=_("avatar"))
    def face(self, row: Any) -> SafeString:
        return face(row.user.avatar_path)


@admin.register(Membership)
class MembershipAdmin(OfMember, UnderReview):
    reviewed = ("alias",)
    list_display = (
        *("face", "user", "group", "alias_draft"),
        *("joined_at", "verified_at", "hidden", "left_at"),
    )
    list_display_links = ("face", "user")
    list_select_related = ["user", "group"]
    list_filter = ("alias_state", "hidden", "watermarked")
    search_fields = ("user__nickname", "alias", "group__label", "group__open_gid__exact")
    search_help_text = _("A member's nickname, a group's label, or a whole openGId")
    readonly_fields = (
        "user",
        "group",
        "joined_at",
        "verified_at",
        "left_at",
        "scene",
        "watermarked",
        "alias_draft",
    )
    fields = (*readonly_fields, "hidden", "alias")
    ordering = ("-pk",)


class BoardForm(forms.ModelForm[Board]):
    app_id = forms.ChoiceField(label=_("appid"), choices=app_choices)
    windows = forms.MultipleChoiceField(
        label=_("windows"), choices=Window.choices, widget=forms.CheckboxSelectMultiple
    )
    is_default = forms.BooleanField(
        label=_("default board"),
        required=False,
        help_text=_("Shown where no board is named, in place of the one before."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["windows"] = self.instance.counted_windows
        self.initial["is_default"] = self.instance.default_for is not None
        for name in ("min_value", "max_value"):
            if name in self.fields:
                self.fields[name].validators += BOUNDS

    def clean_windows(self) -> str:
        chosen = self.cleaned_data["windows"]
        return ",".join(window for window in Window if window in chosen)


BOUNDS = [MinValueValidator(-MAX_SCORE), MaxValueValidator(MAX_SCORE)]


@admin.register(Board)
class BoardAdmin(Audited):
    """A mini-program's own boards; those that every one has are only to look at."""

    form = BoardForm
    list_display = ("title", "key", "app_id", "order", "policy", "scope", "writer", "is_default")
    list_filter = ("app_id",)
    ordering = ("-app_id", "pk")
    fieldsets = (
        (None, {"fields": ("app_id", "key", ("title_zh", "title_en"), ("unit_zh", "unit_en"))}),
        (_("What is compared"), {"fields": ("order", "policy", "scope", "rank_style", "decimals")}),
        (_("When"), {"fields": ("windows", "default_window", ("active_from", "active_to"))}),
        (_("By whom"), {"fields": ("writer", ("min_value", "max_value"), "is_default")}),
    )

    @admin.display(description=_("default"), boolean=True)
    def is_default(self, board: Board) -> bool:
        return board.default_for is not None

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What is settled once there are scores."""
        return Board.SETTLED if obj and obj.has_scores else ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        own = obj is None or obj.app_id != EVERY_APP
        return own and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        free = obj is not None and obj.app_id != EVERY_APP and not obj.has_scores
        return free and super().has_delete_permission(request, obj)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's, and a preview of what the form says, which saves nothing."""
        if request.method == "POST" and "_preview" in request.POST:
            board = self.get_object(request, object_id) if object_id else None
            allowed = self.has_change_permission(request, board) if board else None
            if not (self.has_add_permission(request) if board is None else allowed):
                raise PermissionDenied
            form = self.get_form(request, board, change=board is not None)(
                request.POST, instance=board
            )
            if form.is_valid():
                return self.preview(request, form.save(commit=False))
        return super().changeform_view(request, object_id, form_url, extra_context)

    def preview(self, request: HttpRequest, board: Board) -> HttpResponse:
        groups = Group.objects.filter(app_id=board.app_id).with_activity(timezone.now())
        group = groups.order_by(F("last_entry_at").desc(nulls_last=True), "-pk").first()
        found = ranking.preview(group, board) if group else None
        context = {**self.admin_site.each_context(request), "opts": self.opts, "board": board}
        context |= {"title": _("Preview"), "ranking": found, "sampled": not board.has_scores}
        return TemplateResponse(request, "admin/groups/board/preview.html", context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """There is one default: the one before makes way in the same transaction."""
        if form.cleaned_data["is_default"]:
            Board.objects.filter(default_for=obj.app_id).exclude(pk=obj.pk).update(default_for=None)
            obj.default_for = obj.app_id
        else:
            obj.default_for = None
        super().save_model(request, obj, form, change)


@admin.register(Score)
class ScoreAdmin(OfMember):
    exported = "scores"
    list_display = ("face", "user", "board", "period", "value", "achieved_at")
    list_display_links = ("face", "user")
    list_select_related = ["user", "board"]
    list_filter = ("board",)
    search_fields = ("user__nickname",)
    search_help_text = _("A member's nickname")
    ordering = ("-pk",)

    readonly_fields = ("user", "board", "period", "scope", "achieved_at", "source")
    fields = (*readonly_fields, "value")

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "value":
            field.validators += BOUNDS
        return field

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """A correction: the one way in which a finished period changes."""
        with transaction.atomic():
            WeChatUser.objects.lock(obj.user_id)
            Score.objects.filter(pk=obj.pk).update(value=obj.value, source=Source.OPERATOR)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            WeChatUser.objects.lock(obj.user_id)
            obj.delete()
