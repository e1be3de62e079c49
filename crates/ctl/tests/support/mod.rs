//! A command line whose streams and API server are the test's: what it printed comes back as one text.

#![allow(dead_code, reason = "each test file uses its part")]

mod objects;

use std::ffi::OsString;
use std::path::PathBuf;

/// What a command printed, and its exit status.
pub struct Output {
    pub status: u8,
    pub stdout: String,
    pub stderr: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output { status, stdout, stderr } = self;
        write!(f, "exit: {status}\n----- stdout -----\n{stdout}----- stderr -----\n{stderr}")
    }
}

/// A command line against one server.
pub struct Cli {
    folder: tempfile::TempDir,
    server: Option<apiserver::Server>,
}

impl Cli {
    /// Against a server that shows the objects of a folder and takes no writes.
    pub async fn of_objects(folder: &str) -> Cli {
        let url = objects::serve(PathBuf::from(folder).join("api")).await;
        Cli::of_kubeconfig(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"{url}\"}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
        ))
    }

    /// Against an embedded API server with nothing in it.
    pub async fn empty() -> Cli {
        let data = tempfile::tempdir().expect("a folder");
        let config =
            apiserver::Config::new("127.0.0.1:0".parse().expect("an address"), data.path().join("data"));
        let server = apiserver::Server::start(config).await.expect("a server");
        let mut cli = Cli::of_kubeconfig(&server.admin_kubeconfig());
        cli.server = Some(server);
        cli
    }

    /// Against whatever a kubeconfig leads to.
    pub fn of_kubeconfig(text: &str) -> Cli {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kubeconfig"), text).expect("written");
        Cli { folder, server: None }
    }

    /// The path of a file of this test.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a line of words; `'…'` holds words together.
    pub async fn line(&self, line: &str) -> Output {
        self.run(&words(line)).await
    }

    /// Runs `calicoctl` with these arguments.
    pub async fn run(&self, args: &[String]) -> Output {
        self.run_with(args, "").await
    }

    /// Runs `calicoctl` with these arguments and this standard input.
    pub async fn run_with(&self, args: &[String], stdin: &str) -> Output {
        let mut argv: Vec<OsString> = vec!["calicoctl".into()];
        argv.extend(args.iter().map(OsString::from));
        argv.extend(["--kubeconfig".into(), self.path("kubeconfig").into()]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let io = ctl::Io { stdin: &mut stdin.as_bytes(), out: &mut out, err: &mut err };
        let status = ctl::execute(&argv, io).await;
        let text = |bytes| String::from_utf8(bytes).expect("text").replace(&self.path(""), "");
        Output { status, stdout: text(out), stderr: text(err) }
    }

    /// Writes a file of this test and says where it is.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// A recorded command.
pub struct Recorded {
    pub args: Vec<String>,
    pub exit: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Recorded {
    /// Reads a recording: lines `# command:` and `# exit:`, then both streams. Records of field owners are taken out.
    pub fn read(path: &str) -> Recorded {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let head = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
            line.unwrap_or_else(|| panic!("{path}: no {key}")).to_owned()
        };
        let (_, streams) = text.split_once("--- stdout\n").expect("a recording has an output");
        let (stdout, stderr) = streams.split_once("--- stderr").expect("a recording has errors");
        Recorded {
            args: words(head("command").strip_prefix("calicoctl ").expect("a command of calicoctl")),
            exit: head("exit").parse().expect("a number"),
            stdout: without_field_owners(stdout),
            stderr: stderr.trim_start_matches('\n').to_owned(),
        }
    }
}

/// The text without `managedFields` and what is indented below it.
fn without_field_owners(text: &str) -> String {
    let mut inside: Option<usize> = None;
    let mut kept = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        inside = inside.filter(|&at| indent > at || (indent == at && line.trim_start().starts_with("- ")));
        if line.trim_start() == "managedFields:" {
            inside = Some(indent);
        }
        if inside.is_none() {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}
