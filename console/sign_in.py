"""One-time sign-in links for operators, so that there is never a default password."""

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from audit.actors import Actor

from .guesses import who_and_where

logger = logging.getLogger(__name__)

LINK_MINUTES = settings.PASSWORD_RESET_TIMEOUT // 60


class SignInTokenGenerator(PasswordResetTokenGenerator):
    """Django's reset tokens under a salt of their own.

    They hash the moment of the last log-in, so logging in uses the token up.
    """

    key_salt = "console.sign-in"

    def moment(self) -> int:
        """Return now, as a token names it."""
        return self._num_seconds(self._now())

    def token_of(self, operator: User, moment: int) -> str:
        """Return the token of that moment: the same, as long as it works."""
        return self._make_token_with_timestamp(operator, moment, self.secret)


sign_in_tokens = SignInTokenGenerator()


def sign_in_path(operator: User, moment: int | None = None) -> str:
    """Return the path of a link that signs this operator in once, made now or at a moment."""
    made = sign_in_tokens.moment() if moment is None else moment
    return reverse("sign-in", args=[operator.pk, sign_in_tokens.token_of(operator, made)])


def note_sign_in(request: HttpRequest, operator: User, way: str) -> None:
    """Record a sign-in in the audit, and log it with a digest of the name and the address."""
    Actor(operator).record("sign_in", operator, way=way)
    facts = who_and_where(request, operator.get_username())
    logger.info("An operator signed in.", extra=facts | {"way": way})


@receiver(user_logged_out)
def note_sign_out(sender: Any, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    """Log it like a sign-in; without a session there is no one to sign out."""
    if user is not None:
        facts = who_and_where(request, user.get_username())
        logger.info("An operator signed out.", extra=facts)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in(request: HttpRequest, pk: int, token: str) -> HttpResponse:
    """Show a button on GET, since previews open links; use the link on POST."""
    with transaction.atomic():
        # Locked, so that the same link pressed twice at once signs in once.
        operator = (
            User.objects.select_for_update().filter(pk=pk, is_active=True, is_staff=True).first()
        )
        if operator is None or not sign_in_tokens.check_token(operator, token):
            name = operator.get_username() if operator else ""
            facts = who_and_where(request, name)
            logger.warning("A sign-in link that does not work, or no more.", extra=facts)
            context = {"usable": False, "command": settings.SIGN_IN_COMMAND}
            return render(request, "console/sign_in.html", context, status=410)
        if request.method != "POST":
            context = {"usable": True, "operator": operator, "minutes": LINK_MINUTES}
            return render(request, "console/sign_in.html", context)
        login(request, operator)
        note_sign_in(request, operator, "link")
    if not operator.has_usable_password():
        text = _("You have no password yet: without one each sign-in needs a new link.")
        url, label = reverse("admin:password_change"), _("Set a password")
        messages.info(request, format_html('{} <a href="{}">{}</a>', text, url, label))
    return redirect("group-list")
