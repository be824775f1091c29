"""Targets: real servers get what was meant for them, and nobody else learns their secrets."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from conftest import missing
from hypothesis import given
from hypothesis import strategies as st

from events.receivers import Subscriber, certificate, free_port, mqtt_broker, web_server
from visavis.errors import DeliveryError, InputError
from visavis.events.event import Event
from visavis.events.store import open_events
from visavis.events.targets.base import LARGEST_PICTURE, Notice
from visavis.events.targets.files import CsvFile, JsonlFile
from visavis.events.targets.mqtt import Mqtt, topic_of
from visavis.events.targets.push import Push
from visavis.events.targets.webhook import Webhook

DOCS = Path(__file__).resolve().parents[2] / "docs" / "notifications.md"
UTC = timezone.utc
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVENT = Event("identified", "door", NOON, "run", 1, subject="Zoë 王芳", similarity=0.7, fmr=1e-6, snapshot="x.jpg")
NOTICE = Notice(EVENT, "Zoë at door", "12:00")
JPEG = b"\xff\xd8\xff\xe0 a small picture"


def with_picture(folder: Path, content: bytes = JPEG) -> Notice:
    path = folder / "a picture, 100% fine?.jpg"
    path.write_bytes(content)
    return Notice(EVENT, "Zoë at door", "12:00", path)


@pytest.fixture(scope="module")
def broker():
    with mqtt_broker() as running:
        yield running


@pytest.fixture(scope="module")
def signed_for_itself(tmp_path_factory):
    made = certificate(tmp_path_factory.mktemp("certificate"))
    if made is None:
        missing("there is no openssl to make a certificate with")
    return made


# ---- webhooks


def test_a_webhook_gets_the_event_as_json_with_its_key():
    with web_server() as server:
        Webhook(webhook=f"{server.url}/hook?token=1", headers={"X-Token": "abc"}).send(NOTICE)
    [request] = server.requests
    assert request.path == "/hook?token=1"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == EVENT.id
    assert request.headers["X-Visavis-Event"] == "identified"
    assert request.headers["X-Token"] == "abc"
    assert Event.from_dict(request.json) == EVENT
    assert (request.json["title"], request.json["message"]) == ("Zoë at door", "12:00")
    assert "picture" not in request.json


def test_a_signature_is_one_of_the_standard_webhooks_specification():
    key = bytes(range(24))
    secrets = {"whsec_" + base64.b64encode(key).decode(): key, "a secret of many words": b"a secret of many words"}
    for secret, raw in secrets.items():
        with web_server() as server:
            Webhook(webhook=server.url, secret=secret).send(NOTICE)
        [request] = server.requests
        stamp = request.headers["webhook-timestamp"]
        assert abs(int(stamp) - time.time()) < 60
        assert request.headers["webhook-id"] == EVENT.id
        signed = b".".join([EVENT.id.encode(), stamp.encode(), request.body])
        expected = base64.b64encode(hmac.digest(raw, signed, hashlib.sha256)).decode()
        assert request.headers["webhook-signature"] == f"v1,{expected}"


def test_a_user_and_password_in_an_address_become_a_header():
    with web_server() as server:
        Webhook(webhook=server.url.replace("//", "//me%40home:p%2Fw@") + "/x").send(NOTICE)
    [request] = server.requests
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"me@home:p/w"
    assert request.headers["Host"] == f"127.0.0.1:{server.port}"


def test_a_picture_goes_along_unless_it_is_gone_or_too_large(tmp_path):
    notice = with_picture(tmp_path)
    large = tmp_path / "large.jpg"
    large.write_bytes(JPEG.ljust(LARGEST_PICTURE + 1))
    with web_server() as server:
        target = Webhook(webhook=server.url)
        target.send(notice)
        target.send(Notice(EVENT, "", "", large))
        target.send(Notice(EVENT, "", "", tmp_path / "erased.jpg"))
    pictures = [request.json.get("picture") for request in server.requests]
    assert base64.b64decode(pictures[0]["base64"]) == JPEG
    assert pictures[0]["type"] == "image/jpeg"
    assert pictures[1:] == [None, None]


@pytest.mark.parametrize(
    ("status", "final"),
    [
        *((code, False) for code in (408, 425, 429, 500, 502, 503, 504)),
        *((code, True) for code in (301, 302, 307, 308, 400, 401, 404, 410, 413)),
    ],
)
def test_answers_that_mean_no(status, final):
    with (
        web_server() as other,
        web_server(lambda _: (status, {"Location": f"{other.url}/stolen"})) as server,
        pytest.raises(DeliveryError, match=f"{server.url} answers {status}") as caught,
    ):
        Webhook(webhook=f"{server.url}/secret-path").send(NOTICE)
    assert caught.value.final is final
    assert len(server.requests) == 1
    assert other.requests == []  # redirects are not followed


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("120", 120, 120), (500, 300, 500), (-500, 0, 0), ("soon", None, None), ("-5", None, None)],
)
def test_what_a_server_asks_to_wait(header, low, high):
    if isinstance(header, int):  # a date, so many seconds from now
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=header), usegmt=True)
    with web_server(lambda _: (503, {"Retry-After": header})) as server, pytest.raises(DeliveryError) as caught:
        Webhook(webhook=server.url).send(NOTICE)
    if low is None:
        assert caught.value.retry_after is None
    else:
        assert low <= caught.value.retry_after <= high


def test_servers_that_are_none():
    with pytest.raises(DeliveryError, match="can't be reached: connection refused"):
        Webhook(webhook=f"http://127.0.0.1:{free_port()}/").send(NOTICE)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DeliveryError, match="doesn't answer in time"):
            Webhook(webhook=f"http://127.0.0.1:{port}/", timeout=0.2).send(NOTICE)
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def answer():
            connection, _ = rude.accept()
            connection.recv(65536)
            connection.sendall(b"220 mail.example ESMTP\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(DeliveryError, match=r"something that is no HTTP|can't be reached"):
            Webhook(webhook=f"http://127.0.0.1:{rude.getsockname()[1]}/").send(NOTICE)


@pytest.mark.parametrize(
    "address",
    [
        *("", "host/x", "ftp://host/", "http://", "http:///path", "http://host:0/", "http://host:99999/"),
        *(
            "http://ho st/",
            "http://host/ä",
            "http://host/a b",
            "http://[::1/",
            "http://host/\r\nX: y",
            "http://host:x/",
        ),
    ],
)
def test_addresses_that_are_none_are_refused_at_once_and_not_shown(address):
    with pytest.raises(InputError, match="must be an address such as https://host/path") as caught:
        Webhook(webhook=address)
    assert not address or address not in str(caught.value)


def test_headers_and_secrets_that_can_not_be_sent():
    for headers in ({"X Y": "1"}, {"X": "a\r\nY: b"}, {"X": "ä"}, {"": "1"}):
        with pytest.raises(InputError, match="headers"):
            Webhook(webhook="http://host/", headers=headers)
    with pytest.raises(InputError, match="fewer than 16 characters"):
        Webhook(webhook="http://host/", secret="short")
    with pytest.raises(InputError, match="base64 must follow"):
        Webhook(webhook="http://host/", secret="whsec_!!!")


# ---- MQTT


def test_a_broker_passes_notices_on_to_who_listens(broker, tmp_path):
    listener = Subscriber(broker.port, "faces/#")
    target = Mqtt(mqtt=f"mqtt://127.0.0.1:{broker.port}/faces/{{camera}}/{{kind}}/{{who}}")
    try:
        for notice in (NOTICE, with_picture(tmp_path)):
            target.send(notice)
        (topic, first, _, retained), (_, second, _, _) = listener.wait_for(2)
    finally:
        target.close()
        listener.close()
    assert topic == "faces/door/identified/Zoë 王芳"
    assert not retained
    assert Event.from_dict(first) == EVENT
    assert base64.b64decode(second["picture"]["base64"]) == JPEG


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_quality_of_service_arrives(broker, qos):
    listener = Subscriber(broker.port, f"q/{qos}")
    target = Mqtt(mqtt=f"mqtt://127.0.0.1:{broker.port}/q/{qos}", qos=qos)
    target.send(NOTICE)
    assert len(listener.wait_for(1)) == 1
    target.close()
    listener.close()


def test_a_retained_notice_waits_for_who_comes_later(broker):
    target = Mqtt(mqtt=f"mqtt://127.0.0.1:{broker.port}/kept/{{camera}}", retain=True)
    target.send(NOTICE)
    target.close()
    late = Subscriber(broker.port, "kept/door")
    assert late.wait_for(1)[0][3]
    late.close()


def test_a_broker_that_was_away_is_found_again():
    with mqtt_broker() as broker:
        target = Mqtt(mqtt=f"mqtt://127.0.0.1:{broker.port}/x", timeout=2)
        target.send(NOTICE)
        broker.stop()
        with pytest.raises(DeliveryError, match=rf"mqtt://127.0.0.1:{broker.port} (can't be reached|ended the conn)"):
            target.send(NOTICE)
        broker.start()
        listener = Subscriber(broker.port, "x")
        target.send(NOTICE)
        assert len(listener.wait_for(1)) == 1
        listener.close()
        target.close()


def test_a_user_and_password_and_wrong_ones(tmp_path):
    with mqtt_broker(users=(tmp_path / "users", {"visavis": "p@ss/word"})) as broker:
        fine = Mqtt(mqtt=f"mqtt://visavis:p%40ss%2Fword@127.0.0.1:{broker.port}/x")
        fine.send(NOTICE)
        fine.close()
        beside = Mqtt(mqtt=f"mqtt://127.0.0.1:{broker.port}/x", user="visavis", password="p@ss/word")
        beside.send(NOTICE)
        beside.close()
        for wrong in ("visavis:hunter2@", ""):
            with pytest.raises(DeliveryError, match=r"refuses the connection|ended|says nothing") as caught:
                Mqtt(mqtt=f"mqtt://{wrong}127.0.0.1:{broker.port}/x", timeout=2).send(NOTICE)
            assert "hunter2" not in str(caught.value)


def test_a_broker_that_takes_the_connection_and_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Mqtt(mqtt=f"mqtt://127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.3)
        with pytest.raises(DeliveryError, match="takes the connection and says nothing"):
            target.send(NOTICE)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")  # paho leaves it to the garbage collector
def test_certificates_are_checked(signed_for_itself):
    made, _ = signed_for_itself
    with mqtt_broker(certificate=signed_for_itself) as broker:
        address = f"mqtts://127.0.0.1:{broker.port}/x"
        with pytest.raises(DeliveryError, match=r"(?i)certificate"):
            Mqtt(mqtt=address).send(NOTICE)
        trusting = Mqtt(mqtt=address, ca=str(made))
        trusting.send(NOTICE)
        trusting.close()
        with pytest.raises(DeliveryError, match=r"(?i)certificate"):
            Webhook(webhook=address.replace("mqtts", "https")).send(NOTICE)
    for ca, problem in ((made.with_name("none.pem"), "no such file"), (Path(__file__), "holds no certificate")):
        with pytest.raises(InputError, match=problem):
            Mqtt(mqtt=address, ca=str(ca))


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://host/x", "must be an address such as mqtt://host:1883/topic"),
        ("mqtt://host/faces/%23", r"must not hold \+ or #"),
        ("mqtt://host/faces/+/x", r"must not hold \+ or #"),
        ("mqtt://host/faces/#", "must not hold #"),
        ("mqtt://host/$SYS/x", r"begins with \$"),
        ("mqtt://host/{subject}", r"not \{subject\}"),
        ("mqtt://host/{who.x}", r"not \{who.x\}"),
        ("mqtt://host/{who", "a brace stands alone"),
    ],
)
def test_topics_and_addresses_that_can_not_be_used(address, problem):
    with pytest.raises(InputError, match=problem):
        Mqtt(mqtt=address)


def test_a_password_needs_a_user():
    with pytest.raises(InputError, match="a password and no user"):
        Mqtt(mqtt="mqtt://host/x", password="hunter2")


@given(st.text(min_size=1), st.none() | st.text())
def test_no_name_can_leave_its_level_of_a_topic(camera, place):
    topic = topic_of("a/{camera}/{place}/z", Event("dwell", camera, NOON, place=place))
    assert len(topic.split("/")) == 4
    assert not set(topic) & set("+#\0")


# ---- push notifications


def test_apprise_sends_title_message_and_picture(tmp_path):
    with web_server() as server:
        target = Push(apprise=f"json://127.0.0.1:{server.port}/token")
        target.send(NOTICE)
        target.send(with_picture(tmp_path))
        target.send(Notice(EVENT, "", "", tmp_path / "erased.jpg"))
    first, second, third = server.requests
    assert first.path == "/token"
    assert (first.json["title"], first.json["message"]) == ("Zoë at door", "12:00")
    assert base64.b64decode(second.json["attachments"][0]["base64"]) == JPEG
    assert third.json["attachments"] == []


def test_text_stays_text_in_services_that_take_html(tmp_path):
    event = Event("identified", "door", NOON, subject="<b>Bobby</b> & *co*")
    with web_server() as server:
        Push(apprise=f"json://127.0.0.1:{server.port}/?format=html").send(Notice(event, "t", event.subject))
    assert "<b>" not in server.requests[0].json["message"]
    assert "&lt;b&gt;" in server.requests[0].json["message"]


def test_a_service_that_refuses_says_its_status_and_no_secret():
    with web_server(lambda _: (401, {})) as server:
        target = Push(apprise=f"json://me:hunter2@127.0.0.1:{server.port}/TOKEN")
        with pytest.raises(DeliveryError, match=r"^JSON did not take the notice \(HTTP 401\)$") as caught:
            target.send(NOTICE)
    assert caught.value.final is False
    with pytest.raises(DeliveryError, match=r"^JSON did not take the notice$"):
        target.send(NOTICE)


def test_a_service_that_never_answers_is_not_waited_for_long():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Push(apprise=f"json://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)
        with pytest.raises(DeliveryError, match="JSON did not take the notice"):
            target.send(NOTICE)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("tgrm://hunter2/chat", "did you mean tgram://"),
        ("tgram://hunter2/chat", "no complete address of tgram://"),
        ("hunter2", "no address of a service"),
        ("", "no address of a service"),
        ("nothing-like-it://hunter2", "no address of a service"),
    ],
)
def test_addresses_that_apprise_does_not_know_are_told_at_once(address, problem):
    with pytest.raises(InputError, match=problem) as caught:
        Push(apprise=address)
    assert "hunter2" not in str(caught.value)


ROWS = DOCS.read_text(encoding="utf-8").splitlines()
SERVICES = [row for row in ROWS if row.startswith("| ") and "://" in row and not row.startswith("| `")]


@pytest.mark.parametrize("row", SERVICES)
def test_the_addresses_in_the_documentation_are_known(row):
    # Those that another release of Apprise has renamed are noticed here.
    addresses = [text for text in row.split("`")[1::2] if "://" in text]
    assert addresses
    assert all(Push(apprise=address).where for address in addresses)


# ---- files


def test_files_get_a_line_an_event_and_forget_with_the_store(tmp_path):
    other = Event("unknown", "door", NOON, "run", 2)
    targets = [JsonlFile(jsonl=str(tmp_path / "e.jsonl")), CsvFile(csv=str(tmp_path / "e.csv"))]
    with open_events(tmp_path / "events.db") as store:
        store.add(EVENT)
        store.add(other)
        for target in targets:
            target.attach(store)
            target.send(NOTICE)
            target.send(Notice(other, "", ""))
        lines = (tmp_path / "e.jsonl").read_text("utf-8").splitlines()
        assert [Event.from_dict(json.loads(line)) for line in lines] == [EVENT, other]
        with (tmp_path / "e.csv").open(encoding="utf-8", newline="") as file:
            assert [row["id"] for row in csv.DictReader(file)] == [EVENT.id, other.id]
        store.erase("Zoë 王芳")
        for target in targets:
            target.send(NOTICE)  # on its way when the person was erased
    for name in ("e.jsonl", "e.csv"):
        text = (tmp_path / name).read_text("utf-8")
        assert other.id in text
        assert EVENT.id not in text
        assert "王" not in text


def test_files_that_can_not_be_written(tmp_path):
    (tmp_path / "foreign.csv").write_text("name,phone\nada,1\n")
    with pytest.raises(InputError, match="holds no events"):
        CsvFile(csv=str(tmp_path / "foreign.csv"))
    with pytest.raises(Exception, match="doesn't exist; make it first"):
        JsonlFile(jsonl=str(tmp_path / "none" / "e.jsonl"))
    target = JsonlFile(jsonl=str(tmp_path / "e.jsonl"))
    with open_events(tmp_path / "events.db") as store:
        store.add(EVENT)
        target.attach(store)
        (tmp_path / "e.jsonl").mkdir()
        with pytest.raises(DeliveryError, match=r"e\.jsonl"):
            target.send(NOTICE)


# ---- secrets


def test_nothing_that_is_printed_logged_raised_or_shown_holds_a_secret(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    port = free_port()
    with web_server(lambda _: (403, {"Location": "http://host/hunter2"})) as server:
        targets = [
            Webhook(webhook=f"http://me:hunter2@127.0.0.1:{server.port}/hunter2?hunter2", secret="hunter2" * 4),
            Webhook(webhook=f"http://127.0.0.1:{port}/hunter2", headers={"Authorization": "hunter2"}),
            Mqtt(mqtt=f"mqtt://me:hunter2@127.0.0.1:{port}/x", timeout=1),
            Mqtt(mqtt=f"mqtt://127.0.0.1:{port}/x", user="me", password="hunter2", timeout=1),
            Push(apprise=f"json://me:hunter2@127.0.0.1:{server.port}/hunter2?+X-Token=hunter2"),
            Push(apprise=f"json://me:hunter2@127.0.0.1:{port}/hunter2"),
            Push(apprise="tgram://123456789:hunter2_abcdefghi/hunter2/"),
        ]
        told = []
        for target in targets[:-1]:
            with pytest.raises(DeliveryError) as caught:
                target.send(NOTICE)
            told.append(str(caught.value))
    told += [f"{target!r} {target} {target.where} {target.__dict__.keys()}" for target in targets]
    printed = capfd.readouterr()
    told += [printed.out, printed.err, caplog.text, *(str(record.__dict__) for record in caplog.records)]
    assert "hunter2" not in "\n".join(told)
    assert printed.out + printed.err == ""
