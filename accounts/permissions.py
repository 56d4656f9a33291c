from typing import Any

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from .errors import UserBlocked


class IsMember(IsAuthenticated):
    """Somebody with a token, who is not blocked.

    What a view lists in `open_to_blocked` a blocked person may do as well: see what is held about
    them, and have it erased.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not super().has_permission(request, view):
            return False
        user: Any = request.user
        if user.is_blocked and request.method not in getattr(view, "open_to_blocked", ()):
            raise UserBlocked
        return True
