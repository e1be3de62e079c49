//! The log: a line on stderr for each event. Others' texts in it neither steer a terminal nor look like a line of their own.

use std::io::{self, Write};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// What is logged where `TORTIE_LOG` does not say otherwise (`debug`, `agent=debug,info`, …).
const LOGGED: &str = "info,kube_client=warn,hyper=warn,tower=warn,rustls=warn";

/// Begins to log.
pub fn to_stderr() {
    let said = std::env::var("TORTIE_LOG").ok().filter(|text| !text.is_empty());
    let filter = said.and_then(|text| text.parse().ok());
    let filter: Targets = filter.unwrap_or_else(|| LOGGED.parse().expect("levels by target, with commas"));
    tracing_subscriber::registry().with(lines(io::stderr)).with(filter).init();
}

fn lines<W: Write>(to: impl Fn() -> W + Send + Sync + 'static) -> impl Layer<Registry> {
    fmt::layer().compact().with_target(false).with_writer(Lines(to))
}

/// Makes a `Line` for each event.
struct Lines<F>(F);

impl<'a, W: Write, F: Fn() -> W> MakeWriter<'a> for Lines<F> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line((self.0)())
    }
}

/// Takes an event whole, as `fmt` hands it over, and writes it as one line that a terminal does not obey.
struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\\n");
        self.0.write_all(format!("{}\n", ctl::safe(&line)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no holder panics").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn s43_a_line_of_the_log_is_one_line_that_no_terminal_obeys() {
        let buffer = Buffer::default();
        let to = buffer.clone();
        let subscriber = tracing_subscriber::registry().with(lines(move || to.clone()));
        let text = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}txt\rroot\nERROR all is lost";
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(peer = text, error = ?text, "{text}");
            tracing::error!("ä");
        });
        let written = String::from_utf8(buffer.0.lock().expect("no holder panics").clone()).expect("text");
        assert_eq!(written.lines().count(), 2, "{written:?}");
        assert_eq!(written, ctl::safe(&written), "nothing is left to spell out");
        assert!(written.contains("\\u202etxt") && written.ends_with("ä\n"), "{written:?}");
    }
}
