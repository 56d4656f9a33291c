"""The shapes of the API about members."""

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.gates import Crowded
from core.gateway import cloud_caller, proves_by_cloud_id
from core.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictSerializer,
    TimestampField,
    absolute,
)
from wechat.crypto import BASE64_PATTERN, OPAQUE_ID, decode_base64

from .avatars.pictures import MAX_BYTES, UnacceptablePicture, avatar_files
from .errors import PictureTooLarge, TooManyPictures
from .fields import acceptable_nickname
from .models import Consent, WeChatUser
from .review import State


class NicknameInputField(StrictCharField):
    """A name as others will see it; cleaned, not merely checked."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return acceptable_nickname(super().to_internal_value(data))


UNACCEPTABLE: dict[str, Any] = {
    "not_a_picture": _("Not a picture that can be read. Send a JPEG, PNG or WebP file."),
    "too_many_pixels": _("This picture has too many pixels. Send a smaller one."),
}


def files_of(field: serializers.Field[Any, Any, Any, Any], picture: bytes) -> dict[int, bytes]:
    """Read a JPEG, PNG or WebP as the square WebP of each size that is stored."""
    try:
        return avatar_files(picture)
    except UnacceptablePicture as error:
        field.fail(error.reason)
    except Crowded:
        raise TooManyPictures(wait=3) from None


@extend_schema_field({"type": "string", "format": "binary"})
class PictureField(serializers.FileField):
    """A picture as a file."""

    default_error_messages = UNACCEPTABLE

    def to_internal_value(self, data: Any) -> Any:
        file = super().to_internal_value(data)
        if file.size > MAX_BYTES:
            raise PictureTooLarge
        return files_of(self, file.read())


class PictureTextField(StrictCharField):
    """A picture in base64."""

    default_error_messages = {**UNACCEPTABLE, "not_base64": _("Not strict base64.")}

    def to_internal_value(self, data: Any) -> Any:
        try:
            picture = decode_base64(super().to_internal_value(data))
        except ValueError:
            self.fail("not_base64")
        return files_of(self, picture)


class AvatarURLField(serializers.CharField):
    """The absolute address of a WebP that needs no token."""

    def to_representation(self, value: str) -> str:
        return absolute(self.context["request"], value)


class UserOutput(serializers.Serializer[WeChatUser]):
    """Me, as I see myself: with what awaits review; the nickname is empty until I choose one."""

    id = serializers.CharField(source="pk")
    nickname = serializers.CharField(source="own_nickname")
    nicknameState = serializers.ChoiceField(State.choices, source="nickname_state")
    avatar = AvatarURLField(source="own_avatar_path")
    avatarState = serializers.ChoiceField(State.choices, source="avatar_state")
    profileComplete = serializers.BooleanField(source="profile_complete")


class LoginInput(StrictSerializer):
    """The code of `wx.login`, and the appid where several mini-programs are configured."""

    code = StrictCharField(max_length=512)
    appid = StrictCharField(required=False, trim_whitespace=False, pattern=f"^{OPAQUE_ID.pattern}$")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Fill in the appid where only one mini-program is configured, or the gateway names it."""
        phone = cloud_caller(self.context["request"])
        known = [phone.app_id] if phone else list(settings.WECHAT_APPS)
        if "appid" not in attrs and len(known) == 1:
            return attrs | {"appid": known[0]}
        if "appid" not in attrs:
            raise serializers.ValidationError(
                {"appid": [_("Several mini-programs live here: name yours.")]}
            )
        if attrs["appid"] not in known:
            raise serializers.ValidationError(
                {"appid": [_("This mini-program is not configured here.")]}
            )
        return attrs


class CloudLoginInput(LoginInput):
    """Nothing: WeChat's gateway says who calls. A code is ignored."""

    ignored = LoginInput.ignored | {"code"}

    code = None  # type: ignore[assignment]  # how DRF drops an inherited field


def login_input() -> type[LoginInput]:
    """Return what a log-in takes here."""
    return CloudLoginInput if proves_by_cloud_id() else LoginInput


class LoginOutput(serializers.Serializer[Any]):
    token = serializers.CharField()
    expiresAt = TimestampField(source="expires_at")
    user = UserOutput()


class LogoutInput(StrictSerializer):
    """Which tokens end: this one, or all of mine."""

    everywhere = StrictBooleanField(required=False)


class MeInput(StrictSerializer):
    """What I may change about myself."""

    nickname = NicknameInputField()


class AvatarInput(StrictSerializer):
    """The file of `<button open-type="chooseAvatar">`, as `wx.uploadFile` sends it."""

    avatar = PictureField()


class AvatarTextInput(StrictSerializer):
    """The same picture in JSON, for a small one: the body has at most 256 KiB."""

    avatar = PictureTextField(trim_whitespace=False, pattern=BASE64_PATTERN)


class ConsentInput(StrictSerializer):
    """What I agree to, and the version of the mini-program's terms that I have read."""

    version = StrictCharField(max_length=32)
    purposes = serializers.ListField(
        child=serializers.ChoiceField(Consent.Purpose.choices), min_length=1, max_length=10
    )


class ConsentOutput(serializers.Serializer[Consent]):
    purpose = serializers.ChoiceField(Consent.Purpose.choices)
    version = serializers.CharField()
    givenAt = TimestampField(source="given_at")


class ConsentsOutput(serializers.Serializer[Any]):
    consents = ConsentOutput(many=True)
