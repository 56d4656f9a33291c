"""Boards, which operators make, and the scores on them, which they can only correct."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from audit.actors import Actor
from console.access import operator_of
from console.action_page import buttons
from console.mini_programs import app_choices
from console.reasons import ReasonField
from groups import moderation, ranking
from groups.models import EVERY_APP, MAX_SCORE, Board, Group, Score
from groups.periods import Window

from .base import AuditedModelAdmin, WeChatModelAdmin, face


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
        for name in ("active_from", "active_to"):
            if name in self.fields:
                self.fields[name].validators.append(MinValueValidator(FIRST_MOMENT))

    def clean_windows(self) -> str:
        chosen = self.cleaned_data["windows"]
        return ",".join(window for window in Window if window in chosen)


FIRST_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
BOUNDS = [MinValueValidator(-MAX_SCORE), MaxValueValidator(MAX_SCORE)]


@admin.register(Board)
class BoardAdmin(AuditedModelAdmin):
    """The boards of mini-programs; those that every one has cannot be changed."""

    form = BoardForm
    list_display = ("name", "key", "app_id", "order", "policy", "scope", "writer", "is_default")
    app_path = "app_id"
    ordering = ("-app_id", "pk")
    fieldsets = (
        (None, {"fields": ("app_id", "key", ("title_zh", "title_en"), ("unit_zh", "unit_en"))}),
        (_("What is compared"), {"fields": ("order", "policy", "scope", "rank_style", "decimals")}),
        (_("When"), {"fields": ("windows", "default_window", ("active_from", "active_to"))}),
        (_("Who writes scores"), {"fields": ("writer", ("min_value", "max_value"), "is_default")}),
    )

    @admin.display(description=_("title"))
    def name(self, board: Board) -> str:
        return board.title

    @admin.display(description=_("default"))
    def is_default(self, board: Board) -> str:
        """Return whether this is the default board.

        Where a mini-program has chosen none, the days of activity are shown.
        """
        if board.counts_days:
            return gettext("where no other is")
        return "✓" if board.default_for else ""

    @admin.display(description=_("windows"))
    def counted(self, board: Board) -> str:
        return pgettext("between names", ", ").join(
            str(each.label) for each in board.counted_windows
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the windows by their names where they cannot be changed."""
        found: Any = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return found
        shown = {"windows": "counted"}
        return [
            (title, {"fields": [shown.get(name, name) for name in options["fields"]]})
            for title, options in found
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return what is settled once there are scores."""
        return ("counted", *Board.SETTLED) if obj and obj.has_scores else ("counted",)

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
        """Show the form, or a preview of what it says, which saves nothing."""
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
        now = timezone.now()
        groups = Group.objects.filter(app_id=board.app_id).with_activity(now)
        group = groups.order_by(F("last_entry_at").desc(nulls_last=True), "-pk").first()
        found = ranking.preview(group, board, now) if group else None
        context = {**self.admin_site.each_context(request), "opts": self.opts, "board": board}
        context |= {"title": _("Preview"), "ranking": found, "sampled": not board.has_scores}
        return TemplateResponse(request, "admin/groups/board/preview.html", context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the board; if it is the default, the one before is no longer, in one transaction."""
        if form.cleaned_data["is_default"]:
            for other in Board.objects.filter(default_for=obj.app_id).exclude(pk=obj.pk):
                Board.objects.filter(pk=other.pk).update(default_for=None)
                self.audit(request, "change", other, changed=["is_default"])
            obj.default_for = obj.app_id
        else:
            obj.default_for = None
        super().save_model(request, obj, form, change)


class ScoreForm(forms.ModelForm[Score]):
    """A corrected value, and why."""

    reason = ReasonField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "value" in self.fields:
            self.fields["value"].validators += [*BOUNDS, *self._bounds(self.instance.board)]

    @staticmethod
    def _bounds(board: Board) -> Iterator[MinValueValidator | MaxValueValidator]:
        """Return the board's own bounds; days of activity are never fewer than none."""
        least = 0 if board.counts_days else board.min_value
        if least is not None:
            yield MinValueValidator(least)
        if board.max_value is not None:
            yield MaxValueValidator(board.max_value)


@admin.register(Score)
class ScoreAdmin(WeChatModelAdmin):
    exported = "scores"
    form = ScoreForm
    app_path = "user__app_id"
    list_display = ("face", "user", "board", "in_period", "shown", "source", "achieved_at")
    list_display_links = ("user",)
    list_select_related: ClassVar[list[str]] = ["user", "board"]
    list_filter = ("board", "source")
    search_fields = ("user__nickname",)
    search_help_text = _("A member's nickname")
    readonly_fields = ("user", "board", "in_period", "scope", "achieved_at", "source")
    fields = (*readonly_fields, "value", "reason")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        form = ("reason",) if self.has_change_permission(request, obj) else ()
        return (*self.readonly_fields, "value", *form)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Score]:
        return super().get_queryset(request).select_related("user", "board")

    @admin.display(description=_("avatar"))
    def face(self, score: Score) -> SafeString:
        return face(score.user.avatar_path)

    @admin.display(description=_("period"))
    def in_period(self, score: Score) -> str:
        return score.period_title

    @admin.display(description=_("score"))
    def shown(self, score: Score) -> str:
        return score.board.score_text(score.value)

    def row_context(self, request: HttpRequest, row: Score) -> dict[str, Any]:
        return {"title": row.user, "subtitle": None, "buttons": buttons(request, row)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        actor = Actor(operator_of(request), form.cleaned_data["reason"])
        try:
            moderation.change_score(obj, form.cleaned_data["value"], actor)
        except ObjectDoesNotExist:
            raise Http404 from None
