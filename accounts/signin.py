"""One-time sign-in links for operators, so that there is never a default password."""

from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse


class SignInTokenGenerator(PasswordResetTokenGenerator):
    """Django's reset tokens under a salt of their own.

    They hash the moment of the last log-in, so logging in uses the token up.
    """

    key_salt = "accounts.sign-in"


sign_in_tokens = SignInTokenGenerator()


def sign_in_path(operator: User) -> str:
    return reverse("sign-in", args=[operator.pk, sign_in_tokens.make_token(operator)])
