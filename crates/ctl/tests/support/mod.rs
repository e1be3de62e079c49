//! A command line whose streams and API server are the test's: what it printed comes back as one text.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod differing;
mod objects;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
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
    /// A server and the folder of its data, which outlives it.
    server: Option<(apiserver::Server, tempfile::TempDir)>,
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
        cli.server = Some((server, data));
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
        // Behind the command, so that a flag at the end that lacks its argument still lacks it.
        let has_own = args.iter().any(|arg| arg == "-c" || arg.starts_with("--config"));
        if !has_own && args.first().is_some_and(|arg| !arg.starts_with('-')) {
            argv.splice(2..2, ["--kubeconfig".into(), self.path("kubeconfig").into()]);
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let io = ctl::Io { stdin: &mut stdin.as_bytes(), out: &mut out, err: &mut err, is_terminal: false };
        let status = ctl::execute(&argv, io).await;
        let text = |bytes| String::from_utf8(bytes).expect("text").replace(&self.path(""), "");
        Output { status, stdout: text(out), stderr: text(err) }
    }

    /// Runs `calicoctl` with arguments that name files of this test as if it were started among them.
    pub async fn run_here(&self, args: &[String], stdin: &str) -> Output {
        let is_here = |name: &str| !name.is_empty() && std::path::Path::new(&self.path(name)).exists();
        let here = |arg: &String| match arg.split_once('=') {
            _ if is_here(arg) => self.path(arg),
            Some((flag, name)) if is_here(name) => format!("{flag}={}", self.path(name)),
            _ => arg.clone(),
        };
        self.run_with(&args.iter().map(here).collect::<Vec<_>>(), stdin).await
    }

    /// An agent on the socket `agent.sock` of this test, which answers one question.
    pub fn agent(&self, answer: serde_json::Value) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(self.path("agent.sock")).expect("a socket");
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).expect("a question");
            assert_eq!(question, "\"status\"\n");
            writeln!(&stream, "{answer}").expect("answered");
        })
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
    pub stdin: String,
    pub exit: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Recorded {
    /// Reads a recording: lines `# command:` and `# exit:`, then both streams. Records of field owners are taken out; behind
    /// `<<<` stands what the command read, with `\\n` for the end of a line.
    pub fn read(path: &str) -> Recorded {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let head = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
            line.unwrap_or_else(|| panic!("{path}: no {key}")).to_owned()
        };
        let (_, streams) = text.split_once("--- stdout\n").expect("a recording has an output");
        let (stdout, stderr) = streams.split_once("--- stderr").expect("a recording has errors");
        let command = head("command");
        let command = command.strip_prefix("calicoctl ").expect("a command of calicoctl");
        let (command, stdin) = command.split_once(" <<< ").unwrap_or((command, ""));
        Recorded {
            args: words(command),
            stdin: stdin.replace("\\n", "\n"),
            exit: head("exit").parse().expect("a number"),
            stdout: without_field_owners(stdout),
            stderr: stderr.trim_start_matches('\n').to_owned(),
        }
    }
}

/// Fields of metadata that each store fills in its own way.
pub const OWN: [&str; 4] = ["uid", "resourceVersion", "creationTimestamp", "generation"];

/// A document without the lines that each store fills in its own way.
pub fn without_own(text: &str) -> String {
    let is_own = |line: &&str| {
        let key = line.trim_start().split(':').next().unwrap_or_default().trim_matches('"');
        !OWN.contains(&key)
    };
    // Without the line that follows, a comma has nothing to part.
    let line = |line: &str| format!("{}\n", line.strip_suffix(',').unwrap_or(line));
    text.lines().filter(is_own).map(line).collect()
}

/// The entries of a `differences.txt`, each with the subject under which `docs/compatibility.md` speaks of it.
pub fn differences(folder: &str) -> Vec<(String, String)> {
    let documented = include_str!("../../../../docs/compatibility.md");
    let subjects: Vec<&str> = documented.lines().filter_map(|line| line.split(" | ").next()).collect();
    let text = std::fs::read_to_string(format!("{folder}/differences.txt")).expect("the differences");
    let mut subject = None;
    let mut entries = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            assert!(subjects.contains(&&*format!("| {name}")), "{name} is not in docs/compatibility.md");
            subject = Some(name);
        } else {
            let subject = subject.expect("an entry stands under its subject");
            entries.push((line.to_owned(), subject.to_owned()));
        }
    }
    entries
}

/// A few of the lines at which two texts part.
pub fn first_lines_apart(ours: &str, theirs: &str) -> String {
    let pairs = ours.lines().map(Some).chain(std::iter::repeat(None));
    let pairs = pairs.zip(theirs.lines().map(Some).chain(std::iter::repeat(None)));
    let apart = pairs.take_while(|(ours, theirs)| ours.is_some() || theirs.is_some());
    let apart = apart.filter(|(ours, theirs)| ours != theirs).take(4);
    let none = "(nothing)";
    apart
        .map(|(ours, theirs)| {
            format!("  ours:   {}\n  theirs: {}\n", ours.unwrap_or(none), theirs.unwrap_or(none))
        })
        .collect()
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

/// A recorded command with the files that it read.
pub struct Alone {
    command: String,
    files: Vec<(String, String)>,
    stdin: String,
    exit: u8,
    stdout: String,
    stderr: String,
}

impl Alone {
    /// Reads `golden/alone/<name>.txt`: parts that begin with `## command:`, `## input <file>:`, `## stdin:`, `## exit:`,
    /// `## stdout:` and `## stderr:`.
    pub fn read(name: &str) -> Alone {
        let path = format!("{}/tests/golden/alone/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut alone = Alone {
            command: String::new(),
            files: Vec::new(),
            stdin: String::new(),
            exit: 0,
            stdout: String::new(),
            stderr: String::new(),
        };
        // An output without a line end at its end stands on one line with what follows.
        let text = text.replace("## stderr:", "\n## stderr:");
        for part in format!("\n{text}").split("\n## ").skip(1) {
            let (head, body) = part.split_once('\n').unwrap_or((part, ""));
            let body = if body.is_empty() { String::new() } else { format!("{body}\n") };
            let (key, value) = head.split_once(':').expect("a part has a name");
            match key.split_once(' ').map_or((key, ""), |(key, rest)| (key, rest)) {
                ("command", _) => alone.command = value.trim().to_owned(),
                ("exit", _) => alone.exit = value.trim().parse().expect("a number"),
                ("input", file) => alone.files.push((file.to_owned(), body)),
                ("stdin", _) => alone.stdin = body,
                ("stdout", _) => alone.stdout = body,
                ("stderr", _) => alone.stderr = body.trim_end_matches('\n').to_owned(),
                other => panic!("{path}: unknown part {other:?}"),
            }
        }
        alone
    }

    /// Leaves lines that begin so out of what was recorded.
    pub fn without_lines(mut self, begin: &str) -> Alone {
        for text in [&mut self.stdout, &mut self.stderr] {
            *text = text
                .lines()
                .filter(|line| !line.starts_with(begin))
                .map(|line| format!("{line}\n"))
                .collect();
        }
        self
    }

    /// Runs the command with `flags` behind it; how the two differ, if they do.
    pub async fn differs(&self, cli: &Cli, flags: &[String]) -> Option<String> {
        for (file, text) in &self.files {
            cli.file(file, text);
        }
        let command = self.command.split(" < ").next().expect("a command");
        let command = command.strip_prefix("calicoctl").expect("a command of calicoctl").trim();
        let mut args: Vec<String> = arguments(command)
            .into_iter()
            .map(|word| if self.files.iter().any(|(file, _)| *file == word) { cli.path(&word) } else { word })
            .collect();
        args.extend_from_slice(flags);
        let got = cli.run_with(&args, &self.stdin).await;
        let said = |text: &str| without_own(&without_versions(&without_causes(text))).trim_end().to_owned();
        let ours = (got.status, said(&got.stdout), said(&got.stderr));
        let theirs = (self.exit, said(&self.stdout), said(&self.stderr));
        let all = |(exit, out, err): &(u8, String, String)| format!("exit {exit}\n{out}\n{err}");
        (ours != theirs).then(|| first_lines_apart(&all(&ours), &all(&theirs)))
    }
}

/// The text without the lines in which a client names its own version.
fn without_versions(text: &str) -> String {
    let is_own = |line: &&str| line.starts_with("Client Version:") || line.starts_with("Git commit:");
    text.lines().filter(|line| !is_own(line)).map(|line| format!("{line}\n")).collect()
}

/// The words of a recorded command: a patch or template is one word, though the recording has no quotes.
fn arguments(command: &str) -> Vec<String> {
    for mark in [" go-template=", " {"] {
        if let Some((before, last)) = command.split_once(mark) {
            let mut words: Vec<String> = before.split_whitespace().map(str::to_owned).collect();
            words.push(format!("{}{last}", mark.trim_start()));
            return words;
        }
    }
    command.split_whitespace().map(str::to_owned).collect()
}

/// The text with what stands behind `with error:` left out of each line.
fn without_causes(text: &str) -> String {
    let line = |line: &str| match line.split_once("with error: ") {
        Some((before, cause)) => {
            format!("{before}with error: …{}\n", if cause.ends_with(']') { "]" } else { "" })
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

impl Cli {
    /// A client of the API as others have it.
    async fn client(&self) -> datastore::Client {
        datastore::Client::from_kubeconfig(self.path("kubeconfig").as_ref()).await.expect("a client")
    }

    /// Creates a Kubernetes object, as somebody else would.
    pub async fn create(&self, kind: &str, mut object: serde_json::Value) {
        let resource = datastore::Resource::of_kind(kind).expect("a kind");
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = kind.into();
        let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        self.client().await.create_json(resource, namespace.as_deref(), &object).await.expect("created");
    }

    /// Merges a change into an object without a namespace, as somebody else would.
    pub async fn merge(&self, kind: &str, name: &str, change: &serde_json::Value) {
        self.merge_part(kind, name, None, change).await;
    }

    /// Merges a change into a part of an object, `status` say.
    pub async fn merge_part(&self, kind: &str, name: &str, part: Option<&str>, change: &serde_json::Value) {
        let resource = datastore::Resource::of_kind(kind).expect("a kind");
        let client = self.client().await;
        client.patch_json(resource, None, name, part, datastore::Patch::Merge, change).await.expect("merged");
    }
}
