"""Asks Prometheus every query of the dashboard, the recording rules and the alerts, until each has returned data, and fails where one does not.

Of an alert the sides of its comparisons are asked, since the alert itself must be silent here. A query that returns nothing but NaN has
returned no data. Usage: queries.py http://PROMETHEUS
"""

import json
import math
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from time import sleep

DEPLOY = Path(__file__).parent.parent
# All series must be there after so many scrapes: the slowest need a whole round of the load and two evaluations of a recording rule.
SCRAPES = 120


def dashboard_queries():
    dashboard = json.loads((DEPLOY / "grafana/sluice.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']!r}", target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")


def rule_queries(prometheus):
    groups = get(prometheus, "/api/v1/rules")["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        if rule["health"] == "err":
            raise SystemExit(f"{rule['name']}: {rule['lastError']}")
        if rule["type"] == "recording":
            yield f"record {rule['name']}", rule["name"]
            continue
        for condition in rule["query"].split(" and "):
            side, comparison = re.fullmatch(r"(.*) (?:==|>|<) ([\d.]+)", condition).groups()
            yield f"alert {rule['name']} (against {comparison})", side


def incomplete():
    """Alerts without an entry in the documentation, or without a test in which they fire."""
    page = (DEPLOY.parent / "docs/troubleshooting.md").read_text()
    tests = (DEPLOY / "prometheus/rules.test.yml").read_text()
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "prometheus/alert.rules.yml").read_text())
    return [a for a in alerts if f"\n### {a}\n" not in page or f"alertname: {a}\n    exp_alerts:\n" not in tests]


def get(prometheus, path, **parameters):
    with urllib.request.urlopen(f"{prometheus}{path}?{urllib.parse.urlencode(parameters)}") as answer:
        return json.load(answer)["data"]


def progress(prometheus):
    """When Prometheus last scraped each target, and evaluated each group of rules."""
    scrapes = [target["lastScrape"] for target in get(prometheus, "/api/v1/targets")["activeTargets"]]
    return scrapes + [group["lastEvaluation"] for group in get(prometheus, "/api/v1/rules")["groups"]]


def wait_for_progress(prometheus, since):
    """Waits until everything was scraped and evaluated after `since`."""
    while True:
        now = progress(prometheus)
        if now and all(time not in since and not time.startswith("0001-") for time in now):
            return now
        sleep(0.1)


def has_data(prometheus, query):
    samples = get(prometheus, "/api/v1/query", query=query)["result"]
    return any(not math.isnan(float(sample["value"][1])) for sample in samples)


def firing(prometheus):
    alerts = get(prometheus, "/api/v1/alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def main(prometheus):
    seen = wait_for_progress(prometheus, [])
    queries = [*dashboard_queries(), *rule_queries(prometheus)]
    assert len(queries) > 60, queries
    missing = queries
    for _ in range(SCRAPES):
        missing = [query for query in missing if not has_data(prometheus, query[1])]
        if not missing:
            break
        seen = wait_for_progress(prometheus, seen)
    for name, query in missing:
        print(f"FAILED  {name}: no data for {query}")
    if not missing:
        print(f"ok      {len(queries)} queries of dashboard, rules and alerts return data")
    # Of what can fire within minutes, nothing may: the load is small. A machine under load may well be late, so that is no failure.
    loud = firing(prometheus) - {"SluiceShardLate", "SluiceShardBusy", "SluiceOverloaded"}
    if loud:
        print(f"FAILED  alerts fire on a small load: {sorted(loud)}")
    unfinished = incomplete()
    if unfinished:
        print(f"FAILED  alerts without an entry in docs/troubleshooting.md or a test in rules.test.yml: {unfinished}")
    return bool(missing or loud or unfinished)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
