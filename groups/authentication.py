from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from accounts.errors import InvalidToken
from core.context import Caller, caller

from .models import ServerKey


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Key <server key>`; request.user and request.auth are the ServerKey row."""

    def authenticate(self, request: Request) -> tuple[ServerKey, ServerKey] | None:
        scheme, _space, text = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"key":
            return None
        key = ServerKey.objects.valid(text.strip().decode("latin-1"))
        if key is None:
            raise InvalidToken
        key.used(timezone.now())
        caller.set(Caller(app_id=key.app_id))
        return key, key

    def authenticate_header(self, request: Request) -> str:
        return "Key"
