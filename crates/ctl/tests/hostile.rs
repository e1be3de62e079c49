//! Hostile text, wherever a user, a peer or another administrator may have put it: no command passes on to a terminal what it
//! would obey.

mod support;

use clap::CommandFactory;
use serde_json::{Value, json};
use support::{Cli, Output};

/// What a text may hold that a terminal or a reader of logs would obey.
fn hostile() -> Vec<String> {
    let sequences = [
        "\x1b[2J",
        "\x1b]0;owned\x07",
        "\x1b]8;;http://evil\x1b\\",
        "\u{9b}31m",
        "\rroot",
        "\x08\x7f",
        "\u{202e}txt",
        "\u{2066}a\u{2069}",
    ];
    let frames = ["", "a", "a b", "ä", "a: b"];
    frames.iter().flat_map(|frame| sequences.iter().map(move |s| format!("{frame}{s}"))).collect()
}

/// # Panics
/// If a terminal would obey what was printed.
fn harmless(output: &Output, what: &str) {
    let obeyed = |c: char| {
        c != '\n'
            && c != '\t'
            && (c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c))
    };
    let text = output.to_string();
    assert!(!text.contains(obeyed), "{what:?} in {text:?}");
}

/// A status whose words are a peer's.
fn said_by_an_agent(text: &str) -> Value {
    let session =
        json!({"address": "10.0.2.4", "type": "NodeMesh", "state": "down", "since": 0, "info": text});
    let bgp = json!({"asn": 64512, "routerID": "10.0.2.15", "v4": [session], "complaints": [text]});
    json!({"status": {"node": "n1", "ready": true, "bgp": bgp}})
}

#[tokio::test]
async fn s43_no_command_passes_on_what_a_terminal_would_obey() {
    let cli = Cli::empty().await;
    let texts = hostile();
    let spec = json!({
        "cidr": "10.244.0.0/30", "affinity": "host:n1", "strictAffinity": false, "allocations": [0, null, null, null],
        "unallocated": [1, 2, 3], "attributes": [{"handle_id": texts.concat(), "secondary": {"node": texts.concat(), "pod": texts.concat()}}],
        "sequenceNumber": 1, "sequenceNumberForAllocation": {},
    });
    cli.create("IPAMBlock", json!({"metadata": {"name": "10-244-0-0-30"}, "spec": spec})).await;
    assert_eq!(texts.len(), 40);
    for text in &texts {
        let pool = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool",
            "metadata": {"name": "p", "annotations": {"note": text}}, "spec": {"cidr": "10.244.0.0/16"}});
        let applied = |text: String| {
            let cli = &cli;
            async move { cli.run_with(&["apply".into(), "-f".into(), "-".into()], &text).await }
        };
        // What YAML does not take as it is, it takes spelt out.
        let spelt = |c: char| match c {
            '\0'..'\u{7f}' => c.to_string(),
            _ => format!("\\u{:04x}", u32::from(c)),
        };
        let made = applied(pool.to_string().chars().map(spelt).collect()).await;
        assert_eq!(made.status, 0, "{made}");
        let mut outputs = vec![made];
        for line in [
            "get ippool p -o yaml",
            "get ippool p -o json",
            "get ippool p -o wide",
            "status",
            "ipam check --show-all-ips",
            "get ippool p -o go-template={{.metadata.annotations.note}}",
        ] {
            outputs.push(cli.line(line).await);
        }
        let answering = cli.agent(said_by_an_agent(text));
        outputs.push(cli.line(&format!("node status --agent-socket {}", cli.path("agent.sock"))).await);
        answering.join().expect("answered");
        std::fs::remove_file(cli.path("agent.sock")).expect("the socket");
        for words in [
            ["get", "ippool", text.as_str()],
            ["get", text.as_str(), "p"],
            ["ipam", "show", text.as_str()],
            ["mode", "plan", text.as_str()],
            [text.as_str(), "a", "b"],
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            outputs.push(cli.run_with(&words, "").await);
        }
        for word in [format!("{text}=a"), format!("a={text}")] {
            let words = ["label", "ippool", "p", &word].map(str::to_owned);
            outputs.push(cli.run_with(&words, "").await);
        }
        outputs.push(applied(json!({"apiVersion": text, "kind": text}).to_string()).await);
        outputs.iter().for_each(|output| harmless(output, text));
        let json: Value = serde_json::from_str(&cli.line("get ippool p -o json").await.stdout).expect("JSON");
        assert_eq!(json["metadata"]["annotations"]["note"], text.as_str(), "JSON says the same as before");
        cli.line("delete ippool p").await;
    }
}

/// A command, from its first word on, with what may be typed behind it.
struct Typed {
    words: Vec<String>,
    /// How many words without a flag.
    positionals: usize,
    /// Flags that take a word.
    flags: Vec<String>,
}

/// Every command of the command line.
fn all_commands() -> Vec<Typed> {
    fn walk(command: &clap::Command, words: &[String], all: &mut Vec<Typed>) {
        let mut inside = command.get_subcommands().filter(|inside| inside.get_name() != "help").peekable();
        if inside.peek().is_none() {
            let takes = |arg: &&clap::Arg| arg.get_action().takes_values();
            let flags = command.get_opts().filter(takes).filter_map(|arg| arg.get_long());
            all.push(Typed {
                words: words.to_vec(),
                positionals: command.get_positionals().filter(takes).count(),
                flags: flags.map(str::to_owned).collect(),
            });
        }
        for inside in inside {
            walk(inside, &[words, &[inside.get_name().to_owned()]].concat(), all);
        }
    }
    let mut root = ctl::Args::command();
    root.build();
    let mut all = Vec::new();
    walk(&root, &[], &mut all);
    all
}

#[tokio::test]
async fn s43_no_command_says_again_what_was_typed_as_a_terminal_would_obey_it() {
    let cli = Cli::empty().await;
    let (texts, commands) = (hostile(), all_commands());
    assert!(commands.len() > 20, "{} commands", commands.len());
    let all = texts.concat();
    let mut runs = 0;
    for Typed { words, positionals, flags } in commands {
        let with = |more: &[String]| [&words[..], more].concat();
        let mut lines: Vec<Vec<String>> = Vec::new();
        // Where a command takes words: each of the forty, as every one of them and behind one that it may know.
        if positionals > 0 {
            lines.extend(texts.iter().map(|text| with(&vec![text.clone(); positionals])));
            lines.push(with(&["ippool".to_owned(), all.clone()]));
        }
        // What writes a file writes it where it goes with the test.
        let folder = |flag: &str| {
            let elsewhere = flag != "output-dir" && flags.iter().any(|flag| flag == "output-dir");
            elsewhere.then(|| format!("--output-dir={}", cli.path("")))
        };
        lines.extend(flags.iter().map(|flag| {
            let known = vec!["ippool".to_owned(); positionals];
            let typed = [format!("--{flag}={all}")].into_iter().chain(folder(flag)).collect();
            with(&[known, typed].concat())
        }));
        // A word too many, and a flag that there is not.
        lines.push(with(&vec![all.clone(); positionals + 2]));
        lines.push(with(&[format!("--{all}")]));
        for line in lines {
            harmless(&cli.run_with(&line, "").await, &format!("{line:?}"));
            runs += 1;
        }
    }
    println!("{runs} runs");
}

#[tokio::test]
async fn s43_no_kind_is_shown_as_a_terminal_would_obey_it() {
    let cli = Cli::empty().await;
    let all = hostile().concat();
    let mut shown = Vec::new();
    for line in include_str!("../../model/tests/fixtures/calico-objects.jsonl").lines() {
        let mut object: Value = serde_json::from_str(line).expect("JSON");
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        if object["apiVersion"] == "crd.projectcalico.org/v1" || shown.contains(&kind) {
            continue;
        }
        object["metadata"]["annotations"]["note"] = json!(all);
        object["metadata"]["resourceVersion"] = json!("");
        if let Some(namespace) = object["metadata"]["namespace"].as_str().filter(|name| *name != "default") {
            cli.create("Namespace", json!({"metadata": {"name": namespace}})).await;
        }
        cli.create(&kind, object).await;
        shown.push(kind);
    }
    assert!(shown.len() > 20, "{shown:?}");
    for kind in shown.iter().map(String::as_str).chain(["WorkloadEndpoint", "Profile"]) {
        for output in [
            "-o ps",
            "-o wide",
            "-o yaml",
            "-o json",
            "-o name",
            "-o custom-columns=NAME,ANNOTATIONS",
            "-o go-template={{range.}}{{range.Items}}{{.ObjectMeta.Annotations.note}}{{end}}{{end}}",
            "-A -o yaml --export",
        ] {
            let line = format!("get {kind} {output}");
            let got = cli.line(&line).await;
            harmless(&got, &line);
            if output == "-o json"
                && got.status == 0
                && !["Node", "WorkloadEndpoint", "Profile"].contains(&kind)
            {
                assert!(got.stdout.contains("\\u001b[2J"), "{line}: {got}");
            }
        }
    }
}
