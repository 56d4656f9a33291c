"""The second factor: after a password or a sign-in link, a code from the operator's phone.

`ConsoleSite.has_permission` asks for it; an operator who still owes it is sent here.
"""

import unicodedata
from typing import Any
from urllib.parse import quote

import segno
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from django_otp import login as remember_factor
from django_otp import verify_token

from audit.actors import Actor
from core.vault import decrypt, encrypt

from .models import SecondFactor, new_key
from .redirects import next_url
from .sessions import end_other_sessions
from .sign_in import note_sign_in

ENROLMENT = "enrolment"  # where a session keeps the key that is being enrolled, sealed


class CodeForm(forms.Form):
    code = forms.CharField(
        label=_("code"),
        max_length=40,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "none", "autofocus": True}
        ),
    )

    def clean_code(self) -> str:
        """Return the code whatever keyboard it was typed on: `１２３ ４５６`, `ABCD-EFGH`."""
        text = unicodedata.normalize("NFKC", self.cleaned_data["code"]).lower()
        return "".join(sign for sign in text if sign.isalnum())


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def second_factor(request: HttpRequest) -> HttpResponse:
    """Enrol an app, enter a code, or, once in, renew what there is: `/admin/otp/`."""
    site: Any = admin.site
    if not site.knows(request):
        return redirect_to_login(_next_url(request), reverse("admin:login"))
    if not settings.OPERATOR_TOTP:
        return redirect(_next_url(request))
    if "leave" in request.POST:
        logout(request)
        return redirect("admin:login")
    operator: Any = request.user
    factor = SecondFactor.objects.filter(user=operator).first()
    if factor is None:
        return _enrol(request, operator)
    if site.has_permission(request):
        return _renew(request, operator, factor)
    return _enter(request, operator, factor)


def _enrol(request: HttpRequest, operator: User) -> HttpResponse:
    """Show a secret to scan, and keep it once a code proves that it was."""
    # Of this session alone: who else knows the password does not see what is enrolled here.
    key = decrypt(request.session.get(ENROLMENT, "")) or new_key()
    form = CodeForm(request.POST or None)
    if form.is_valid():
        with transaction.atomic():
            made = SecondFactor.enrol(operator, key, form.cleaned_data["code"])
            if made:
                Actor(operator).record("enrol_totp", operator)
                return _let_in(request, operator, made[0], "code", made[1])
        form.add_error("code", _("This is not the code that your app shows now."))
    request.session[ENROLMENT] = encrypt(key)
    return _page(request, "enrol", form=form, key=_in_fours(key), qr=_picture(request, key))


def _enter(request: HttpRequest, operator: User, factor: SecondFactor) -> HttpResponse:
    form = CodeForm(request.POST or None)
    if form.is_valid() and _verified(request, operator, factor, form):
        way = "code" if len(form.cleaned_data["code"]) == 6 else "backup_code"
        return _let_in(request, operator, factor, way)
    return _page(request, "enter", form=form)


def _renew(request: HttpRequest, operator: User, factor: SecondFactor) -> HttpResponse:
    """Make new backup codes, or remove the phone, for a code of the moment."""
    form = CodeForm(request.POST or None)
    if form.is_valid() and _verified(request, operator, factor, form):
        if "remove" in request.POST:
            with transaction.atomic():
                Actor(operator).record("reset_totp", operator)
                factor.delete()
                # Or another one of them could set up the next phone.
                end_other_sessions(operator, request.session.session_key)
            return redirect("console-otp")
        with transaction.atomic():
            Actor(operator).record("backup_codes", operator)
            codes = factor.renew_backup_codes()
        return _page(request, "codes", codes=map(_in_fours, codes), next=_next_url(request))
    return _page(request, "renew", form=form, left=len(factor.backup_digests))


def _verified(request: HttpRequest, operator: User, factor: SecondFactor, form: CodeForm) -> bool:
    """Return whether the form's code is good; the form says why not, and the guess is counted."""
    if verify_token(operator, factor.persistent_id, form.cleaned_data["code"]):
        factor.refresh_from_db()
        return True
    factor.refresh_from_db()
    _allowed, why = factor.verify_is_allowed()
    seconds = int((why["locked_until"] - timezone.now()).total_seconds()) + 1 if why else 1
    sentence = ngettext(
        "This code is wrong, too old or used already. Try again in %(seconds)s second.",
        "This code is wrong, too old or used already. Try again in %(seconds)s seconds.",
        seconds,
    )
    form.add_error("code", sentence % {"seconds": seconds})
    who = {"username": operator.get_username()}
    user_login_failed.send(SecondFactor, credentials=who, request=request)
    return False


def _let_in(
    request: HttpRequest,
    operator: User,
    factor: SecondFactor,
    way: str,
    codes: list[str] | None = None,
) -> HttpResponse:
    """Make the session a full one; new backup codes are shown before anything else."""
    request.session.pop(ENROLMENT, None)
    request.session.cycle_key()
    remember_factor(request, factor)
    note_sign_in(request, operator, way)
    if codes:
        return _page(request, "codes", codes=map(_in_fours, codes), next=_next_url(request))
    return HttpResponseRedirect(_next_url(request))


def _page(request: HttpRequest, part: str, **context: Any) -> HttpResponse:
    titles = {
        "enrol": _("Set up a second factor"),
        "enter": _("Enter a code"),
        "codes": _("Backup codes"),
        "renew": _("Second factor"),
    }
    context |= {**admin.site.each_context(request), "title": titles[part], "part": part}
    return TemplateResponse(request, "console/second_factor.html", context)


def _next_url(request: HttpRequest) -> str:
    """Return where `next` asks to go, else the console's front page."""
    return next_url(request) or reverse("admin:index")


def _picture(request: HttpRequest, key: str) -> str:
    """Return the QR code that apps scan (the `otpauth` format), as an image's address."""
    host, user = request.get_host().partition(":")[0], request.user.get_username()
    query = urlencode({"secret": key, "issuer": host})
    address = f"otpauth://totp/{quote(f'{host}:{user}')}?{query}"
    return segno.make(address, error="m").svg_data_uri(scale=4, dark="#000", light="#fff")


def _in_fours(text: str) -> str:
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))
