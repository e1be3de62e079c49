//! One run of a command: its streams, its flags, and the way to the API, opened when it is first needed.

use crate::cli::{DEFAULT_CONFIG, Global};
use crate::connect;
use crate::failure::Failure;
use crate::output::safe::safe;
use crate::store::Store;
use crate::version;
use std::io::{Read, Write};

/// Standard streams, or a test's.
pub struct Io<'a> {
    pub stdin: &'a mut dyn Read,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    /// Whether `out` is a terminal, which can be drawn on.
    pub is_terminal: bool,
}

/// A run of one command.
pub struct Session<'a> {
    pub io: Io<'a>,
    pub global: Global,
}

impl Session<'_> {
    /// Writes text to standard output, without what a terminal would obey.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.draw(&safe(text))
    }

    /// Writes text that steers the terminal on purpose.
    pub fn draw(&mut self, text: &str) -> Result<(), Failure> {
        self.io
            .out
            .write_all(text.as_bytes())
            .map_err(|e| Failure::new(format!("cannot write the output: {e}")))
    }

    /// The resources of the cluster, whose version must be this program's.
    pub async fn store(&self) -> Result<Store, Failure> {
        let store = self.store_of_any_version().await?;
        if !self.global.allow_version_mismatch {
            version::check(&store).await?;
        }
        Ok(store)
    }

    /// The resources of the cluster.
    pub async fn store_of_any_version(&self) -> Result<Store, Failure> {
        let global = &self.global;
        let is_default = global.config.as_os_str() == DEFAULT_CONFIG;
        let file = Some(global.config.as_path()).filter(|path| !is_default || path.exists());
        let client = connect::open(file, global.kubeconfig.as_deref(), global.context.as_deref()).await?;
        Ok(Store { client })
    }
}
