"""What can go wrong when talking to WeChat, by what the caller should do about it.

Source: the errcode tables of auth.code2Session and of content safety, and 全局返回码 (global
return codes). Messages carry errcode and `rid`, never the request: its URL holds the app secret
or the access token.
"""

import re
from collections.abc import Mapping


class WeChatError(Exception):
    """The platform refused a call, or could not be reached.

    `errcode` is WeChat's own number, None where there was no readable answer, and `reason` then
    says in a word why; `rid` is WeChat's request id, which its support asks for; `address` the one
    we call from, where WeChat tells it because it is not on the whitelist.
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
        """WeChat's number, or the word where there is none."""
        return self.reason if self.errcode is None else str(self.errcode)

    @property
    def facts(self) -> dict[str, str]:
        """What WeChat's support and whoever mends the set-up ask for."""
        told = {"rid": self.rid, "address": self.address}
        return {name: value for name, value in told.items() if value}

    def __str__(self) -> str:
        details = [f"errcode {self.errcode}"] if self.errcode is not None else []
        details += [f"rid {self.rid}"] if self.rid else []
        message = super().__str__()
        return f"{message} ({', '.join(details)})" if details else message


class PermanentError(WeChatError):
    """The same call will fail again: the person has to do something else."""


class TemporaryError(WeChatError):
    """The same call may succeed later, by itself or once an operator mends the set-up."""


class CodeRejected(PermanentError):
    """The log-in code is wrong, expired or used: call wx.login again."""


class UserRefused(PermanentError):
    """WeChat's risk control blocks this user."""


class UserInactive(PermanentError):
    """This user was not in the mini-program for two hours: content safety judges nothing then."""


class TooFrequent(TemporaryError):
    """This user calls too often; the limit is per minute."""


class TokenRejected(TemporaryError):
    """The access token is unknown, replaced or expired, and a new one did not help."""


class Unavailable(TemporaryError):
    """Busy, out of quota, misconfigured, too slow or unreadable."""


BUSY = -1

BY_ERRCODE: Mapping[int, type[WeChatError]] = {
    40029: CodeRejected,
    40163: CodeRejected,
    41008: CodeRejected,
    40226: UserRefused,
    45011: TooFrequent,
    61010: UserInactive,
    40001: TokenRejected,
    40014: TokenRejected,
    42001: TokenRejected,
}


def from_answer(errcode: int | None, errmsg: str) -> WeChatError:
    """The typed error for a platform's `{"errcode", "errmsg"}`.

    Of `errmsg` only the rid is kept, and our address where the whitelist lacks it: the rest may
    repeat what was sent.
    """
    kind = Unavailable if errcode is None else BY_ERRCODE.get(errcode, Unavailable)
    rid = re.search(r"rid: ?([\w-]{1,64})", errmsg, re.ASCII)
    address = re.match(r"invalid ip ([0-9a-fA-F.:]{2,45})\b", errmsg) if errcode == 40164 else None
    return kind(
        "WeChat refused the call",
        errcode,
        rid[1] if rid else "",
        address=address[1] if address else "",
    )
