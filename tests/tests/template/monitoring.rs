//! The alarms, the dashboard and the saved queries watch what the runbook says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{Operation, operations, repository};

use super::{PERMISSIONS, resource_prefix, yaml};

/// Returns a part of what the template should watch.
fn expected(part: &str) -> BTreeMap<String, Value> {
    let all: Value = serde_saphyr::from_str(include_str!("monitoring.yaml")).expect("YAML");
    serde_json::from_value(all[part].clone()).expect("an object")
}

/// Returns the words of a text in the order of the alphabet, each once.
fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns a value that is text.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn each_alarm_watches_what_the_runbook_says() {
    let yaml = yaml();
    let page = repository::text("docs/operating.md");
    let mut expected = expected("alarms");
    for (name, resource) in yaml["Resources"].as_object().expect("resources") {
        if resource["Type"] != "AWS::CloudWatch::Alarm" {
            continue;
        }
        let alarm = &resource["Properties"];
        let actions = json!(["HasAlarmEmail", ["AlarmTopic"], "AWS::NoValue"]);
        for (property, value) in [
            ("ComparisonOperator", json!("GreaterThanThreshold")),
            ("TreatMissingData", json!("notBreaching")),
            ("AlarmActions", actions.clone()),
            ("OKActions", actions),
        ] {
            assert_eq!(alarm[property], value, "{name}: {property}");
        }
        if let Some(section) = text(&alarm["AlarmDescription"]).split('"').nth(1) {
            assert!(
                page.contains(&format!("\n## {section}\n")),
                "{name}: {section}"
            );
        }
        // The other functions' alarms are compared with this one's.
        if name == "GetVersionErrorsAlarm" || !name.ends_with("VersionErrorsAlarm") {
            assert_eq!(
                expected.remove(name),
                Some(watched(name, resource)),
                "{name}"
            );
        }
    }
    assert!(expected.is_empty(), "{expected:?}");
    for Operation {
        function,
        path,
        executable,
        ..
    } in operations()
    {
        let metrics = |name: &str| yaml["Resources"][name]["Properties"]["Metrics"].to_string();
        let assert_watched = |name: &str, times: usize| {
            let count = metrics(name).matches(&format!("\"{function}\"")).count();
            assert_eq!(count, times, "template.yaml: {name} watches {function}");
        };
        assert_watched("FunctionErrorsAlarm", 1);
        let one_user = path.contains("{id}") || executable == "post";
        assert_watched("LatencyAlarm", usize::from(one_user));
    }
}

/// Returns what an alarm watches, in the form of monitoring.yaml.
fn watched(name: &str, resource: &Value) -> Value {
    let alarm = &resource["Properties"];
    let mut watched = json!({
        "fires": [
            alarm["EvaluationPeriods"],
            alarm.get("DatapointsToAlarm").unwrap_or(&alarm["EvaluationPeriods"]),
            alarm["Threshold"],
        ],
    });
    let of_all = |metric: &Value| text(&metric["Expression"]).contains("METRICS()");
    let mut metrics = BTreeSet::new();
    if let Some(all) = alarm["Metrics"].as_array() {
        let ids: BTreeSet<_> = all.iter().map(|metric| text(&metric["Id"])).collect();
        assert_eq!(ids.len(), all.len(), "template.yaml: {name} repeats an Id");
        watched["expression"] = all[0]["Expression"].clone();
        for metric in &all[1..] {
            assert_eq!(metric["ReturnData"], false, "{metric}");
            let stat = &metric["MetricStat"];
            let described = describe(&stat["Metric"], &stat["Stat"], &stat["Period"]);
            metrics.insert(if of_all(&all[0]) {
                let (metric, _) = described.rsplit_once('=').expect("a dimension");
                format!("* {metric}=*")
            } else {
                format!("{} {described}", text(&metric["Id"]))
            });
        }
    } else {
        metrics.insert(describe(alarm, &alarm["Statistic"], &alarm["Period"]));
    }
    watched["metrics"] = json!(metrics);
    if let Some(condition) = resource.get("Condition") {
        watched["condition"] = condition.clone();
    }
    watched
}

/// Describes a metric: where it is, its name, its statistic, the seconds of a period, and whose it
/// is.
fn describe(metric: &Value, statistic: &Value, period: &Value) -> String {
    let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
    let mut dimensions: Vec<_> = dimensions
        .map(|dimension| {
            format!(
                " {}={}",
                text(&dimension["Name"]),
                text(&dimension["Value"])
            )
        })
        .collect();
    dimensions.sort();
    let [namespace, name] = ["Namespace", "MetricName"].map(|member| text(&metric[member]));
    format!(
        "{namespace} {name} {} {period}{}",
        text(statistic),
        dimensions.concat()
    )
}

#[test]
fn the_dashboard_shows_each_function_and_the_index() {
    let yaml = yaml();
    let dashboard = &yaml["Resources"]["Dashboard"]["Properties"]["DashboardBody"][0];
    let dashboard: Value = serde_json::from_str(text(dashboard)).expect("DashboardBody is JSON");
    let mut expected = expected("widgets");
    let mut shown = BTreeMap::new();
    for widget in dashboard["widgets"].as_array().expect("widgets") {
        let properties = &widget["properties"];
        let title = text(&properties["title"]);
        if widget["type"] == "alarm" {
            let alarms = ["ApiErrors", "Latency", "FunctionErrors", "Concurrency"];
            assert_eq!(
                properties["alarms"],
                json!(alarms.map(|name| format!("${{{name}Alarm.Arn}}")))
            );
            continue;
        }
        // CloudWatch charges for a query over logs at each refresh.
        assert_eq!(widget["type"], "metric", "{title}");
        assert_eq!(properties["region"], "${AWS::Region}", "{title}");
        assert_eq!(properties["period"], 60, "{title}");
        let rows = properties["metrics"].as_array().expect("rows");
        let own = |row: &'_ Value| row.as_array().and_then(|row| row.last()).cloned();
        let of_rows: Vec<_> = rows
            .iter()
            .filter_map(own)
            .map(|last| last["stat"].clone())
            .collect();
        let statistics = of_rows.iter().chain([&properties["stat"]]).map(text);
        let names = rows
            .iter()
            .filter(|row| row[0] != "...")
            .map(|row| text(&row[1]));
        let described = json!([
            sorted(statistics.filter(|name| !name.is_empty())),
            sorted(names)
        ]);
        assert_eq!(expected.remove(title), Some(described), "{title}");
        shown.insert(title.to_owned(), widget.to_string());
    }
    assert!(expected.is_empty(), "{expected:?}");

    let assert_shown = |title: &str, source: &str, times: usize| {
        let count = shown[title].matches(source).count();
        assert_eq!(
            count, times,
            "template.yaml: Dashboard, widget '{title}', shows {source}"
        );
    };
    for Operation { function, .. } in operations() {
        for title in [
            "Function errors",
            "Function throttles",
            "Function duration, p99 (ms)",
            "Concurrent executions",
        ] {
            assert_shown(title, &format!("\"${{{function}}}\""), 1);
        }
    }
    let api = r#""ApiName","user-profile-api${NameSuffix}","Stage","${StageName}""#;
    assert_shown("Requests", api, 1);
    assert_shown("Latency (ms)", api, 1);
    assert_shown("Cold starts", r#""user-profiles${NameSuffix}""#, 1);
    for action in PERMISSIONS.iter().flat_map(|(_, actions)| *actions) {
        let operation = format!("\"{}\"", action.trim_start_matches("dynamodb:"));
        assert_shown("DynamoDB latency, average (ms)", &operation, 1);
    }
    for (title, metrics) in [
        ("Consumed units", 2),
        ("Throttled reads by cause", 3),
        ("Throttled writes by cause", 3),
    ] {
        assert_shown(title, "\"${Table}\"", 2 * metrics);
        assert_shown(
            title,
            "\"GlobalSecondaryIndexName\",\"email-index\"",
            metrics,
        );
    }
}

#[test]
fn each_saved_query_reads_all_functions_or_the_access_log() {
    let yaml = yaml();
    let mut expected = expected("queries");
    let all: BTreeSet<_> = operations()
        .iter()
        .map(|operation| format!("{}Logs", resource_prefix(&operation.executable)))
        .collect();
    let access = BTreeSet::from(["ApiAccessLogs".to_owned()]);
    for (name, query) in yaml["Resources"].as_object().expect("resources") {
        if query["Type"] == "AWS::Logs::QueryDefinition" {
            let groups = query["Properties"]["LogGroupNames"].clone();
            let groups: BTreeSet<String> = serde_json::from_value(groups).expect("names");
            let is_complete = groups == all || groups == access;
            assert!(
                is_complete,
                "template.yaml: {name}'s LogGroupNames: {groups:?}"
            );
            let query = text(&query["Properties"]["QueryString"]);
            for part in expected
                .remove(name)
                .iter()
                .filter_map(|parts| parts.as_array())
                .flatten()
            {
                assert!(query.contains(text(part)), "{name} lacks {part}");
            }
        }
    }
    assert!(expected.is_empty(), "{expected:?}");
}
