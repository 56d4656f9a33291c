"""Open the members' page and the other addresses, and push as WeChat does."""

from tests.settings import APP_ID, OTHER_APP_ID
from wechat.push import channel_for

from ..stage import GREEN, Stage
from .profile import DOUBTFUL
from .ranking import crowd


def member_page(stage: Stage) -> None:
    stage.at("2026-11-11 12:00")
    stage.operator.make_board("points", "积分", "Points", scope="app", unit_zh="分", unit_en="pts",
                              decimals="1")  # fmt: skip
    people = crowd(stage, *(f"member-{number:02}" for number in range(8)))
    for number, person in enumerate(people.values()):
        if number < 6:
            person.score("points", 1000 - number)
    stage.at("2026-11-18 12:00")
    for number, person in enumerate(people.values()):
        if 1 < number < 7:
            person.enter("family")
            person.score("points", 12_000_000 + 50 * (number // 2))
    alice, visitor = people["member-03"], stage.visitor
    stage.operator.label(stage.chat("family"), "家人群 <1>")

    stage.title("Links")
    default = alice.link("family")
    points = alice.link("family", board="points")
    for body in (
        {"board": "nothing"},
        {"board": ""},
        {"board": 5},
        {"board": None},
        {"hat": 1},
    ):
        alice.post(f"groups/{stage.chat('family')}/link", body)
    stage.person("stranger").post(f"groups/{stage.chat('family')}/link", {})

    stage.title("The page, and other periods")
    visitor.get(default)
    visitor.get(points)
    for period in ("day", "month", "all", "2026-W46", "2026-11-17"):
        visitor.get(f"{points}?period={period}")
    for query in ("period=x", "period=", "cursor=x", "period=2026-W48"):
        visitor.get(f"{points}?{query}")
    visitor.ask("HEAD", points)
    visitor.ask("POST", points)

    stage.title("As seen by the member who asked for the link")
    alice.put("me", {"nickname": DOUBTFUL})
    visitor.get(points)
    alice.put(f"groups/{stage.chat('family')}/membership", {"hidden": True})
    visitor.get(f"{points}?period=all")
    stage.operator.do_to_membership("hide", alice, stage.chat("family"))
    visitor.get(f"{points}?period=all")

    stage.title("Alone in a group without scores")
    alone = stage.person("alone", "独行")
    alone.enter("elsewhere")
    visitor.get(alone.link("elsewhere"))
    visitor.get(alone.link("elsewhere", board="points"))
    alone.put(f"groups/{stage.chat('elsewhere')}/membership", {"hidden": True})
    visitor.get(alone.link("elsewhere"))

    stage.title("More people than a page holds")
    many = crowd(stage, *(f"many-{number:02}" for number in range(52)), chat="crowd")
    for number, person in enumerate(many.values()):
        if number < 51:
            person.score("points", 100 - number)
    first = many["many-00"].link("crowd", board="points")
    page = visitor.get(first, twice=False).content.decode()
    following = page.split("cursor=")[1].split('"')[0]
    visitor.get(f"{first}?cursor={following}")
    visitor.get(f"{first}?cursor={following}x")
    visitor.get(f"{points}?cursor={following}")
    last = many["many-50"].link("crowd", board="points")
    visitor.get(last)
    visitor.get(f"{last}?around")

    stage.title("Altered, of a former member, expired")
    for path in (f"{points[:-1]}x/", "/g/x/", f"/g/{points.split('/')[2][1:]}/", points[:-1]):
        visitor.get(path)
    bob = people["member-05"]
    his = bob.link("family")
    visitor.get(his)
    bob.delete(f"groups/{stage.chat('family')}/membership")
    visitor.get(his)
    stage.operator.do_to_person("block", alice)
    visitor.get(points)
    stage.operator.do_to_person("unblock", alice)
    stage.at_next("2026-11-18 15:00:00")
    link = alice.link("family", board="points")
    for moment in ("2026-11-18 16:00:00", "2026-11-18 16:00:01"):
        stage.at_next(moment)
        visitor.get(f"{link}?period=2026-11-18")


def around_the_api(stage: Stage) -> None:
    """Ask the probes, the schema, verification files and other pages."""
    stage.at("2026-11-18 12:00")
    visitor = stage.visitor
    for path in ("/livez", "/readyz"):
        visitor.get(path)
        visitor.ask("HEAD", path)
        visitor.post(path)
        visitor.get(path, headers={"Host": "evil.example"})
    with stage.without_database():
        visitor.get("/livez")
        visitor.get("/readyz")

    stage.title("The schema's calls")
    with stage.off_the_record():
        answer = visitor.get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    for path, calls in sorted(answer.json()["paths"].items()):
        for method, call in calls.items():
            parameters = [each["name"] for each in call.get("parameters", [])]
            call_line = f"{method.upper()} {path} {call['operationId']} {parameters}"
            stage.title(f"{call_line} {[*call.get('requestBody', {}).get('content', {})]}")
    for path in ("/api/schema/", "/api/docs/"):
        visitor.post(path, {})
        visitor.get(path, headers={"Accept": "image/png"})
    stage.title(f"/api/docs/ {visitor_status(stage, '/api/docs/')}")

    stage.title("Files that prove the domain")
    stage.operator.make_file("WW_verify_abc.txt", "abc123")
    visitor.get("/WW_verify_abc.txt")
    visitor.get("/nothing.txt")
    visitor.post("/WW_verify_abc.txt")

    stage.title("Elsewhere")
    for path in ("/", "/favicon.ico", "/nothing", "/groups", "/groups/", "/g/", "/admin", "/api"):
        visitor.get(path)


def visitor_status(stage: Stage, path: str) -> str:
    with stage.off_the_record():
        answer = stage.visitor.get(path)
    return f"{answer.status_code} {answer['Content-Type']}"


def pushes(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    visitor, alice = stage.visitor, stage.person("alice", "小明")
    here = f"/wechat/push/{APP_ID}/"

    stage.title("The console tries the address")
    genuine = _query(stage)
    visitor.get(f"{here}?{genuine}&echostr=hello%20%3Cb%3E")
    visitor.get(f"{here}?{genuine}")
    visitor.get(here)
    visitor.get(f"{here}?{genuine[:-1]}&echostr=hello")
    visitor.get(f"/wechat/push/{OTHER_APP_ID}/?{genuine}&echostr=hello")
    visitor.ask("HEAD", f"{here}?{genuine}&echostr=hello")
    for method in ("PUT", "DELETE"):
        visitor.ask(method, f"{here}?{genuine}")

    stage.title("Verdicts: sealed ones twice and too late, plain ones refused")
    for safe in (True, False):
        for xml in (True, False):
            alice.send_avatar(GREEN)
            stage.verdict(alice, "pass", safe=safe, xml=xml)
            stage.verdict(alice, "risky", 20006)
            alice.get("me")
    alice.send_avatar(GREEN)
    stage.push(MsgType="event", Event="wxa_media_check", trace_id="unknown-trace",
               result={"suggest": "risky", "label": 20006})  # fmt: skip
    stage.verdict(alice, "nonsense")
    stage.verdict(alice, "pass")
    alice.get("me")
    alice.get("me/data")

    stage.title("Withdrawals")
    alice.post("me/consent", {"purposes": ["nickname", "avatar"], "version": "1"})
    about = {"MsgType": "event", "CreateTime": int(stage.now.timestamp()), "OpenID": alice.openid}
    revoked = {**about, "Event": "user_authorization_revoke"}
    for info, xml in (("12", False), ("19", False), ("20", True), ("20", True)):
        stage.push(**revoked, RevokeInfo=info, xml=xml)
        alice.get("me")
    alice.get("me/consent")
    stage.push(**about, Event="user_info_modified", safe=False)
    stage.push(**{**revoked, "OpenID": "a b"}, RevokeInfo="6")
    stage.push(**about, Event="user_info_modified")
    stage.push(**about, Event="user_authorization_cancellation", xml=True)
    alice.get("me")
    visitor.get(f"/wechat/push/{APP_ID}?{genuine}&echostr=hello")

    stage.title("Other events, and refused ones")
    stage.push(MsgType="event", Event="user_enter_tempsession")
    stage.push(MsgType="text", Content="你好")
    stage.push(MsgType="event", Event="wxa_media_check", trace_id="a b")
    stage.push(MsgType="event", Event="wxa_media_check")
    for data in (b"", b"[]", b"{}", b"<xml>", b"<xml/>", b"x" * (256 * 1024 + 1)):
        says = f"<{len(data)} bytes>" if len(data) > 99 else data.decode()
        visitor.post(f"{here}?{genuine}", data=data, says=says)
    sealed = b'{"Encrypt": "AAAA"}'
    visitor.post(f"{here}?{genuine}", data=sealed, says=sealed.decode())
    visitor.post(f"{here}?{genuine}&msg_signature=x", data=sealed, says=sealed.decode())
    visitor.post(here, data=b"{}", says="{}")


def _query(stage: Stage) -> str:
    """Return a query signed by the platform."""
    query, _body = channel_for(APP_ID).write({}, safe=False, xml=False)
    return "&".join(f"{name}={value}" for name, value in query.items())
