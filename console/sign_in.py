"""One-time sign-in links for operators, so that there is never a default password."""

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from audit.actors import Actor


class SignInTokenGenerator(PasswordResetTokenGenerator):
    """Django's reset tokens under a salt of their own.

    They hash the moment of the last log-in, so logging in uses the token up.
    """

    key_salt = "console.sign-in"


sign_in_tokens = SignInTokenGenerator()


def sign_in_path(operator: User) -> str:
    """Return the path of a link that signs this operator in once."""
    return reverse("sign-in", args=[operator.pk, sign_in_tokens.make_token(operator)])


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
            return render(request, "console/sign_in.html", {"usable": False}, status=410)
        if request.method != "POST":
            return render(request, "console/sign_in.html", {"usable": True, "operator": operator})
        login(request, operator)
        Actor(operator).record("sign_in", operator, way="link")
    return redirect("group-list")
