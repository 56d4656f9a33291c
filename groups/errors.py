"""Refusals of this app, as DRF's coded exceptions; `cause` as in accounts/errors.py."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ValidationError

from core.errors import RetryLater


class NotAGroup(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "not_a_group"
    default_detail = _("This was not opened from a group chat. Share the card into a group.")

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause


class GroupNotProven(APIException):
    status_code = status.HTTP_403_FORBIDDEN
    default_code = "group_not_proven"
    default_detail = _("This ticket does not prove that you are in the group. Resolve again.")

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause


class GroupHidden(NotFound):
    """To the client there is no such group."""

    cause = "group_hidden"


class FoundedTooMany(RetryLater):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "throttled"
    default_detail = _("Too many new groups in one day. Try again later.")
    cause = "founded_too_many"


# What the API calls the fields that services have another word for.
API_NAMES = {"group": "openGId", "key": "idempotencyKey"}

NOT_A_CURSOR = _("Not a cursor of this list. Begin again without it.")


class InvalidField(ValidationError):
    """One field of a request that is refused; `field` is the word of services for it."""

    def __init__(self, field: str, sentence: Any) -> None:
        super().__init__({API_NAMES.get(field, field): [sentence]})
        self.field = field


class RowNotFound(NotFound):
    """What a row of a batch names is not there; `fields` says which of it, in the API's words."""

    def __init__(self, fields: Mapping[str, list[Any]] | None = None) -> None:
        super().__init__()
        self.fields = fields or {}
