"""The calls about oneself: log in, log out, me."""

from typing import Any, ClassVar, cast

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiRequest, extend_schema
from rest_framework import serializers, status
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from wechat.crypto import OPAQUE_ID

from . import trail
from .caller import Caller, caller
from .errors import PictureTooLarge
from .models import Consent, Token, WeChatUser
from .pictures import MAX_BYTES, TYPES
from .serializers import Nickname, NoInput, Picture, StrictSerializer, Text, Time, UserOutput
from .services import consent, log_in, rename, set_avatar

Serializer = type[serializers.Serializer[Any]]

FORM_OVERHEAD = 16 * 1024  # what a multipart form adds to the picture in it


class JsonView(APIView):
    """Reads bodies and queries, and writes answers, through serializers."""

    http_method_names = ["get", "head", "post", "put", "delete"]  # all that wx.request knows

    # Methods that ask WeChat, draw pictures or read a great deal: they have a narrower limit.
    costly: ClassVar[set[str]] = set()

    def read(self, serializer: Serializer) -> dict[str, Any]:
        """The validated body. Raises ValidationError."""
        return self._validated(serializer, self.request.data)

    def query(self, serializer: Serializer) -> dict[str, Any]:
        """The validated query string. Raises ValidationError."""
        return self._validated(serializer, self.request.query_params.dict())

    def _validated(self, serializer: Serializer, data: Any) -> dict[str, Any]:
        checked = serializer(data=data)
        checked.is_valid(raise_exception=True)
        return dict(checked.validated_data)

    def answer(
        self, serializer: Serializer, value: Any, code: int = status.HTTP_200_OK
    ) -> Response:
        return Response(serializer(value, context={"request": self.request}).data, code)


class MemberView(JsonView):
    """A call by a logged-in member."""

    @property
    def user(self) -> WeChatUser:
        return cast(WeChatUser, self.request.user)


class LoginInput(StrictSerializer):
    """The code of `wx.login`, and the appid where several mini-programs are configured."""

    code = Text(max_length=512)
    appid = Text(required=False, trim_whitespace=False, pattern=f"^{OPAQUE_ID.pattern}$")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Fill in the appid where only one mini-program is configured."""
        known = settings.WECHAT_APPS
        if "appid" not in attrs and len(known) == 1:
            return attrs | {"appid": next(iter(known))}
        if "appid" not in attrs:
            raise serializers.ValidationError(
                {"appid": [_("Several mini-programs live here: name yours.")]}
            )
        if attrs["appid"] not in known:
            raise serializers.ValidationError(
                {"appid": [_("This mini-program is not configured here.")]}
            )
        return attrs


class LoginOutput(serializers.Serializer[Any]):
    token = serializers.CharField()
    expiresAt = Time(source="expires_at")
    user = UserOutput()


class LoginView(JsonView):
    throttle_scope = "login"  # by address: nobody is known yet
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=LoginInput, responses=LoginOutput, operation_id="login")
    def post(self, request: Request) -> Response:
        """Exchange the code of `wx.login` for a token. Earlier tokens stay valid."""
        with trail.attempt(trail.Kind.LOGIN):
            body = self.read(LoginInput)
            caller.set(Caller(app_id=body["appid"]))
            found = log_in(body["appid"], body["code"])
        return self.answer(LoginOutput, found)


class LogoutView(MemberView):
    @extend_schema(request=None, responses={204: None}, operation_id="logout")
    def post(self, request: Request) -> Response:
        """End this token. The others of the same person stay valid."""
        self.read(NoInput)
        cast(Token, request.auth).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class MeInput(StrictSerializer):
    """What I may change about myself."""

    nickname = Nickname()


class MeView(MemberView):
    costly = {"PUT"}

    @extend_schema(responses=UserOutput, operation_id="me")
    def get(self, request: Request) -> Response:
        """Me."""
        return self.answer(UserOutput, self.user)

    @extend_schema(request=MeInput, responses=UserOutput, operation_id="update_me")
    def put(self, request: Request) -> Response:
        """Change my nickname. What WeChat's check doubts waits; until then I alone see it."""
        return self.answer(UserOutput, rename(self.user, self.read(MeInput)["nickname"]))


class PictureParser(MultiPartParser):
    """A form of bounded size with a picture in it."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0
        if int(length) > MAX_BYTES + FORM_OVERHEAD:
            raise PictureTooLarge
        return super().parse(stream, media_type, parser_context)


class AvatarInput(StrictSerializer):
    """The file of `<button open-type="chooseAvatar">`, as `wx.uploadFile` sends it."""

    avatar = Picture()


class AvatarView(MemberView):
    parser_classes = (PictureParser,)
    costly = {"POST"}

    @extend_schema(
        request=OpenApiRequest(AvatarInput, encoding={"avatar": {"contentType": ", ".join(TYPES)}}),
        responses=UserOutput,
        operation_id="update_avatar",
    )
    def post(self, request: Request) -> Response:
        """Send my avatar: JPEG, PNG or WebP of at most 2 MiB, cut to a square.

        Until WeChat's check is done I alone see it.
        """
        files = self.read(AvatarInput)["avatar"]
        return self.answer(UserOutput, set_avatar(self.user, files, request.build_absolute_uri))


class ConsentInput(StrictSerializer):
    """What I agree to, and the version of the mini-program's terms that I have read."""

    version = Text(max_length=32)
    purposes = serializers.ListField(
        child=serializers.ChoiceField(Consent.Purpose.choices), min_length=1, max_length=10
    )


class ConsentOutput(serializers.Serializer[Consent]):
    purpose = serializers.ChoiceField(Consent.Purpose.choices)
    version = serializers.CharField()
    givenAt = Time(source="given_at")


class ConsentsOutput(serializers.Serializer[Any]):
    consents = ConsentOutput(many=True)


class ConsentView(MemberView):
    @extend_schema(request=ConsentInput, responses=ConsentsOutput, operation_id="consent")
    def post(self, request: Request) -> Response:
        """Record that I agree; all that I have agreed to. Agreeing twice keeps the first time."""
        given = consent(self.user, **self.read(ConsentInput))
        return self.answer(ConsentsOutput, {"consents": given})
