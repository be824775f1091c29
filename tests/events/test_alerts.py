"""Settings of who is told of what: what a file says, and how mistakes in it are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from events.receivers import free_port, web_server
from visavis.errors import EngineError, InputError
from visavis.events.alerts import alerts_of, read_alerts, try_targets
from visavis.events.targets.files import JsonlFile
from visavis.events.targets.webhook import Webhook

DOCS = Path(__file__).resolve().parents[2] / "docs" / "notifications.md"

FILE = """
[[rule]]
name = "ada comes home"
who = "ada"
where = ["door", "ga*"]
cool_down = "10 min"
quiet = "23:00-07:00"
to = ["phone", "hook"]

[[rule]]
name = "log"
when = "any"
to = "log"

[targets.phone]
apprise = ["json://127.0.0.1:1/one", "json://127.0.0.1:1/two"]
timeout = "5 s"

[targets.hook]
webhook = "http://127.0.0.1:1/${HOOK_TOKEN}"
secret = "${HOOK_SECRET}"
headers = { Authorization = "Bearer ${HOOK_TOKEN}" }
give_up = "1 day"

[targets.log]
jsonl = "logs/events.jsonl"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_rules_and_targets(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "hunter2")
    monkeypatch.setenv("HOOK_SECRET", "hunter2 hunter2 ")
    (tmp_path / "logs").mkdir()
    alerts = read_alerts(written(tmp_path, FILE))
    first, second = alerts.rules.rules
    assert first.who == ("ada",)
    assert first.where == ("door", "ga*")
    assert first.cool_down == 600
    assert first.to == ("phone", "phone.2", "hook")  # each address by itself: one that fails repeats no other
    assert second.when == ("any",)
    assert list(alerts.targets) == ["phone", "phone.2", "hook", "log"]
    assert alerts.targets["phone.2"].timeout == 5
    hook = alerts.targets["hook"]
    assert isinstance(hook, Webhook)
    assert hook.give_up == 86400
    assert hook.headers == {"Authorization": "Bearer hunter2"}
    log = alerts.targets["log"]
    assert isinstance(log, JsonlFile)
    assert log.jsonl == str(tmp_path / "logs" / "events.jsonl")
    assert "hunter2" not in repr(alerts)


def test_no_rules_and_no_targets_are_fine():
    assert alerts_of({}, "cameras.toml").rules.rules == ()


RULE = '[[rule]]\nname = "a"\nto = "hook"\n'
HOOK = '[targets.hook]\nwebhook = "http://127.0.0.1:1/"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HOOK + "[[rules]]\nname = 'a'", r"rules.toml: unknown key 'rules'; did you mean 'rule'\?"),
        (
            HOOK + RULE + 'whom = "ada"',
            r"rules.toml: rule 1 \(a\): unknown key 'whom'; did you mean 'who'\? \(line 6\)",
        ),
        (HOOK + RULE + 'when = "identifed"', r"did you mean 'identified'\? \(line 6\)"),
        (HOOK + RULE + 'hours = ["8-9"]', "hours are written as '08:00-18:30'"),
        (HOOK + RULE + 'message = "{name}"', r"nothing is called \{name\}"),
        (HOOK + RULE + 'cool_down = "10 mins of rest"', "cool_down must be a duration such as"),
        (HOOK + '[[rule]]\nname = "a"', "the key 'to' is missing"),
        (RULE, "rules.toml: rule 'a': there is no target 'hook'"),
        (HOOK.replace("s.hook", "s.hock") + RULE, r"there is no target 'hook'; did you mean 'hock'\?"),
        (HOOK + RULE + RULE, "two rules are named 'a'"),
        ("[targets.hook]\nwebhok = 'http://x/'", r"targets.hook: unknown key 'webhok'; did you mean 'webhook'\?"),
        ("[targets.hook]\nqos = 1", "targets.hook: says not what it is: it needs one of the keys apprise, webhook"),
        (HOOK + "jsonl = 'a'", "one target is one of webhook and jsonl; make two of it"),
        (HOOK + "qos = 1", "targets.hook: unknown key 'qos'"),
        (HOOK + "timeout = 0", "timeout must be from 0.1 s to 10 min"),
        (HOOK + "give_up = '2 years'", "give_up"),
        ("targets.hook = 5", "targets.hook: must be a table"),
        ("[targets.'a.b']\nwebhook = 'http://x/'", "must not hold a dot"),
        ("[targets]\nphone.apprise = []", "apprise is an empty list"),
        ("[targets]\nphone.apprise = [5]", "apprise"),
        ("targets = 5", "targets must be"),
        ("rule = 5", "rule must be a list"),
        ("[rule]\nname = 'a'", r"write \[\[rule\]\]"),
        ("[targets.phone]\napprise = 'tgrm://hunter2'", "targets.phone: .*did you mean tgram://"),
        ("[targets.hook]\nwebhook = 'htp://hunter2/'", "targets.hook: must be an address such as https://"),
        ("[targets.mq]\nmqtt = 'mqtt://me:hunter2@host:x/'", "targets.mq: must be an address such as mqtt://"),
        ("[targets.mq]\nmqtt = 'mqtt://host/'\nqos = 3", "qos must be 0, 1 or 2"),
        ("[targets.log]\njsonl = 'none/x.jsonl'", "doesn't exist; make it first"),
        (HOOK + "secret = '${NO_SUCH_VARIABLE}hunter2'", "the environment variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_mistakes_are_named_with_their_place_and_nothing_secret(tmp_path, text, problem):
    with pytest.raises(Exception, match=problem) as caught:
        read_alerts(written(tmp_path, text))
    assert type(caught.value).__module__ == "visavis.errors"
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trying_targets_tells_which_arrived(tmp_path):
    with web_server() as server, web_server(lambda _: (404, {})) as none:
        text = "".join(
            f'[targets.{name}]\nwebhook = "{one.url}/hunter2"\n' for name, one in (("a", server), ("b", none))
        )
        text += f'[targets.c]\napprise = "json://127.0.0.1:{free_port()}/hunter2"\n[targets.d]\njsonl = "x.jsonl"\n'
        found = dict(try_targets(read_alerts(written(tmp_path, text)).targets))
    assert found["a"] is None
    assert found["b"] == f"{none.url} answers 404 Not Found"
    assert found["c"] == "JSON did not take the notice"
    assert found["d"] is None
    [request] = server.requests
    assert request.json["test"] is True
    assert request.headers["X-Visavis-Event"] == "test"
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("address", "package"), [("apprise = 'json://host'", "apprise"), ("mqtt = 'mqtt://host'", "paho-mqtt")]
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, address, package):
    for module in ("apprise", "paho", "paho.mqtt", "paho.mqtt.client"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match=rf"needs? the package {package}: pip install 'visavis\[notify\]'"):
        read_alerts(written(tmp_path, f"[targets.x]\n{address}\n"))


def test_the_rules_need_neither_package_until_a_target_does():
    code = (
        "import sys, visavis.events.alerts; print(sorted({'apprise', 'paho', 'requests', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_example_in_the_documentation_is_read(tmp_path, monkeypatch):
    example = DOCS.read_text(encoding="utf-8").split("```toml\n")[1].partition("```")[0]
    for name in ("NTFY_TOKEN", "MQTT_PASSWORD", "HOOK_SECRET"):
        monkeypatch.setenv(name, "0123456789abcdef")
    alerts = read_alerts(written(tmp_path, example))
    assert len(alerts.rules.rules) >= 3
    alerts.rules.check_places(["door", "yard", "gate"])


def test_an_input_error_is_told_for_a_file_that_is_none(tmp_path):
    with pytest.raises(InputError, match="does not exist; check the path"):
        read_alerts(tmp_path / "none.toml")
