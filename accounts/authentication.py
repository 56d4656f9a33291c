from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from core.context import Caller, caller
from core.gateway import cloud_caller

from .errors import InvalidToken
from .models import Token, WeChatUser


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>` (RFC 6750); request.auth is the Token row.

    A view's `valid_token` takes the place of `TokenManager.valid`, to read more with it. Behind
    WeChat's private gateway a token is valid for its own person's phone alone.
    """

    def authenticate(self, request: Request) -> tuple[WeChatUser, Token] | None:
        scheme, _space, text = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        valid = getattr(request.parser_context["view"], "valid_token", Token.objects.valid)
        token = valid(text.strip().decode("latin-1"), timezone.now())
        if token is None:
            raise InvalidToken
        phone = cloud_caller(request)
        if phone and (phone.app_id, phone.openid) != (token.user.app_id, token.user.openid):
            raise InvalidToken
        caller.set(Caller(token.user.pk, token.user.app_id))
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
