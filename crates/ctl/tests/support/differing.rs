//! Recorded commands that are typed again, and what differs from the recording.

use super::{Cli, Recorded, differences, first_lines_apart};
use std::collections::BTreeSet;

/// What differs from the recordings of a folder, by the name of the recording.
pub struct Differing {
    folder: &'static str,
    found: Vec<(String, String)>,
    replayed: BTreeSet<String>,
}

impl Differing {
    pub fn of(folder: &'static str) -> Differing {
        Differing { folder, found: Vec::new(), replayed: BTreeSet::new() }
    }

    /// Runs a recorded command; `shown` takes out of both outputs what is not compared. `/tmp` is the test's own folder.
    pub async fn replay(&mut self, cli: &Cli, name: &str, shown: impl Fn(&str) -> String) {
        let recorded = Recorded::read(&format!("{}/{name}.txt", self.folder));
        let args: Vec<String> = recorded.args.iter().map(|arg| arg.replace("/tmp/", &cli.path(""))).collect();
        let got = cli.run_with(&args, &recorded.stdin).await;
        let said =
            |text: &str| text.replace("crd.projectcalico.org", "projectcalico.org").trim_end().to_owned();
        let ours = (got.status, shown(&got.stdout), said(&got.stderr));
        let theirs = (recorded.exit, shown(&recorded.stdout), said(&without_warnings(&recorded.stderr)));
        if ours != theirs {
            let all = |(exit, out, err): (u8, String, String)| format!("exit {exit}\n{err}\n{out}");
            let how = format!("{name}\n{}", first_lines_apart(&all(ours), &all(theirs)));
            self.found.push((name.to_owned(), how));
        }
        self.replayed.insert(name.to_owned());
    }

    /// Nothing differs but what is listed, and all of that does.
    pub fn judge(self) {
        let listed: BTreeSet<String> = differences(self.folder).into_iter().map(|(name, _)| name).collect();
        let of_these: BTreeSet<&str> =
            listed.iter().map(String::as_str).filter(|name| self.replayed.contains(*name)).collect();
        let differing: BTreeSet<&str> = self.found.iter().map(|(name, _)| name.as_str()).collect();
        let wrong: Vec<&str> = self
            .found
            .iter()
            .filter(|(name, _)| !listed.contains(name))
            .map(|(_, how)| how.as_str())
            .collect();
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(differing, of_these, "these do not differ any more");
    }
}

/// Without what the client of Kubernetes' API says of fields that the schemas of `crd.projectcalico.org/v1` lack.
fn without_warnings(text: &str) -> String {
    text.lines().filter(|line| !line.contains(" warnings.go:")).map(|line| format!("{line}\n")).collect()
}

/// A list without its version, which grew from one command to the next.
pub fn without_list_version(text: &str) -> String {
    let mut lines: Vec<&str> = text.trim_end().lines().collect();
    let is_list = lines.iter().any(|line| line.trim().trim_matches('"').starts_with("items"));
    let at = |line: &&str| {
        ["  resourceVersion", "    \"resourceVersion\""].iter().any(|key| line.starts_with(key))
    };
    if is_list && let Some(version) = lines.iter().position(at) {
        lines.remove(version);
    }
    lines.join("\n")
}
