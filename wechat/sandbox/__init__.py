"""A fake WeChat on a real HTTP port: the platform's side, and the phone's side.

It opens what no one sealed, for anyone who asks, so it is not loaded into a site that is in use.
"""

from wechat.checks import refuse_in_production

refuse_in_production("wechat.sandbox")

from .gateway import Gateway  # noqa: E402
from .phone import Phone, PhoneError  # noqa: E402
from .server import Sandbox  # noqa: E402
from .state import Fault, demo_envelope, group_openid_of, open_gid_of, openid_of, unionid_of  # noqa: E402

__all__ = [
    "Fault",
    "Gateway",
    "Phone",
    "PhoneError",
    "Sandbox",
    "demo_envelope",
    "group_openid_of",
    "open_gid_of",
    "openid_of",
    "unionid_of",
]
