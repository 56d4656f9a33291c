from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from core.context import Caller, caller

from .errors import InvalidToken
from .models import Token, WeChatUser


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>` (RFC 6750); request.auth is the Token row."""

    def authenticate(self, request: Request) -> tuple[WeChatUser, Token] | None:
        scheme, _space, text = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        token = Token.objects.valid(text.strip().decode("latin-1"), timezone.now())
        if token is None:
            raise InvalidToken
        caller.set(Caller(token.user.pk, token.user.app_id))
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
