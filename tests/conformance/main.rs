//! RFC 6455: Autobahn's own cases against our framing, by the runner kosoku (`deploy/setup.sh conformance` installs it).
//! All but compression, which we do not offer. What may be other than OK is in `expected.txt`, each with its reason.
//!
//! The report, for a browser, is `target/conformance/index.html`.

mod echo;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

const RUNNER: &str = ".tools/bin/kosoku";
const REPORT: &str = "target/conformance";
/// So many cases there are without compression: a run of fewer proves less than it says.
const CASES: usize = 301;

/// What the runner says of each case: of its messages and of how it closed, as in `OK OK`.
fn verdicts(report: &Value) -> BTreeMap<String, String> {
    let agents = report.as_object().expect("agents");
    let cases = agents.values().flat_map(|cases| cases.as_object().expect("cases"));
    let said = |case: &Value, field: &str| case[field].as_str().expect("a verdict").to_owned();
    cases
        .map(|(id, case)| (id.clone(), format!("{} {}", said(case, "behavior"), said(case, "behaviorClose"))))
        .collect()
}

/// `expected.txt`: a case, its two verdicts, then why.
fn expected(list: &str) -> BTreeMap<&str, String> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut word =
                || words.next().unwrap_or_else(|| panic!("expected.txt: {line:?} needs case, verdicts, why"));
            let (case, verdict) = (word(), format!("{} {}", word(), word()));
            word();
            (case, verdict)
        })
        .collect()
}

/// A line for each case that is not as expected.
fn surprises(verdicts: &BTreeMap<String, String>, expected: &BTreeMap<&str, String>) -> Vec<String> {
    let ok = "OK OK".to_owned();
    let wanted = |case: &str| expected.get(case).unwrap_or(&ok);
    let wrong = verdicts.iter().filter(|(case, said)| *said != wanted(case));
    let wrong = wrong.map(|(case, said)| format!("case {case}: {said}, not {}", wanted(case)));
    let unknown = expected.keys().filter(|case| !verdicts.contains_key(**case));
    wrong.chain(unknown.map(|case| format!("case {case}: is in expected.txt, but was not run"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn autobahns_cases_pass() {
    assert!(Path::new(RUNNER).exists(), "{RUNNER} is missing: run deploy/setup.sh conformance");
    let stop = CancellationToken::new();
    let address = echo::start(stop.clone()).await.to_string();
    let _ = std::fs::remove_dir_all(REPORT);
    let run = move || {
        let options = ["-m", "fuzzingclient", &address, "-x", "12.*", "-x", "13.*", "-o", REPORT];
        Command::new(RUNNER).args(options).output().expect("runs")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    stop.cancel();
    let said = String::from_utf8_lossy(&output.stderr);
    let report = std::fs::read(Path::new(REPORT).join("index.json"))
        .unwrap_or_else(|error| panic!("the runner wrote no report: {error}; it said: {said}"));
    let verdicts = verdicts(&serde_json::from_slice(&report).expect("JSON"));
    let surprises = surprises(&verdicts, &expected(include_str!("expected.txt")));
    assert!(surprises.is_empty(), "{REPORT}/index.html has the details:\n{}", surprises.join("\n"));
    assert_eq!(verdicts.len(), CASES, "cases were run; the runner said: {said}");
}

#[test]
fn what_is_not_as_expected_is_named() {
    let verdicts = |all: &[(&str, &str)]| all.iter().map(|(case, said)| ((*case).into(), (*said).into())).collect();
    let list = "# a remark\n\n6.4.3 NON-STRICT OK late\n";
    let run = verdicts(&[("1.1.1", "OK OK"), ("6.4.3", "NON-STRICT OK")]);
    assert_eq!(surprises(&run, &expected(list)), Vec::<String>::new());
    let run = verdicts(&[("1.1.1", "FAILED OK")]);
    let named = ["case 1.1.1: FAILED OK, not OK OK", "case 6.4.3: is in expected.txt, but was not run"];
    assert_eq!(surprises(&run, &expected(list)), named);
    let run = verdicts(&[("6.4.3", "OK OK")]);
    assert_eq!(surprises(&run, &expected(list)), ["case 6.4.3: OK OK, not NON-STRICT OK"]);
}
