"""Scores, which operators correct but neither make nor delete here."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist
from django.core.validators import DecimalValidator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from audit.actors import Actor
from console.access import operator_of
from console.action_page import buttons
from console.reasons import ReasonField
from console.redirects import next_or_list
from console.subjects import period_title, scores_beside, subject_of, value_text
from groups import moderation
from groups.models import MAX_SCORE, Board, Score

from .base import WeChatModelAdmin, face


class ScoreForm(forms.ModelForm[Score]):
    """A corrected value, written as the board shows it, and why."""

    value = forms.DecimalField(label=_("score"), max_digits=25)
    reason = ReasonField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored = self.instance.value
        if "value" in self.fields:
            board = self.instance.board
            value: Any = self.fields["value"]
            value.validators.append(DecimalValidator(25, board.decimals))
            value.widget.attrs |= {"step": str(Decimal(1).scaleb(-board.decimals))}
            value.widget.attrs |= {"autofocus": True, "inputmode": "decimal"}
            value.help_text = _limits(board) if _bounds(board) != (-MAX_SCORE, MAX_SCORE) else ""
            self.initial["value"] = Decimal(self.instance.value).scaleb(-board.decimals)

    def clean_value(self) -> int:
        """Return the whole number that is stored; refuse what the board does not take."""
        board = self.instance.board
        value = int(self.cleaned_data["value"].scaleb(board.decimals))
        least, most = _bounds(board)
        if not least <= value <= most:
            raise forms.ValidationError(_limits(board))
        return value


def _bounds(board: Board) -> tuple[int, int]:
    """Return the smallest and the largest score; days of activity are never fewer than none."""
    least = 0 if board.counts_days else board.min_value
    most = board.max_value
    return -MAX_SCORE if least is None else least, MAX_SCORE if most is None else most


def _limits(board: Board) -> str:
    """Say which scores a board takes, in its own way of writing them."""
    least, most = _bounds(board)
    if least == -MAX_SCORE:
        text = gettext("“%(board)s” takes scores up to %(most)s.")
    elif most == MAX_SCORE:
        text = gettext("“%(board)s” takes scores from %(least)s.")
    else:
        text = gettext("“%(board)s” takes scores from %(least)s to %(most)s.")
    bounds = {"least": board.score_text(least), "most": board.score_text(most)}
    return text % {"board": board.title, **bounds}


@admin.register(Score)
class ScoreAdmin(WeChatModelAdmin):
    list_title = _("Scores")
    exported = "scores"
    form = ScoreForm
    app_path = "user__app_id"
    list_display = ("face", "user", "board", "in_period", "shown", "source", "achieved_at")
    list_display_links = ("user",)
    list_select_related: ClassVar[list[str]] = ["user", "board"]
    list_filter = ("board", "source")
    search_fields = ("user__nickname",)
    search_help_text = _("A member's nickname")
    readonly_fields = ("user", "board", "in_group", "achieved_at", "source", "shown")
    fields = ("value", "reason", *readonly_fields)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the form, then the facts that the page's title does not tell."""
        form = ("value", "reason") if self.has_change_permission(request, obj) else ("shown",)
        return (*form, *self.readonly_fields[:-1])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Score]:
        return super().get_queryset(request).select_related("user", "board")

    @admin.display(description=_("avatar"))
    def face(self, score: Score) -> SafeString:
        return face(score.user.small_avatar_path)

    @admin.display(description=_("period"))
    def in_period(self, score: Score) -> str:
        return score.period_title

    @admin.display(description=pgettext_lazy("WeChat", "group"))
    def in_group(self, score: Score) -> str | SafeString:
        """Lead to the member's row in the ranking that shows the score."""
        if not score.scope:
            return gettext("all groups")
        chosen = {"board": score.board.key, "period": score.period, "member": str(score.user_id)}
        page = reverse("group-page", args=[score.scope])
        url = f"{page}?{urlencode(chosen)}#member-{score.user_id}"
        return format_html('<a href="{}">{}</a>', url, gettext("the row in the group's ranking"))

    @admin.display(description=_("score"))
    def shown(self, score: Score) -> str:
        return score.board.score_text(score.value)

    def row_context(self, request: HttpRequest, row: Score) -> dict[str, Any]:
        """Name the score in full, and show those of the other periods beside it."""
        now = timezone.now()
        subject, back = subject_of(row, now), next_or_list(request, row)
        context: dict[str, Any] = {"title": str(subject), "subtitle": None}
        context |= {
            "buttons": buttons(request, row),
            "row_subject": subject,
            "beside": scores_beside(row, now),
        }
        return {**context, "this": (period_title(row, now), value_text(row)), "back": back}

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Lead back; `save_model` has said what was done."""
        return HttpResponseRedirect(next_or_list(request, obj))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Correct the score, and say which value went and which periods stay as they are."""
        actor, now = Actor(operator_of(request), form.cleaned_data["reason"]), timezone.now()
        before = value_text(Score(board=obj.board, value=form.stored))
        try:
            done = moderation.change_score(obj, form.cleaned_data["value"], actor)
        except ObjectDoesNotExist:
            raise Http404 from None
        subject = subject_of(obj, now).html
        if not done:
            already = _("It was so already; nothing has been changed.")
            return self.message_user(request, format_html("{} {}", subject, already), messages.INFO)
        periods = pgettext("between names", ", ").join(e.title for e in scores_beside(obj, now))
        corrected = gettext("Corrected, was %(before)s:") % {"before": before}
        kept = gettext("Not changed: %(periods)s.") % {"periods": periods} if periods else ""
        return self.message_user(request, format_html("{} {} {}", corrected, subject, kept))
