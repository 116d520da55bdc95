"""Asks Prometheus every query of the dashboard, the recording rules and the alerts, until each has returned data, and fails where one does not.

Of an alert the sides of its comparisons are asked, since the alert itself must be silent here. A query that returns nothing but NaN has
returned no data. Usage: queries.py http://PROMETHEUS
"""

import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

DEPLOY = Path(__file__).parent.parent
# All series must be there by then: the slowest need a whole round of the load and two evaluations of a recording rule.
DEADLINE = 120


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


def undocumented():
    page = (DEPLOY.parent / "docs/troubleshooting.md").read_text()
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "prometheus/alert.rules.yml").read_text())
    return [alert for alert in alerts if f"\n### {alert}\n" not in page]


def get(prometheus, path, **parameters):
    with urllib.request.urlopen(f"{prometheus}{path}?{urllib.parse.urlencode(parameters)}") as answer:
        return json.load(answer)["data"]


def has_data(prometheus, query):
    samples = get(prometheus, "/api/v1/query", query=query)["result"]
    return any(not math.isnan(float(sample["value"][1])) for sample in samples)


def firing(prometheus):
    alerts = get(prometheus, "/api/v1/alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def main(prometheus):
    until = time.monotonic() + DEADLINE
    queries = [*dashboard_queries(), *rule_queries(prometheus)]
    assert len(queries) > 60, queries
    missing = queries
    while missing and time.monotonic() < until:
        missing = [query for query in missing if not has_data(prometheus, query[1])]
        time.sleep(1)
    for name, query in missing:
        print(f"FAILED  {name}: no data for {query}")
    if not missing:
        print(f"ok      {len(queries)} queries of dashboard, rules and alerts return data")
    # Of what can fire within minutes, nothing may: the load is small. A machine under load may well be late, so that is no failure.
    loud = firing(prometheus) - {"SluiceShardLate", "SluiceShardBusy"}
    if loud:
        print(f"FAILED  alerts fire on a small load: {sorted(loud)}")
    unexplained = undocumented()
    if unexplained:
        print(f"FAILED  alerts without an entry in docs/troubleshooting.md: {unexplained}")
    return bool(missing or loud or unexplained)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
