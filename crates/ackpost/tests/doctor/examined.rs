//! Output of the doctor.

use serde_json::Value;

use crate::support::Program;

/// One diagnosis.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) code: i32,
    pub(crate) report: Value,
}

/// Runs the doctor on one URL.
pub(crate) fn examine(args: &[&str]) -> Examined {
    let mut all = vec!["--json", "doctor"];
    all.extend(args);
    let ran = Program::new().run(&all);
    assert!(
        !ran.all().contains(crate::support::SEED),
        "the seed is shown: {}",
        ran.all()
    );
    let line = ran
        .stdout
        .lines()
        .next()
        .unwrap_or_else(|| panic!("no report: {}", ran.all()));
    let report = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", ran.all()));
    Examined {
        code: ran.code,
        report,
    }
}

/// The names of all steps, in order.
pub(crate) fn names(report: &Value) -> Vec<&str> {
    let all = report["steps"].as_array().expect("steps");
    all.iter().filter_map(|step| step["name"].as_str()).collect()
}

/// The names of the steps that ended so.
pub(crate) fn steps<'r>(report: &'r Value, status: &str) -> Vec<&'r str> {
    let all = report["steps"].as_array().expect("steps");
    all.iter()
        .filter(|step| step["status"] == status)
        .filter_map(|step| step["name"].as_str())
        .collect()
}

/// The report names this step and no other, with a remedy; gives the report for further questions.
pub(crate) fn fails_at(step: &str, url: &str) -> Value {
    fails_with(step, &[url])
}

/// The same with further words on the command line.
pub(crate) fn fails_with(step: &str, args: &[&str]) -> Value {
    let Examined { code, report } = examine(args);
    assert_ne!(code, 0, "{step}: {report:#}");
    assert_eq!(report["ok"], false, "{report:#}");
    assert_eq!(steps(&report, "fail"), [step], "{report:#}");
    let failed = report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|one| one["status"] == "fail");
    let remedy = failed.and_then(|one| one["remedy"].as_str()).unwrap_or_default();
    assert!(remedy.len() > 5, "no remedy: {report:#}");
    report
}

/// Nothing is in the way: exit code 0.
pub(crate) fn is_free(args: &[&str]) -> Value {
    let Examined { code, report } = examine(args);
    assert_eq!(code, 0, "{report:#}");
    assert!(steps(&report, "fail").is_empty(), "{report:#}");
    report
}
