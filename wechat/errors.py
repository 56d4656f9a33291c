"""The errors of calls to WeChat, one class for each thing that the caller can do about them.

Source: the errcode tables of auth.code2Session and of content safety, and 全局返回码 (global
return codes). Messages contain errcode and `rid`, never the request: its URL holds the app secret
or the access token.
"""

import re
from collections.abc import Mapping


class WeChatError(Exception):
    """A call that WeChat refused, or that did not reach it.

    `errcode` is WeChat's own number, or None where there was no readable answer; `reason` then
    says in a word why. `rid` is WeChat's request id, which its support asks for. `address` is the
    address we call from, which WeChat names only when it is missing from the whitelist.
    """

    def __init__(
        self,
        message: str,
        errcode: int | None = None,
        rid: str = "",
        *,
        reason: str = "unreadable",
        address: str = "",
    ) -> None:
        super().__init__(message)
        self.errcode = errcode
        self.rid = rid
        self.reason = reason
        self.address = address

    @property
    def cause(self) -> str:
        """Return the errcode as a string, or `reason` where there is none."""
        return self.reason if self.errcode is None else str(self.errcode)

    @property
    def counted_as(self) -> str:
        """Return the cause, as metrics name it: numbers that WeChat's tables do not have as one."""
        known = self.errcode is None or self.errcode in BY_ERRCODE or self.errcode in FAULTS
        return self.cause if known else "other"

    @property
    def facts(self) -> dict[str, str]:
        """Return `rid` and `address` where known, for WeChat's support and for operators."""
        facts = {"rid": self.rid, "address": self.address}
        return {name: value for name, value in facts.items() if value}

    def __str__(self) -> str:
        details = [f"errcode {self.errcode}"] if self.errcode is not None else []
        details += [f"rid {self.rid}"] if self.rid else []
        message = super().__str__()
        return f"{message} ({', '.join(details)})" if details else message


class InvalidCodeError(WeChatError):
    """A log-in code that is wrong, expired or used: the phone must call wx.login again."""


class HighRiskUserError(WeChatError):
    """A user blocked by WeChat's risk control: trying again does not help."""


class UnknownUserError(WeChatError):
    """A user that content safety does not judge.

    They were not in the mini-program for two hours (61010), or WeChat knows no such openid in it
    (40003, 43104): a person has to look.
    """


class RiskyContentError(WeChatError):
    """What WeChat calls risky by an error (87014), as version 1 of msgSecCheck did."""


class RateLimitError(WeChatError):
    """Too many calls by one user in a minute: try again in the next."""


class AccessTokenError(WeChatError):
    """An access token that is unknown, replaced or expired, also after a renewal.

    An operator has to fix the set-up.
    """


class UnavailableError(WeChatError):
    """WeChat busy, out of quota, misconfigured, too slow or unreadable: try again later."""


BUSY = -1

# Of an app's set-up or quota: appid, secret, address, frozen, confirmation, quota, frozen account.
FAULTS = {BUSY, 40013, 40125, 40164, 40243, 45009, 50007, 89503}

BY_ERRCODE: Mapping[int, type[WeChatError]] = {
    40029: InvalidCodeError,
    40163: InvalidCodeError,
    41008: InvalidCodeError,
    40226: HighRiskUserError,
    45011: RateLimitError,
    61010: UnknownUserError,
    40003: UnknownUserError,
    43104: UnknownUserError,
    87014: RiskyContentError,
    40001: AccessTokenError,
    40014: AccessTokenError,
    42001: AccessTokenError,
}


def from_answer(errcode: int | None, errmsg: str) -> WeChatError:
    """Return the error for WeChat's `{"errcode", "errmsg"}`.

    Only the rid of `errmsg` is kept, and our address where the whitelist lacks it: the rest may
    repeat what was sent.
    """
    kind = UnavailableError if errcode is None else BY_ERRCODE.get(errcode, UnavailableError)
    rid = re.search(r"rid: ?([\w-]{1,64})", errmsg, re.ASCII)
    address = re.match(r"invalid ip ([0-9a-fA-F.:]{2,45})\b", errmsg) if errcode == 40164 else None
    return kind(
        "WeChat refused the call",
        errcode,
        rid[1] if rid else "",
        address=address[1] if address else "",
    )
