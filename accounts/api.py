"""The calls about oneself: log in, log out, me."""

from functools import partial
from typing import Any, cast

from django.core.files.base import ContentFile
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiRequest
from rest_framework import status
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from audit import attempts
from core.context import Caller, caller
from core.gateway import cloud_caller, proves_by_cloud_id
from core.schema import extend_schema
from core.serializers import NoInput, absolute
from core.views import JsonView
from wechat.client import Session

from .avatars.pictures import FORM_OVERHEAD, MAX_BYTES, TYPES
from .causes import LOGIN
from .errors import PictureTooLarge
from .models import Consent, Token, WeChatUser
from .privacy import erase
from .serializers import (
    AvatarInput,
    AvatarTextInput,
    ConsentInput,
    ConsentsOutput,
    LoginOutput,
    LogoutInput,
    MeInput,
    UserOutput,
    login_input,
)
from .services import begin_session, consent, log_in, rename, set_avatar
from .withdrawals import withdraw


class MemberView(JsonView):
    """A call by a logged-in member."""

    @property
    def user(self) -> WeChatUser:
        return cast(WeChatUser, self.request.user)


class LoginView(JsonView):
    throttle_scope = "login"  # by address: the caller is not known yet
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=login_input(), responses=LoginOutput, operation_id="login")
    def post(self, request: Request) -> Response:
        """Exchange the code of `wx.login` for a token. Earlier tokens stay valid.

        Where `WECHAT_CLOUD` is `cloudid`, WeChat's gateway says who I am, and no code is needed.
        """
        with attempts.record(LOGIN):
            body, phone = self.read(login_input()), cloud_caller(request)
            caller.set(Caller(app_id=body["appid"]))
            if phone and proves_by_cloud_id():
                found = begin_session(phone.app_id, Session(phone.openid, "", phone.unionid))
            else:
                found = log_in(body["appid"], body["code"], phone.openid if phone else "")
        caller.set(Caller(found.user.pk, found.user.app_id))
        return self.answer(LoginOutput, found)


class LogoutView(MemberView):
    @extend_schema(request=LogoutInput, responses={204: None}, operation_id="logout")
    def post(self, request: Request) -> Response:
        """End this token, or with `everywhere` all of mine, on all my phones."""
        if self.read(LogoutInput).get("everywhere"):
            self.user.tokens.all().delete()
        else:
            cast(Token, request.auth).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class MeView(MemberView):
    open_to_blocked = {"DELETE"}
    costly = {"PUT", "DELETE"}

    @extend_schema(responses=UserOutput, operation_id="me")
    def get(self, request: Request) -> Response:
        """Return me, as I see myself."""
        return self.answer(UserOutput, self.user)

    @extend_schema(request=MeInput, responses=UserOutput, operation_id="update_me")
    def put(self, request: Request) -> Response:
        """Change my nickname. What WeChat's check doubts waits; until then I alone see it."""
        return self.answer(UserOutput, rename(self.user, self.read(MeInput)["nickname"]))

    @extend_schema(responses={204: None}, operation_id="erase_me")
    def delete(self, request: Request) -> Response:
        """Erase me and everything held about me, immediately and permanently."""
        self.read(NoInput)
        erase(self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class PictureParser(MultiPartParser):
    """A form of bounded size with a picture in it."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0
        if int(length) > MAX_BYTES + FORM_OVERHEAD:
            raise PictureTooLarge
        try:
            return super().parse(stream, media_type, parser_context)
        except ParseError:  # in Django's English, which is not translated
            raise ParseError(_("The form cannot be read. Send it as wx.uploadFile does.")) from None


class PictureBodyParser(BaseParser):
    """A picture that is the body itself."""

    media_type = "image/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        picture = stream.read(MAX_BYTES + 1)
        if len(picture) > MAX_BYTES:
            raise PictureTooLarge
        return {"avatar": ContentFile(picture, name="avatar")}


class AvatarView(MemberView):
    parser_classes = (PictureParser, PictureBodyParser, *MemberView.parser_classes)
    costly = {"POST"}

    @extend_schema(
        request={
            "multipart/form-data": OpenApiRequest(
                AvatarInput, encoding={"avatar": {"contentType": ", ".join(TYPES)}}
            ),
            **dict.fromkeys(TYPES, OpenApiTypes.BINARY),
            "application/json": AvatarTextInput,
        },
        responses=UserOutput,
        operation_id="update_avatar",
    )
    def post(self, request: Request) -> Response:
        """Send my avatar: JPEG, PNG or WebP of at most 2 MiB, cut to a square.

        As a form, as the body itself, or as base64 in JSON of at most 256 KiB. Until WeChat's check
        is done I alone see it.
        """
        is_json = request.content_type.startswith("application/json")
        files = self.read(AvatarTextInput if is_json else AvatarInput)["avatar"]
        return self.answer(UserOutput, set_avatar(self.user, files, partial(absolute, request)))


class ConsentView(MemberView):
    open_to_blocked = {"GET"}

    @extend_schema(responses=ConsentsOutput, operation_id="consents")
    def get(self, request: Request) -> Response:
        """Return all that I have agreed to, the oldest first."""
        given = self.user.consents.order_by("given_at", "pk")
        return self.answer(ConsentsOutput, {"consents": given})

    @extend_schema(request=ConsentInput, responses=ConsentsOutput, operation_id="consent")
    def post(self, request: Request) -> Response:
        """Record that I agree; all that I have agreed to. Agreeing twice keeps the first time."""
        given = consent(self.user, **self.read(ConsentInput))
        return self.answer(ConsentsOutput, {"consents": given})


class OneConsentView(MemberView):
    open_to_blocked = {"DELETE"}

    @extend_schema(
        request=None,
        responses={200: ConsentsOutput},
        operation_id="withdraw_consent",
        parameters=[
            OpenApiParameter("purpose", str, OpenApiParameter.PATH, enum=Consent.Purpose.values)
        ],
    )
    def delete(self, request: Request, purpose: str) -> Response:
        """Take back my consent to a purpose: what it was for is deleted at once.

        `nickname` deletes my names, `avatar` my picture, `groups` leaves every group. Return what I
        still agree to.
        """
        self.read(NoInput)
        if purpose not in Consent.Purpose:
            raise Http404
        return self.answer(ConsentsOutput, {"consents": withdraw(self.user, purpose)})
