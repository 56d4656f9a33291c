"""Refusals of this app, as DRF's coded exceptions; see core/errors.py for `cause` and `facts`."""

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError

from core.errors import RetryLater
from wechat.crypto import UnsealError


class InvalidCode(APIException):
    status_code = status.HTTP_401_UNAUTHORIZED
    default_code = "invalid_code"
    default_detail = _("This log-in code is wrong, expired or used. Call wx.login again.")

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause


class InvalidToken(APIException):
    status_code = status.HTTP_401_UNAUTHORIZED
    default_code = "invalid_token"
    default_detail = _("This token has expired or was revoked. Log in again.")


class UserBlocked(APIException):
    status_code = status.HTTP_403_FORBIDDEN
    default_code = "user_blocked"
    default_detail = _("This account is blocked. Contact the operators of this mini-program.")
    cause = "blocked"


class SessionStale(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "session_stale"
    default_detail = _(
        "The encrypted data cannot be opened. Log in, fetch it from WeChat again, and retry once."
    )

    def __init__(self, why: UnsealError | None = None) -> None:
        super().__init__()
        self.cause, self.facts = (why.reason, why.facts) if why else ("", {})


class BindLocked(RetryLater):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "bind_locked"
    default_detail = _(
        "Too much encrypted data could not be opened. Try again later, in an hour at most."
    )
    cause = "locked"


class WeChatUnavailable(RetryLater):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "wechat_unavailable"
    default_detail = _("WeChat cannot be reached at the moment. Try again shortly.")


class RiskyName(ValidationError):
    """A name that WeChat's content check refuses; `field` is what the client calls it."""

    def __init__(self, field: str) -> None:
        super().__init__({field: [_("WeChat's content check refuses this name. Choose another.")]})


class PictureTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = _("The picture is too large: at most 2 MiB.")


class StorageUnavailable(RetryLater):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = _("The picture cannot be kept at the moment. Try again shortly.")


class TooManyPictures(RetryLater):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = _("Too many pictures are being read at the moment. Try again shortly.")
