"""A fake WeChat on a real HTTP port: the platform's side, and the phone's side."""

from .gateway import Gateway
from .phone import Phone, PhoneError
from .server import Sandbox
from .state import Fault, demo_envelope, group_openid_of, open_gid_of, openid_of, unionid_of

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
