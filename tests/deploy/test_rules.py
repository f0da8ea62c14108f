"""The Prometheus rules: each alert fires when it should and not before, and leads to what to do about it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.ops.alert_rules import RuleName
from ingest.ops.metric_table import METRICS
from tests.deploy.prometheus_rule import TARGET, manifest
from tests.deploy.rule_cases import CASES, LONG, WELL, Case
from tests.deploy.tools import REPOSITORY, RULES, prometheus_program, rules, run

ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
RUNBOOK = REPOSITORY / "ingest" / "docs" / "runbook.md"
OF_OTHERS = {
    "up",
    "kube_job_status_failed",
    "kube_cronjob_status_last_successful_time",
    "kube_cronjob_created",
}
ALWAYS = "DeadMansSwitch"

_METRIC = re.compile(r"\b(?:ingest(?:_[a-z0-9_]+|:[a-z0-9_:]+)|kube_[a-z_]+|up)\b")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def kebab(name: str) -> str:
    """StreamStale: stream-stale."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def expected_of(case: Case) -> list[dict[str, Any]]:
    """The alerts as promtool wants them told: labels and annotations, all of them."""
    return [
        {
            "exp_labels": {**rule["labels"], **dict(_LABEL.findall(case.labels))},
            "exp_annotations": {**rule["annotations"], "summary": case.summary},
        }
        for rule in ALERTS
        if rule["alert"] == case.alert and rule["labels"]["severity"] in case.severities.split()
    ]


def promtool_says(folder: Path, tests: list[dict[str, Any]]) -> tuple[int, str]:
    """Exit code and words of `promtool test rules`."""
    file = folder / "rules_test.yaml"
    # Else promtool takes the groups in any order, and an alert sees a record of now or of the time before.
    groups = [group["name"] for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]]
    content = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "group_eval_order": groups,
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False, width=1000), encoding="utf-8")
    return run(prometheus_program("promtool"), "test", "rules", file)


def a_test(changed: dict[str, str], expectations: list[dict[str, Any]]) -> dict[str, Any]:
    values = {**WELL, **changed}
    return {
        "interval": "15s",
        "input_series": [{"series": name, "values": value} for name, value in values.items()],
        "alert_rule_test": expectations,
    }


def at(minutes: float, alert: str, *expected: dict[str, Any]) -> dict[str, Any]:
    return {"eval_time": f"{int(minutes * 60)}s", "alertname": alert, "exp_alerts": [*expected]}


def test_rules_are_what_prometheus_takes() -> None:
    """`promtool check rules` has nothing to say."""
    code, said = run(prometheus_program("promtool"), "check", "rules", RULES)

    assert code == 0, said


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.severities}")
def test_alert_fires_when_it_should_and_not_before(tmp_path: Path, case: Case) -> None:
    """Nobody is told of a short trouble; of one that lasts they are, in words that say what."""
    code, said = promtool_says(
        tmp_path,
        [
            a_test(
                case.changed,
                [at(case.not_yet_min, case.alert), at(case.fires_min, case.alert, *expected_of(case))],
            )
        ],
    )

    assert code == 0, said


def test_nobody_is_told_while_all_is_well(tmp_path: Path) -> None:
    """Two hours of a service that is well: no alert but the one that always fires."""
    names = sorted({rule["alert"] for rule in ALERTS} - {ALWAYS})
    times = (1, 20, LONG // 4 - 2)
    code, said = promtool_says(
        tmp_path, [a_test({}, [at(minutes, name) for minutes in times for name in names])]
    )

    assert code == 0, said


def test_dead_mans_switch_always_fires(tmp_path: Path) -> None:
    """Also when there is no service at all."""
    (rule,) = (rule for rule in ALERTS if rule["alert"] == ALWAYS)
    expected = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
    nothing = {"interval": "15s", "input_series": [], "alert_rule_test": [at(1, ALWAYS, expected)]}
    code, said = promtool_says(tmp_path, [nothing])

    assert code == 0, said


def test_every_alert_has_a_case() -> None:
    """A new rule comes with a proof that it fires."""
    proven = {(case.alert, severity) for case in CASES for severity in case.severities.split()}

    assert {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS} - {(ALWAYS, "none")} == proven


def test_every_rule_of_the_service_has_its_alert_here() -> None:
    """Whoever is alerted by Prometheus alone misses nothing that the service itself would tell."""
    named = {"".join(word.capitalize() for word in name.split("_")) for name in RuleName}

    assert named <= {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", [*rules()], ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_name_metrics_that_there_are(rule: dict[str, Any]) -> None:
    """No rule waits for a metric that nobody exports."""
    named = set(_METRIC.findall(rule["expr"]))

    assert named or rule.get("alert") == ALWAYS
    assert named <= {row.name for row in METRICS if row.labels[-1:] != ("symbol",)} | RECORDED | OF_OTHERS


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_says_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """A severity, a sentence for people, one more for who has to act, and the entry of the runbook."""
    notes = rule["annotations"]

    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    assert rule["labels"]["service"] == "ingest"
    assert notes["summary"][0].isupper() or notes["summary"].startswith("{{")
    assert notes["description"].endswith(".")
    assert "{{" not in notes["description"]
    assert notes["runbook_url"] == f"ingest/docs/runbook.md#{kebab(rule['alert'])}"


@pytest.mark.parametrize("name", sorted({rule["alert"] for rule in ALERTS}))
def test_runbook_has_an_entry_for_every_alert(name: str) -> None:
    """`## Stream stale` is what #stream-stale leads to."""
    headings = re.findall(r"^#+ +(.+?) *$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}

    assert kebab(name) in anchors


def test_operators_rules_are_the_same() -> None:
    """The manifest for the Prometheus operator is made of the rules: `make rules`."""
    assert TARGET.read_text(encoding="utf-8") == manifest()
