"""The shapes of the API that both apps share, and the people's own."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from .errors import PictureTooLarge
from .fields import acceptable_nickname
from .models import WeChatUser
from .pictures import MAX_BYTES, UnacceptablePicture, avatar_files
from .review import State

# An error names this many unknown keys, and this much of each: no long echo of what was sent.
MAX_UNKNOWN, MAX_ECHO = 20, 64
IGNORED_KEYS = {"errMsg"}  # `wx` adds it to every result, which clients then send on whole


class StrictSerializer(serializers.Serializer[Any]):
    """Input that refuses keys it does not know, instead of ignoring a client's typing error."""

    def run_validation(self, data: Any = empty) -> Any:
        if not isinstance(data, dict):
            sentence = _("The body must be a JSON object.")
            raise serializers.ValidationError({"non_field_errors": [sentence]})
        unknown = [key for key in data if key not in self.fields and key not in IGNORED_KEYS]
        if unknown:
            named = {key[:MAX_ECHO]: [_("Unknown field.")] for key in unknown[:MAX_UNKNOWN]}
            raise serializers.ValidationError(named)
        return super().run_validation(data)


class NoInput(StrictSerializer):
    """For calls that take no body: an empty one, or `{}`."""


class Text(serializers.CharField):
    """A JSON string and nothing else: DRF's own field would take 5 for "5".

    `pattern` is for the API's schema only, a regular expression of JavaScript: what it says is
    enforced by whoever reads the text.
    """

    default_error_messages = {"invalid": _("Not a string.")}

    def __init__(self, *, pattern: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pattern = pattern

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """A JSON integer and nothing else: DRF's own field would take "5" and 5.0 for 5."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """JSON true or false and nothing else: DRF's own field would take "yes" for true."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field(
    {"type": "string", "format": "date-time", "example": "2026-11-22T08:00:00.000+08:00"}
)
class Time(serializers.DateTimeField):
    """Milliseconds and `+08:00`, the one spelling that every phone's `new Date()` reads."""

    def to_representation(self, value: datetime) -> str:
        return timezone.localtime(value).isoformat(timespec="milliseconds")


class Nickname(Text):
    """A name as others will see it; cleaned, not merely checked."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return acceptable_nickname(super().to_internal_value(data))


@extend_schema_field({"type": "string", "format": "binary"})
class Picture(serializers.FileField):
    """An uploaded JPEG, PNG or WebP, as the square WebP of each size that is kept of it."""

    default_error_messages = {
        "not_a_picture": _("Not a picture that can be read. Send a JPEG, PNG or WebP file."),
        "too_many_pixels": _("This picture has too many pixels. Send a smaller one."),
    }

    def to_internal_value(self, data: Any) -> Any:
        file = super().to_internal_value(data)
        if file.size > MAX_BYTES:
            raise PictureTooLarge
        try:
            return avatar_files(file.read())
        except UnacceptablePicture as error:
            self.fail(error.reason)


class AvatarUrl(serializers.CharField):
    """The absolute address of a WebP that needs no token."""

    def to_representation(self, value: str) -> str:
        return str(self.context["request"].build_absolute_uri(value))


class UserOutput(serializers.Serializer[WeChatUser]):
    """Me, as I see myself: with what awaits review; an empty nickname is one not chosen yet."""

    id = serializers.CharField(source="pk")
    nickname = serializers.CharField(source="own_nickname")
    nicknameState = serializers.ChoiceField(State.choices, source="nickname_state")
    avatar = AvatarUrl(source="own_avatar_path")
    avatarState = serializers.ChoiceField(State.choices, source="avatar_state")
    profileComplete = serializers.BooleanField(source="profile_complete")
