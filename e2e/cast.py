"""Names, avatars and texts that the browser tests share."""

from io import BytesIO

import pytest
from django.utils.translation import gettext, override
from PIL import Image

from accounts.avatars.pictures import avatar_files
from accounts.avatars.storage import store_avatar
from accounts.models import WeChatUser
from accounts.review import State

NAMES = [
    "郑辰嘉",
    "许文博",
    "Olivia",
    "韩梅梅",
    "老王",
    "褚思远",
    "小明",
    "Bob",
    "李雷",
    "钱多多",
    "卫庄",
]
HOSTILE_NAMES = [
    "<script>alert(1)</script>",
    "李雷\u202e他不叫这个名字",
    "👨‍👩‍👧‍👦" * 32,
    "Donaudampfschifffahrtsgesellschaft",
    "K\u0353\u0306\u0322\u035b\u0340r\u0489\u0334\u0335a\u0316\u030b\u034a\u0489zy" + "\u0308" * 40,
    "مرحبا بالعالم الكبير والجميل جدا",
    '"><img src=x onerror=alert(1)>',
    "꧁༺ＫＩＮＧ༻꧂𒐫𒐫𒐫𒐫𒐫",
    "﷽﷽﷽﷽﷽﷽﷽﷽",
    "",
]

both_schemes = pytest.mark.parametrize("scheme", ["light", "dark"])


def chinese(msgid: str) -> str:
    """Return a text of the site in Chinese."""
    with override("zh-hans"):
        return gettext(msgid)


def paint(member: WeChatUser, column: str, colour: tuple[int, int, int]) -> None:
    """Give a member an avatar of one colour, in the column of approved ones or of drafts."""
    out = BytesIO()
    Image.new("RGB", (300, 200), colour).save(out, "PNG")
    key = store_avatar(avatar_files(out.getvalue()))
    state = {"avatar": State.APPROVED, "avatar_draft": State.PENDING}[column]
    WeChatUser.objects.filter(pk=member.pk).update(**{column: key, "avatar_state": state})
