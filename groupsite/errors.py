"""Every error of the API, once: its code, its status, when it occurs, what the client should do.

Every exception becomes one of these. docs/errors.md and the OpenAPI schema are made from the same
rows.
"""

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, UnreadablePostError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, status
from rest_framework.exceptions import APIException

from accounts.errors import (
    BindLocked,
    InvalidCode,
    InvalidToken,
    PictureTooLarge,
    RiskyName,
    SessionStale,
    StorageUnavailable,
    TooManyPictures,
    UserBlocked,
    WeChatUnavailable,
)
from accounts.models import WeChatUser
from core.database import database_is_away
from core.errors import RetryLater
from groups.errors import (
    FoundedTooMany,
    GroupHidden,
    GroupNotProven,
    InvalidField,
    NotAGroup,
    RowNotFound,
)
from wechat import errors as wechat

BODY_ENDED = _("The body ended early.")
LENGTH_REQUIRED = _("Chunked bodies are not read here: send the body with a Content-Length.")


class Invalid(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid"
    default_detail = _("The request is not valid.")


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = _("The body is too large: at most 256 KiB.")


class Throttled(RetryLater):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "throttled"
    default_detail = _("Too many requests. Try again shortly.")


class Unavailable(RetryLater):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = _("The service is not available at the moment. Try again shortly.")


class ServerError(APIException):
    default_code = "server_error"
    default_detail = _("Something went wrong on the server. Report the requestId.")


@dataclass(frozen=True)
class ErrorRow:
    """One code: the exceptions that have it, when it occurs, what the client should do."""

    kinds: tuple[type[APIException], ...]
    when: str | Promise
    todo: str | Promise

    @property
    def code(self) -> str:
        return str(self.kinds[0].default_code)

    @property
    def status(self) -> int:
        return self.kinds[0].status_code

    @property
    def carries(self) -> str:
        """Return the key that answers with this code have and others lack, or ""."""
        if issubclass(self.kinds[0], RetryLater):
            return "retryAfter"
        return "fields" if exceptions.ValidationError in self.kinds else ""


CATALOGUE = (
    ErrorRow(
        (Invalid, exceptions.ValidationError, RiskyName, InvalidField),
        _(
            "The body is not JSON, a key is unknown or missing, or a value is not allowed; a name "
            "that WeChat's content check refuses is not."
        ),
        _("Fix the request. `fields` names the fields that are wrong, if there are any."),
    ),
    ErrorRow(
        (exceptions.NotAuthenticated,),
        _("The call needs a token, and none was sent in `Authorization`."),
        _("Log in, and send `Authorization: Bearer <token>`."),
    ),
    ErrorRow(
        (InvalidToken,),
        _(
            "The token has expired, was ended by a log-out, or never was one; in WeChat Cloud Run, "
            "also where it is another person's than the gateway names."
        ),
        _("Log in again, then repeat the call once."),
    ),
    ErrorRow(
        (InvalidCode,),
        _("WeChat says the log-in code is wrong, expired or already used."),
        _("Call `wx.login` again, and log in with the new code."),
    ),
    ErrorRow(
        (exceptions.PermissionDenied,),
        _(
            "The caller may not do this; in WeChat Cloud Run, also where its gateway names no one, "
            "or a mini-program that is not configured."
        ),
        _("Stop: the same call will be refused again."),
    ),
    ErrorRow(
        (UserBlocked,),
        _("An operator has blocked this member, or WeChat refuses the account (its error 40226)."),
        _("Stop, and show `detail`."),
    ),
    ErrorRow(
        (GroupNotProven,),
        _("The ticket has expired, was altered, or is for another member or group."),
        _("Stop using this ticket; a new one comes from `groups/resolve`."),
    ),
    ErrorRow(
        (exceptions.NotFound, GroupHidden, RowNotFound),
        _("There is no such path, group or board, or it is not yours: both look the same."),
        _("Stop. A group is there again once the member enters from it."),
    ),
    ErrorRow(
        (exceptions.MethodNotAllowed,),
        _("The path exists, but not with this method."),
        _("Fix the request: the header `Allow` lists the methods."),
    ),
    ErrorRow(
        (exceptions.NotAcceptable,),
        _("`Accept` rules out `application/json`, the only answer there is."),
        _("Fix the request: accept `application/json`."),
    ),
    ErrorRow(
        (SessionStale,),
        _(
            "The encrypted data is well formed but does not open: made under an earlier log-in, "
            "for another member or mini-program, too long ago, or not by WeChat. "
            "The answer does not say which."
        ),
        _("Log in, fetch the encrypted data from WeChat **again**, and retry once."),
    ),
    ErrorRow(
        (NotAGroup,),
        _("The encrypted data is genuine and names no group: the card was not opened in one."),
        _("Explain that the card must be opened in a group; do not retry."),
    ),
    ErrorRow(
        (TooLarge, PictureTooLarge),
        _("The body is larger than 256 KiB, or an upload larger than 2 MiB."),
        _("Reduce the size."),
    ),
    ErrorRow(
        (exceptions.UnsupportedMediaType,),
        _("The body is of a type this call does not read, such as a form."),
        _("Fix the request: send `Content-Type: application/json`, for a file multipart."),
    ),
    ErrorRow(
        (Throttled, FoundedTooMany),
        _(
            "Too many calls, too many new groups in one day, or WeChat's own limit for this "
            "member (its error 45011)."
        ),
        _("Wait `retryAfter` seconds, then repeat the call."),
    ),
    ErrorRow(
        (BindLocked,),
        _("Ten times within an hour encrypted data of this member did not open."),
        _("Wait `retryAfter` seconds, an hour at most. Logging in does not shorten it."),
    ),
    ErrorRow(
        (ServerError,),
        _("An error on the server. Its log has the details under the same `requestId`."),
        _("Report the `requestId`; do not retry immediately."),
    ),
    ErrorRow(
        (WeChatUnavailable,),
        _(
            "WeChat is busy, slow or out of quota, refuses this site's appid, secret or address "
            "(−1, 40013, 40125, 40164, 45009 …), or too many calls to it are under way."
        ),
        _("Wait `retryAfter` seconds, then repeat the call; a log-in with a new code."),
    ),
    ErrorRow(
        (Unavailable, StorageUnavailable, TooManyPictures),
        _(
            "The database, or the storage of avatars, does not answer at the moment, "
            "or too many pictures are being read."
        ),
        _("Wait `retryAfter` seconds, then repeat the call."),
    ),
)
CODES = {row.code: row for row in CATALOGUE}


def as_api_exception(error: Exception) -> APIException:
    """Return the refusal that `error` means to the client; its code is one of CODES."""
    match error:
        case exceptions.ParseError():
            return Invalid(error.detail)
        case exceptions.AuthenticationFailed():
            return InvalidToken()
        case exceptions.Throttled():
            return Throttled(wait=getattr(error, "wait", None) or 1)
        case APIException() if error.default_code in CODES:
            return error
        case WeChatUser.DoesNotExist():
            return InvalidToken()  # erased since this call began
        case Http404():
            return exceptions.NotFound()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case SuspiciousOperation():
            return Invalid()
        case UnreadablePostError():
            return Invalid(BODY_ENDED)
        case _ if database_is_away(error):
            return Unavailable(wait=3)
        case wechat.InvalidCodeError():
            return InvalidCode()
        case wechat.HighRiskUserError():
            return UserBlocked()
        case wechat.RateLimitError():
            return Throttled(wait=60)
        case wechat.WeChatError():
            return WeChatUnavailable(wait=3)
    return ServerError()


BY_STATUS: dict[int, type[APIException]] = {
    kind.status_code: kind
    for kind in (
        Invalid,
        exceptions.PermissionDenied,
        exceptions.NotFound,
        exceptions.NotAcceptable,
        TooLarge,
        ServerError,
    )
}


def of_status(status_code: int, method: str) -> APIException:
    """Return the refusal that Django meant when it answered `method` with only a status."""
    if status_code == status.HTTP_405_METHOD_NOT_ALLOWED:
        return exceptions.MethodNotAllowed(method)
    if status_code == status.HTTP_503_SERVICE_UNAVAILABLE:
        return Unavailable(wait=3)
    return BY_STATUS.get(status_code, ServerError)()
