"""A phone in Python, speaking HTTP to a sandbox; for tests, seeds and the demo."""

from collections.abc import Mapping
from typing import Any

from wechat.transport import http_session

TIMEOUT = 10


class PhoneError(Exception):
    """The failure of a `wx` call, with its `errMsg` and `errCode`."""

    def __init__(self, err_msg: str, err_code: int) -> None:
        super().__init__(err_msg, err_code)
        self.err_msg = err_msg
        self.err_code = err_code


class Phone:
    """The phone of `person` with one mini-program open, in the sandbox at `sandbox_url`.

    `appid` may be left out where the sandbox has one app. Results have a `cloudID` too where cloud
    development is switched on (`in_cloud`). Every call raises PhoneError where the
    `wx` call would fail, and requests.RequestException where the sandbox cannot be reached.
    """

    def __init__(
        self, sandbox_url: str, person: str, appid: str | None = None, *, in_cloud: bool = False
    ) -> None:
        self.sandbox_url = sandbox_url.rstrip("/")
        self.person = person
        self.in_cloud = in_cloud
        self._who = {"person": person} | ({"appid": appid} if appid else {})

    def login(self) -> str:
        """Call wx.login and return the code.

        From now on the phone seals with a new session_key: what was sealed before does not open
        with it.
        """
        return str(self._call("login", self._who)["code"])

    def open_card(
        self, chat: str, scene: int = 1044, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Tap a card in a group and return the launch, `{"scene", "shareTicket", "query"}`."""
        card = {"chat": chat, "scene": scene, "query": dict(query or {})}
        return self._call("open-card", self._who | card)

    def open_single(self) -> dict[str, Any]:
        """Tap a card in a chat of two and return the launch, `{"scene": 1007, "query"}`."""
        return self._call("open-single", self._who)

    def share_info(self, ticket: str) -> dict[str, str]:
        """Call wx.getShareInfo and return `{"encryptedData", "iv"}`."""
        return self._envelope("share-info", {"shareTicket": ticket})

    def group_enter_info(
        self, *, watermark: bool = True, group_openid: bool = False
    ) -> dict[str, str]:
        """Call wx.getGroupEnterInfo for the last launch and return `{"encryptedData", "iv"}`."""
        options = {"watermark": watermark, "needGroupOpenID": group_openid}
        return self._envelope("group-enter-info", options)

    def user_info(self) -> dict[str, str]:
        """Call wx.getUserInfo and return `{"encryptedData", "iv"}`, which name no group."""
        return self._envelope("user-info", {})

    def join(self, chat: str) -> None:
        """Enter a group, or come back to one."""
        self._call("join", {"person": self.person, "chat": chat})

    def leave(self, chat: str) -> None:
        """Leave a group."""
        self._call("leave", {"person": self.person, "chat": chat})

    def revoke_authorization(self, revoke_info: str = "6") -> None:
        """Withdraw what was agreed to, in the mini-program's settings; WeChat pushes it.

        "6" is name and picture, "19" name, "14" and "20" picture, "12" steps.
        """
        self._call("revoke-authorization", self._who | {"revokeInfo": revoke_info})

    def modify_user_info(self) -> None:
        """Change the name or picture in WeChat itself; WeChat pushes that it was changed."""
        self._call("modify-user-info", self._who)

    def cancel_account(self) -> None:
        """Close the WeChat account; WeChat pushes it."""
        self._call("cancel-account", self._who)

    def _envelope(self, call: str, arguments: Mapping[str, object]) -> dict[str, str]:
        result = self._call(call, {**self._who, **arguments})
        names = ("encryptedData", "iv", *(["cloudID"] if self.in_cloud else []))
        return {name: result[name] for name in names}

    def _call(self, call: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        url = f"{self.sandbox_url}/phone/{call}"
        response = http_session().post(url, json=arguments, timeout=TIMEOUT)
        result: dict[str, Any] = response.json()
        if response.status_code != 200:
            raise PhoneError(result["errMsg"], result["errCode"])
        del result["errMsg"]
        return result
