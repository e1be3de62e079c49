//! A process that stands still while others go on.

use crate::Lab;
use std::io;
use std::process::Command;

/// A process of the lab that gets no time until this is dropped.
pub struct Halted(u32);

impl Lab {
    /// Halts a resident process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn halt(&self, process: &str) -> Halted {
        let pid = self.pid(process);
        signal(pid, "STOP").unwrap_or_else(|e| panic!("{process} cannot be halted: {e}"));
        Halted(pid)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // Who was killed meanwhile needs no time.
        let _ = signal(self.0, "CONT");
    }
}

fn signal(pid: u32, name: &str) -> io::Result<()> {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill ends with {status}"))) }
}
