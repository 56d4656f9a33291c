"""Call as a team's own back end."""

import json

from tests.settings import OTHER_APP_ID

from ..stage import SESSION_KEY, Person, Stage
from .profile import DOUBTFUL, RISKY
from .ranking import crowd


def server_calls(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    server = stage.server()
    newcomer = stage.phone("newcomer")
    family = stage.chat("family")

    stage.title("Log-ins of its own")
    body = {"openid": newcomer.openid, "sessionKey": SESSION_KEY, "unionid": "u-1"}
    newcomer.take(server.post("server/sessions", {**body, "nickname": " 新人 "}, of=newcomer))
    newcomer.get("me")
    sealed = newcomer.sealed_with("newcomer in family", {"openGId": family})
    newcomer.post("groups/bind", sealed)
    server.post("server/sessions", {"openid": newcomer.openid})
    newcomer.post("groups/bind", sealed)
    newcomer.get("me/data")
    alice = stage.person("alice", "小明")
    alice.enter("family")
    server.post("server/sessions", {"openid": alice.openid, "nickname": "小李"})
    server.post("server/sessions", {"openid": alice.openid, "nickname": DOUBTFUL})
    for more in (
        {"openid": "a b"},
        {"openid": ""},
        {"openid": 5},
        {"openid": "x" * 65},
        *({"sessionKey": key} for key in ("", "short", SESSION_KEY[:-2], 5, None)),
        {"unionid": ""},
        {"unionid": "a b"},
        {"nickname": " "},
        {"nickname": "x" * 33},
        {"nickname": RISKY},
        {"hat": 1},
    ):
        server.post("server/sessions", {"openid": alice.openid, **more})
    server.post("server/sessions", {})
    stage.operator.do_to_person("block", alice)
    server.post("server/sessions", {"openid": alice.openid})
    stage.operator.do_to_person("unblock", alice)

    stage.title("Many members at once")
    people = [
        {"openid": "oFirst", "unionid": "u-first", "nickname": " 第一 "},
        {"openid": alice.openid},
        {"openid": alice.openid, "nickname": "小王"},
        {"openid": "oFirst", "nickname": "第一"},
    ]
    stage.operator.do_to_person("block", newcomer)
    people.append({"openid": newcomer.openid, "nickname": "还是我"})
    for language in ("zh-CN", "en"):
        sent = {"users": people}
        server.post("server/users", sent, headers={"Accept-Language": language})
    stage.operator.do_to_person("unblock", newcomer)
    for bad in (
        {"openid": "a b"},
        {"openid": None},
        {"unionid": ""},
        {"nickname": " "},
        {"hat": 1},
    ):
        server.post("server/users", {"users": [people[0], {**people[1], **bad}]})
    for body in ({}, {"users": {}}, {"users": [5]}, {"users": []}):
        server.post("server/users", body)

    stage.title("The groups of a member")
    for number in range(22):
        alice.enter(f"chat {number}")
    path = f"server/users/{alice.openid}/groups"
    page = server.get(path).json()
    server.get(f"{path}?cursor={page['next']}")
    server.get(f"{path}?cursor=x")
    server.get(f"server/users/{newcomer.openid}/groups?cursor={page['next']}")
    server.get("server/users/oUnknown/groups")

    stage.title("A ranking without a viewer")
    path = f"server/groups/{family}/ranking"
    page = server.get(f"{path}?limit=1").json()
    server.get(f"{path}?limit=1&cursor={page['next']}")
    alice.put(f"groups/{family}/membership", {"hidden": True})
    server.get(f"{path}?period=all")
    for query in ("board=nothing", "period=x", "period=2027-01", "limit=0", "cursor=x"):
        server.get(f"{path}?{query}")
    server.get("server/groups/tG-no-such-group/ranking")

    stage.title("A hidden group is still there for the server")
    stage.operator.do_to_group("hide_group", family)
    server.get(path)

    stage.title("Another mini-program's key, and a revoked key")
    stage.serve_two_apps()
    other = stage.server(OTHER_APP_ID, "the other server")
    other.get(path)
    other.get(f"server/groups/{family}/winners?period=2026-W01")
    other.get(f"server/users/{alice.openid}/groups")
    stage.operator.revoke_keys()
    server.get(path)
    server.post("server/scores", {"scores": []})


def batches(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    operator, server = stage.operator, stage.server()
    operator.make_board("steps", "步数", "Steps", scope="app", writer="server", max_value="100")
    operator.make_board("points", "积分", "Points", scope="app", policy="sum")
    operator.make_board("laps", "圈速", "Laps", order="asc")
    operator.make_board("over", "已结束", "Over", scope="app", active_to="2026-11-18T12:00")
    alice, bob, carol = (stage.person(name) for name in ("alice", "bob", "carol"))
    alice.enter("family")
    family = stage.chat("family")
    operator.do_to_person("block", carol)

    def row(person: Person, value: int, key: str = "k", **more: object) -> dict[str, object]:
        body = {"openid": person.openid, "board": "steps", "value": value}
        return {**body, "idempotencyKey": key, **more}

    stage.title("Accepted and refused rows in order, then the same batch again")
    batch = [
        row(alice, 5),
        row(bob, 101),
        {**row(alice, 5), "openid": "oUnknown"},
        row(alice, 6, "k2", board="nothing"),
        row(alice, 7, "k3", openGId=family),
        row(alice, 8),
        row(bob, 9),
        row(carol, 9),
        row(alice, 61_250, "k4", board="laps", openGId=family),
        row(alice, 61_251, "k5", board="laps", openGId=family),
        row(bob, 5, "k4", board="laps", openGId=family),
        row(bob, 5, "k5", board="laps"),
        row(alice, 5, "k6", board="laps", openGId="tG-no-such-group"),
        row(alice, 5, "k7", board="over"),
        row(alice, 1, "k8", board="active-days", openGId=family),
        row(alice, 1, "k9", board="points"),
        row(alice, 2**53 - 1, "k10", board="points"),
    ]
    for language in ("zh-CN", "en"):
        server.post("server/scores", {"scores": batch}, headers={"Accept-Language": language})
    alice.get(f"groups/{family}/ranking?board=steps")
    alice.get(f"groups/{family}/ranking?board=laps")
    alice.get(f"groups/{family}/ranking?board=active-days")

    stage.title("Batches that are refused as a whole")
    for bad in (
        {"value": 2**53},
        {"value": "5"},
        {"value": None},
        {"idempotencyKey": None},
        {"idempotencyKey": ""},
        {"idempotencyKey": "x" * 65},
        {"idempotencyKey": "k "},
        {"idempotencyKey": "a\tb"},
        {"openid": "a b"},
        {"openGId": "a b"},
        {"board": ""},
        {"hat": 1},
    ):
        server.post("server/scores", {"scores": [row(alice, 1, "n"), {**row(bob, 2, "n"), **bad}]})
    for body in ({}, {"scores": {}}, {"scores": [5, None]}, {"scores": None}, {"scores": [{}, {}]}):
        server.post("server/scores", body)
    server.post("server/scores", {"scores": []})
    many = [row(alice, 1, f"k{number}", board="points") for number in range(501)]
    server.post("server/scores", data=json.dumps({"scores": many}).encode(), says="<501 scores>")


def winners(stage: Stage) -> None:
    stage.at("2026-11-10 12:00")
    stage.operator.make_board("points", "积分", "Points", scope="app", decimals="1", unit_zh="分")
    stage.operator.make_board("laps", "圈速", "Laps", order="asc", rank_style="dense")
    people, server = crowd(stage), stage.server()
    for person, value in zip(people.values(), (90, 90, 50, 50, 50, 10), strict=False):
        person.score("points", value)
        person.score("laps", value, "family")
    family = stage.chat("family")
    path = f"server/groups/{family}/winners?board="
    stage.operator.label(family, "家人群")

    stage.title("Before the week is over, at its very end, and long after")
    server.get(f"{path}points&period=2026-W46")
    stage.at("2026-11-15 23:59")
    server.get(f"{path}points&period=2026-W46")
    stage.at("2026-11-16 00:00")
    server.get(f"{path}points&period=2026-W46")
    stage.at("2026-11-16 00:01")
    server.get(f"{path}points&period=2026-W46")
    stage.at("2026-11-18 12:00")
    for query in ("points", "points&places=1", "points&places=2", "points&places=4", "laps",
                  "laps&places=2", "active-days", "active-days&places=1"):  # fmt: skip
        server.get(f"{path}{query}&period=2026-W46")
    server.get(f"{path}points&period=2026-11-10")
    server.get(f"{path}points&period=2026-11-11")
    server.get(f"server/groups/{family}/winners?period=2026-W46", twice=False)

    stage.title("Hidden and blocked members, and a corrected score")
    people["alice"].put(f"groups/{family}/membership", {"hidden": True})
    stage.operator.do_to_person("block", people["bob"])
    stage.operator.correct_score(people["frank"], "points", "2026-W46", 1000)
    server.get(f"{path}points&period=2026-W46")

    stage.title("Periods that have not ended or are invalid")
    for period in ("week", "all", "month", "2026-11", "2026-W47", "9999-W01", "x", "", "2026-W48"):
        server.get(f"{path}points&period={period}")
    server.get(f"{path}points")
    for places in ("0", "101", "x", "", "1.0"):
        server.get(f"{path}points&period=2026-W46&places={places}")
    server.get(f"{path}nothing&period=2026-W46")
    server.get("server/groups/tG-no-such-group/winners?period=2026-W46")
