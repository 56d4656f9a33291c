from typing import Any

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from .errors import UserBlocked


class IsMember(IsAuthenticated):
    """A member with a token who is not blocked.

    A blocked member may call the methods in a view's `open_to_blocked`: those that show or erase
    what is held about them.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not super().has_permission(request, view):
            return False
        user: Any = request.user
        if user.is_blocked and request.method not in getattr(view, "open_to_blocked", ()):
            raise UserBlocked
        return True
