//! Processes of a test: they end with it.

use std::io::{Error, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Starts it, with its standard output kept for [`Guard::finish`].
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Guard {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Guard(child.unwrap_or_else(|e| panic!("{command:?} cannot start: {e}")))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it ends by itself; what it printed and how it ended.
    ///
    /// # Panics
    /// If it runs longer than `deadline`.
    pub fn finish(mut self, deadline: Duration) -> (String, ExitStatus) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                break status;
            }
            assert!(start.elapsed() < deadline, "process {} does not end", self.0.id());
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut text = String::new();
        let stdout = self.0.stdout.take().expect("piped");
        std::io::BufReader::new(stdout).read_to_string(&mut text).expect("text");
        (text, status)
    }

    /// Kills it now.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
