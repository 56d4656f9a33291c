"""Integration check (联调): whether WeChat takes an appid and its secret, at which step a tester's
log-in or bind fails, and why, and what phones could not do. Clients are not shown any of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import WeChatUser
from audit import attempts
from audit.actors import Actor
from audit.attempts import KINDS
from audit.causes import CAUSES, Cause
from audit.diagnostics import failures
from audit.models import Attempt, AuditEvent, Watch
from core.context import KEPT_OF_ID
from wechat.client import Client
from wechat.crypto import is_opaque_id
from wechat.errors import WeChatError

from .access import operator_of, operators_only
from .mini_programs import app_choices

SHOWN = 20
FOUND = 10
KINDS_SHOWN = 50
TESTS_A_MINUTE = 10

FACT_NAMES = {
    "scene": _("scene"),
    "key": _("opened by the key"),
    "previous": _("key before it"),
    "keySeconds": _("age of the key, in seconds"),
    "watermarked": _("watermark"),
    "appid": _("appid in the watermark"),
    "seconds": _("off by seconds"),
    "errcode": _("errcode"),
    "rid": _("rid"),
    "address": _("this server's address"),
    "wait": _("seconds to wait"),
    "fields": _("fields"),
    "group": _("group's number"),
    "created": _("new in the group"),
    "error": _("error"),
}


VALUES = {
    "key": {"current": _("the current one"), "previous": _("the one before")},
    "previous": {
        "tried": _("does not open it either"),
        "lapsed": _("out of date"),
        "none": _("there is none"),
    },
}


@dataclass(frozen=True)
class AttemptStep:
    """A step as the page shows it; `state` is passed, failed or open."""

    name: Any
    state: str


@dataclass(frozen=True)
class AttemptCard:
    """One attempt, readable."""

    attempt: Attempt

    @property
    def kind(self) -> Any:
        """Return what it was, in the reader's language."""
        kind = KINDS.get(self.attempt.kind)
        return kind.label if kind else self.attempt.kind

    @property
    def steps(self) -> Iterator[AttemptStep]:
        passed = {step["step"]: step["ok"] for step in self.attempt.steps}
        kind = KINDS.get(self.attempt.kind)
        for name, label in kind.steps.items() if kind else ():
            state = "open" if name not in passed else "passed" if passed[name] else "failed"
            yield AttemptStep(label, state)

    @property
    def cause(self) -> Cause | None:
        return CAUSES.get(self.attempt.cause)

    @property
    def facts(self) -> Iterator[tuple[Any, Any]]:
        """Return what was noted on the way, each with its name."""
        for step in self.attempt.steps:
            for name, value in step.items():
                if name in FACT_NAMES:
                    yield FACT_NAMES[name], _plain(name, value)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return VALUES.get(name, {}).get(value, value)


# The live page


def attempts_for(asked: Any) -> QuerySet[Attempt]:
    """Select the latest day's attempts of those the query asks for.

    Log-ins that failed before the member was known belong to every query.
    """
    rows = Attempt.objects.select_related("user").filter(at__gt=timezone.now() - attempts.KEPT)
    if request_id := _word(asked, "request"):
        return rows.filter(request_id=request_id[:KEPT_OF_ID])
    if app_id := _word(asked, "app"):
        rows = rows.filter(app_id=app_id)
    if member := _number(asked.get("member", "")):
        rows = rows.filter(Q(user=member) | Q(user=None))
    return rows


def _word(asked: Any, name: str) -> str:
    """Read a text without NUL, which PostgreSQL takes in no text."""
    return str(asked.get(name, "")).replace("\0", "").strip()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def cards(rows: QuerySet[Attempt]) -> list[AttemptCard]:
    return [AttemptCard(row) for row in rows.order_by("-pk")[:SHOWN]]


@operators_only("audit.view_attempt")
@require_safe
def check(request: HttpRequest) -> HttpResponse:
    """Show who is followed and how their log-ins and binds went.

    `?member=&app=&request=&tester=`.
    """
    asked = {name: _word(request.GET, name) for name in ("app", "member", "request", "tester")}
    chosen = {name: asked[name] for name in ("app", "member") if asked[name]}
    context = {**admin.site.each_context(request), "title": _("Integration check")}
    context |= {
        "asked": asked,
        "member": "" if asked["request"] else _number(asked["member"]),
        "cards": cards(attempts_for(asked)),
        "failures": failures(timezone.now(), KINDS_SHOWN),
        "apps": list(settings.WECHAT_APPS),
        "testers": _testers(asked["tester"]),
        "watches": Watch.objects.running().select_related("user").order_by("pk")[:SHOWN],
        "live": "" if asked["request"] else f"{reverse('check-live')}?{urlencode(chosen)}",
        "may_watch": request.user.has_perm("audit.add_watch"),
        "may_test": request.user.has_perm("audit.test_credentials"),
    }
    return TemplateResponse(request, "console/check.html", context)


def _testers(text: str) -> list[WeChatUser]:
    """Find members by their number, or by how their nickname begins."""
    if not text:
        return []
    wanted = Q(nickname__startswith=text)
    if number := _number(text):
        wanted |= Q(pk=number)
    return list(WeChatUser.objects.filter(wanted).order_by("-pk")[:FOUND])


@operators_only("audit.view_attempt")
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Send the cards of what has come since attempt `since`, or 204."""
    rows = attempts_for(request.GET).filter(pk__gt=_number(request.GET.get("since", "")))
    if not (found := cards(rows)):
        return HttpResponse(status=204)
    return render(request, "console/_attempts.html", {"cards": found})


@operators_only("audit.view_attempt", "audit.add_watch")
def watch(request: HttpRequest) -> HttpResponse:
    """Follow a member, the next who logs in, or everyone of a mini-program; or stop it."""
    if request.method != "POST":  # signed in anew, one comes back with a GET
        return HttpResponseRedirect(reverse("check"))
    actor = Actor(operator_of(request))
    if stop := _number(request.POST.get("stop", "")):
        attempts.unwatch(actor, get_object_or_404(Watch, pk=stop))
        return HttpResponseRedirect(reverse("check"))
    if member := _number(request.POST.get("member", "")):
        user = get_object_or_404(WeChatUser, pk=member)
        attempts.watch(actor, user.app_id, user.pk)
        return HttpResponseRedirect(f"{reverse('check')}?{urlencode({'member': user.pk})}")
    app_id = request.POST.get("app", "")
    if app_id not in settings.WECHAT_APPS:
        messages.error(request, _("This mini-program is not configured here."))
        return HttpResponseRedirect(reverse("check"))
    attempts.watch(actor, app_id, everyone=request.POST.get("who") == "everyone")
    return HttpResponseRedirect(f"{reverse('check')}?{urlencode({'app': app_id})}")


# Credentials


class CredentialsForm(forms.Form):
    """A configured mini-program, or an appid and a secret that are tried and forgotten."""

    app = forms.ChoiceField(label=_("configured"), required=False)
    appid = forms.CharField(
        label=_("appid"),
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    secret = forms.CharField(
        label=_("AppSecret"),
        required=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Tried once with WeChat, and neither stored nor logged."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["app"].choices = [("", _("another")), *app_choices()]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("app"):
            return data
        if not is_opaque_id(data.get("appid")):
            self.add_error("appid", _("An appid is 1–64 letters and digits, such as wx…"))
        if not data.get("secret"):
            self.add_error("secret", _("Paste the AppSecret."))
        return data

    def client(self) -> Client:
        data = self.cleaned_data
        app_id = data["app"] or data["appid"]
        secret = settings.WECHAT_APPS[app_id]["SECRET"] if data["app"] else data["secret"]
        return Client(app_id, secret, settings.WECHAT_API_URL)


@sensitive_post_parameters("secret")
@operators_only("audit.test_credentials")
@require_http_methods(["GET", "HEAD", "POST"])
def credentials(request: HttpRequest) -> HttpResponse:
    """Test whether WeChat takes an appid and its secret from here; the secret is not shown."""
    form = CredentialsForm(request.POST or None)
    context = {**admin.site.each_context(request), "title": _("Test credentials"), "form": form}
    status = 200
    if request.method == "POST" and form.is_valid():
        since = timezone.now() - timedelta(minutes=1)
        mine = AuditEvent.objects.filter(operator=operator_of(request), action="test_credentials")
        if mine.filter(at__gt=since).count() >= TESTS_A_MINUTE:
            form.add_error(None, _("Too many tests within a minute. Wait a little."))
            status = 429
        else:
            context |= _try(request, form.client())
    return TemplateResponse(request, "console/credentials.html", context, status=status)


def _try(request: HttpRequest, client: Client) -> dict[str, Any]:
    """Ask WeChat, and return what it says for the page.

    What was pasted is not recorded: it may be a secret in the wrong field.
    """
    cause = ""
    facts: attempts.Facts = {}
    try:
        client.try_credentials()
    except WeChatError as error:
        cause, facts = attempts.wechat_cause(error)
    known = client.app_id if client.app_id in settings.WECHAT_APPS else ""
    Actor(operator_of(request)).record(
        "test_credentials", "wechat", app_id=known, outcome=cause or "ok"
    )
    named = [(FACT_NAMES[name], value) for name, value in facts.items()]
    return {"tried": client.app_id, "cause": CAUSES.get(cause), "facts": named}
