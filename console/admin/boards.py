"""Boards, which operators make."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.dates import moment
from console.grants import listed
from console.mini_programs import app_choices, chosen_app
from groups import ranking
from groups.models import EVERY_APP, MAX_SCORE, Board, Group, Membership
from groups.periods import Window

from .stale import SeenForm, SeenModelAdmin


class BoardForm(SeenForm[Board]):
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
        row = kwargs.get("instance")
        if row is not None:
            own = {"windows": row.counted_windows, "is_default": row.default_for is not None}
            kwargs["initial"] = own | (kwargs.get("initial") or {})
        else:
            kwargs["initial"] = {"windows": list(Window)} | (kwargs.get("initial") or {})
        super().__init__(*args, **kwargs)
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
class BoardAdmin(SeenModelAdmin):
    """The boards of mini-programs; those that every one has cannot be changed.

    The button "Preview" shows on the same page what the board would show, and saves nothing.
    """

    list_title = _("Boards")
    form = BoardForm
    list_display = (
        *("name", "key", "app", "board_unit", "order", "policy", "scope", "writer", "is_default"),
    )
    app_path = "app_id"
    ordering = ("-app_id", "pk")
    fieldsets = (
        (None, {"fields": ("app_id", "key", ("title_zh", "title_en"), ("unit_zh", "unit_en"))}),
        (_("What is compared"), {"fields": ("order", "policy", "scope", "rank_style", "decimals")}),
        (_("When"), {"fields": ("windows", "default_window", ("active_from", "active_to"))}),
        (_("Who writes scores"), {"fields": ("writer", ("min_value", "max_value"), "is_default")}),
    )
    read_only: ClassVar[dict[str, str]] = {
        "app_id": "app",
        "windows": "counted",
        "active_from": "begins",
        "active_to": "ends",
        "min_value": "least",
        "max_value": "most",
    }

    @admin.display(description=_("title"))
    def name(self, board: Board) -> str:
        return board.title

    @admin.display(description=_("Mini-program"))
    def app(self, board: Board) -> str:
        return board.app_id or gettext("every mini-program")

    @admin.display(description=_("unit"))
    def board_unit(self, board: Board) -> str:
        return board.unit or "–"

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
        return listed(each.label for each in board.counted_windows)

    @admin.display(description=_("active from"))
    def begins(self, board: Board) -> str:
        return moment(board.active_from) if board.active_from else gettext("always")

    @admin.display(description=_("active to"))
    def ends(self, board: Board) -> str:
        return moment(board.active_to) if board.active_to else gettext("always")

    @admin.display(description=_("smallest score"))
    def least(self, board: Board) -> str:
        return bound(board, board.min_value)

    @admin.display(description=_("largest score"))
    def most(self, board: Board) -> str:
        return bound(board, board.max_value)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return what is settled once there are scores."""
        changing = obj is not None and self.has_change_permission(request, obj)
        settled = Board.SETTLED if changing and obj.has_scores else ()
        return (*self.read_only.values(), *settled)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        own = obj is None or obj.app_id != EVERY_APP
        return own and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        free = obj is not None and obj.app_id != EVERY_APP and not obj.has_scores
        return free and super().has_delete_permission(request, obj)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form; for a preview one that is checked and filled in, and never saved."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if request.method == "POST" and "_preview" in request.POST:
            return type("Preview", (_Unsaved, form), {})
        return form

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the preview beside the form that asks for it, or that cannot be changed."""
        form: Any = context["adminform"].form
        asked, board = isinstance(form, _Unsaved), None
        if asked and not form.errors:
            board = form.instance
        elif not asked and "preview" in request.GET:
            board = context["original"]
        if board is not None:
            context |= self.preview(request, board)
        return super().render_change_form(request, context, *args, **kwargs)

    def preview(self, request: HttpRequest, board: Board) -> dict[str, Any]:
        """Return what a board, saved or not, shows of the group that was entered last."""
        now, sampled = timezone.now(), not board.has_scores
        app_id = board.app_id or chosen_app(request)
        groups = Group.objects.filter(app_id=app_id) if app_id else Group.objects.all()
        theirs = Membership.objects.filter(group__in=groups) if app_id else Membership.objects.all()
        latest = Group.objects.filter(pk__in=theirs.latest_groups(now, 1))
        group = latest.first() or groups.order_by("-pk").first()
        found = ranking.preview(group, board, now, sampled=sampled) if group else None
        return {"board": board, "ranking": found, "sampled": sampled}

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


class _Unsaved:
    """The form of a preview: what is wrong with it is shown, and nothing is saved."""

    def is_valid(self) -> bool:
        super().is_valid()  # type: ignore[misc]
        return False


def bound(board: Board, value: int | None) -> str:
    """Return a bound of a board's scores as members see scores."""
    return gettext("no limit") if value is None else board.score_text(value)
