//! What is declared is what Prometheus sees.

use super::*;

const DONE: Metric = Metric {
    name: "pulse_done_total",
    doc: "Things done.",
};
const LEFT: Metric = Metric {
    name: "pulse_left",
    doc: "Things left.",
};

#[test]
fn what_is_declared_is_what_prometheus_sees() {
    let metrics = Metrics::of_process();
    metrics.counter(&DONE).inc_by(3);
    metrics.gauge(&LEFT).set(-2);
    let labelled: Family<Vec<(String, String)>, Counter> = metrics.counters(&Metric {
        name: "pulse_by_tenant_total",
        doc: "Things by tenant.",
    });
    labelled
        .get_or_create(&vec![("tenant".into(), "acme".into())])
        .inc();
    let text = metrics.encode();
    for line in [
        "# HELP pulse_done Things done.",
        "pulse_done_total 3",
        "pulse_left -2",
        r#"pulse_by_tenant_total{tenant="acme"} 1"#,
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    for metric in process::METRICS {
        let value = text.lines().find_map(|line| line.strip_prefix(metric.name));
        let value: f64 = value
            .unwrap_or_else(|| panic!("{text}"))
            .trim()
            .parse()
            .unwrap();
        assert!(value > 0.0, "{} is {value}", metric.name);
    }
}

#[test]
fn every_metric_is_well_formed_and_unique() {
    let mut seen = std::collections::HashSet::new();
    for (_, metrics) in table() {
        for metric in metrics {
            assert!(metric.doc.ends_with('.'), "{}", metric.name);
            assert!(seen.insert(metric.name), "{} is listed twice", metric.name);
        }
    }
}

#[test]
fn faults_in_the_log_settings() {
    let mut env = Environment::of([("PULSE_LOG", "pulse=loud"), ("PULSE_LOG_FORMAT", "xml")]);
    let config = LogConfig::read(&mut env);
    assert_eq!(env.finish(config).unwrap_err().faults.len(), 2);
}

#[test]
fn a_collector_is_an_address_or_absent() {
    let check = |endpoint: &str, expect: Result<Option<&str>, &str>| {
        let mut env = Environment::of([("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
        let config = LogConfig::read(&mut env);
        let read = env.finish(config).map(|config| config.collector);
        let read = read.map_err(|error| error.faults[0].name);
        assert_eq!(
            read.as_ref().map(Option::as_deref).map_err(|name| *name),
            expect,
            "{endpoint}"
        );
    };
    check("", Ok(None));
    check("http://collector:4318/", Ok(Some("http://collector:4318")));
    check("https://collector/otlp", Ok(Some("https://collector/otlp")));
    for wrong in [
        "collector:4318",
        "http://",
        "http://a b",
        "http://me:word@collector",
    ] {
        check(wrong, Err("OTEL_EXPORTER_OTLP_ENDPOINT"));
    }
}
