//! Documents that would be much work or much memory. A test binary of its own: what it measures is the whole process.

mod support;

use support::Cli;

/// A line of `/proc/self/status`, in KiB.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("Linux says so");
    value.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Lets the peak of memory begin at what is used now (proc(5), `clear_refs`), and says how much that is.
fn forget_the_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").expect("a process may forget its own");
    memory("VmRSS:")
}

/// A tenth of a second, by a program that is shipped; without optimisation it takes some five times as long.
const AT_ONCE: std::time::Duration =
    std::time::Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 100 });

#[tokio::test]
async fn s44_documents_that_are_bombs_are_refused_at_once() {
    let cli = Cli::of_kubeconfig("");
    let laughs = {
        let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for n in 1..12 {
            let before = format!("*a{}", n - 1);
            text += &format!("a{n}: &a{n} [{}]\n", vec![before; 9].join(", "));
        }
        text
    };
    for (name, text) in [
        ("aliases", laughs),
        ("deep lists", "[".repeat(100_000)),
        ("deep maps", "{a: ".repeat(100_000)),
        ("deep JSON", format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000))),
        ("deep blocks", (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("duplicate keys", "apiVersion: projectcalico.org/v3\nkind: IPPool\nkind: BGPPeer\n".to_owned()),
        ("too large", format!("a: {}\n", "x".repeat(17 << 20))),
    ] {
        std::fs::write(cli.path("bomb.yaml"), &text).expect("written");
        drop(text);
        let before = forget_the_peak();
        let mut took = std::time::Duration::MAX;
        for _ in 0..3 {
            let start = std::time::Instant::now();
            let output = cli.line(&format!("validate -f {}", cli.path("bomb.yaml"))).await;
            took = took.min(start.elapsed());
            assert_eq!(output.status, 1, "{name}: {output}");
            assert!(output.stderr.len() < 2_000, "{name}: a sentence, not the document");
        }
        let peak = memory("VmHWM:") - before;
        println!("{name}: {took:?}, {peak} KiB");
        assert!(took < AT_ONCE, "{name}: {took:?}");
        assert!(peak < 50 << 10, "{name}: {peak} KiB");
    }
}
