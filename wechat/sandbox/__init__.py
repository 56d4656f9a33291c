"""A fake WeChat on a real HTTP port: the platform's side, and the phone's side."""

from .phone import Phone, PhoneError
from .server import Sandbox
from .world import World, open_gid_of, openid_of, unionid_of

__all__ = [
    "Phone",
    "PhoneError",
    "Sandbox",
    "World",
    "open_gid_of",
    "openid_of",
    "unionid_of",
]
