"""The calls about oneself: log in, log out, me."""

from typing import Any, cast

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from wechat.crypto import OPAQUE_ID

from .models import Token, WeChatUser
from .serializers import Nickname, NoInput, StrictSerializer, Text, Time, UserOutput
from .services import log_in

Serializer = type[serializers.Serializer[Any]]


class JsonView(APIView):
    """Reads bodies and queries, and writes answers, through serializers."""

    http_method_names = ["get", "head", "post", "put", "delete"]  # all that wx.request knows

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
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=LoginInput, responses=LoginOutput, operation_id="login")
    def post(self, request: Request) -> Response:
        """Exchange the code of `wx.login` for a token. Earlier tokens stay valid."""
        body = self.read(LoginInput)
        return self.answer(LoginOutput, log_in(body["appid"], body["code"]))


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
    @extend_schema(responses=UserOutput, operation_id="me")
    def get(self, request: Request) -> Response:
        """Me."""
        return self.answer(UserOutput, self.user)

    @extend_schema(request=MeInput, responses=UserOutput, operation_id="update_me")
    def put(self, request: Request) -> Response:
        """Change my nickname."""
        self.user.nickname = self.read(MeInput)["nickname"]
        self.user.save(update_fields=["nickname"])
        return self.answer(UserOutput, self.user)
