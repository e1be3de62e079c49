//! `tortie install`: the plugin and its network configuration, where a container runtime looks for them. The programs
//! first: the runtime calls them as soon as it sees the configuration.

use anyhow::Context;
use cni::durable;
use failpoint::failpoint;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Install the CNI plugin and its network configuration for the container runtime of this host.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the runtime looks for plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,

    /// Where the runtime looks for network configurations
    #[arg(long, env = "CNI_NET_DIR", value_name = "DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,

    /// File name of the network configuration
    #[arg(long, env = "CNI_CONF_NAME", value_name = "NAME", default_value = "10-calico.conflist")]
    cni_conf_name: String,

    /// The agent's socket, as in `tortie node`
    #[arg(long, value_name = "PATH", default_value = "/var/run/calico/agent.sock")]
    socket: PathBuf,

    /// The agent's state, as in `tortie node`
    #[arg(long, value_name = "DIR", default_value = "/var/lib/calico")]
    state_dir: PathBuf,

    /// Link to this program instead of copying it
    #[arg(long)]
    link: bool,
}

/// Installs, or says what is in the way.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let bin = &args.cni_bin_dir;
    fs::create_dir_all(bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let failed = |name: &str| format!("cannot install {}", bin.join(name).display());
    let plugin =
        if args.link { replace_link(bin, "calico", &program) } else { copy(&program, bin, "calico") };
    plugin.with_context(|| failed("calico"))?;
    replace_link(bin, "calico-ipam", Path::new("calico")).with_context(|| failed("calico-ipam"))?;

    let conf = args.cni_conf_dir.join(&args.cni_conf_name);
    let text = format!("{:#}\n", conflist(args, bin.join("portmap").exists()));
    let write = || {
        fs::create_dir_all(&args.cni_conf_dir)?;
        durable::replace(&args.cni_conf_dir, &args.cni_conf_name, text.as_bytes())?;
        durable::sync_directory(&args.cni_conf_dir)
    };
    write().with_context(|| format!("cannot write {}", conf.display()))?;
    println!("installed {} and {}", bin.join("calico").display(), conf.display());
    Ok(())
}

/// The default version is one that every runtime in use knows; newer ones choose from the list. Host ports are mapped by
/// the plugin `portmap` where the host has it.
fn conflist(args: &Args, portmap: bool) -> Value {
    let mut plugins = vec![json!({
        "type": "calico",
        "ipam": {"type": "calico-ipam"},
        "policy": {"type": "k8s"},
        "agent_socket": args.socket,
        "state_dir": args.state_dir,
    })];
    if portmap {
        plugins.push(json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}));
    }
    json!({
        "name": "k8s-pod-network",
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "plugins": plugins,
    })
}

/// Puts a copy under a name in one step: the runtime may be calling what was there before.
fn copy(program: &Path, directory: &Path, name: &str) -> io::Result<()> {
    let unfinished = directory.join(format!(".{name}{}", durable::UNFINISHED));
    let put = || {
        fs::copy(program, &unfinished)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o755))?;
        fs::File::open(&unfinished)?.sync_all()?;
        failpoint!("program: copied");
        fs::rename(&unfinished, directory.join(name))?;
        failpoint!("program: renamed");
        durable::sync_directory(directory)
    };
    put().inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

fn replace_link(directory: &Path, name: &str, target: &Path) -> io::Result<()> {
    let unfinished = directory.join(format!(".{name}{}", durable::UNFINISHED));
    durable::remove(directory, &format!(".{name}{}", durable::UNFINISHED))?;
    symlink(target, &unfinished)?;
    failpoint!("link: made");
    fs::rename(&unfinished, directory.join(name))?;
    failpoint!("link: renamed");
    durable::sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn an_installation_is_two_names_of_one_program_and_a_configuration() {
        let dir = TempDir::new().unwrap();
        let args = Args {
            cni_bin_dir: dir.path().join("bin"),
            cni_conf_dir: dir.path().join("net.d"),
            cni_conf_name: "10-calico.conflist".into(),
            socket: "/s".into(),
            state_dir: "/d".into(),
            link: false,
        };
        for _ in 0..2 {
            run(&args).unwrap();
        }
        let bin = &args.cni_bin_dir;
        assert_eq!(fs::metadata(bin.join("calico")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_link(bin.join("calico-ipam")).unwrap(), Path::new("calico"));
        assert_eq!(fs::read_dir(bin).unwrap().count(), 2, "nothing is left over");
        let text = fs::read(args.cni_conf_dir.join("10-calico.conflist")).unwrap();
        let conf: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&conf["cniVersion"], conf["plugins"].as_array().unwrap().len()), (&json!("1.0.0"), 1));
        assert_eq!(conf["plugins"][0]["agent_socket"], "/s");
        run(&Args { link: true, ..args.clone() }).unwrap();
        assert_eq!(fs::read_link(bin.join("calico")).unwrap(), std::env::current_exe().unwrap());
    }
}
