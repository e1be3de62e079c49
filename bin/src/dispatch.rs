//! Which of its roles the program plays, from its name, its arguments and `CNI_COMMAND`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The CNI plugin. Decided before anything else is started.
    Cni(cni::Plugin),
    /// `calicoctl`, with its own command line.
    Ctl(Vec<OsString>),
    /// One of the commands of `tortie`.
    Tortie,
}

/// Decides. `argv` begins with the program's name.
pub fn dispatch(argv: &[OsString], cni_command: Option<&OsStr>) -> Role {
    let name =
        argv.first().and_then(|name| Path::new(name).file_name()).and_then(OsStr::to_str).unwrap_or_default();
    let first = argv.get(1).and_then(|arg| arg.to_str());
    let runtime_calls = first.is_none() && cni_command.is_some_and(|command| !command.is_empty());
    match (name, first) {
        ("calicoctl" | "kubectl-calico", _) => Role::Ctl(argv.to_vec()),
        ("calico-ipam", None) => Role::Cni(cni::Plugin::Ipam),
        ("calico", None) => Role::Cni(cni::Plugin::Network),
        _ if runtime_calls => Role::Cni(cni::Plugin::Network),
        (_, Some("cni")) if argv.len() == 2 => Role::Cni(cni::Plugin::Network),
        (_, Some("ctl")) => {
            Role::Ctl(std::iter::once("calicoctl".into()).chain(argv[2..].iter().cloned()).collect())
        }
        _ => Role::Tortie,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_in_the_name_the_arguments_and_the_environment() {
        let cni = |plugin| Role::Cni(plugin);
        let ctl = |argv: &[&str]| Role::Ctl(argv.iter().map(OsString::from).collect());
        for (argv, cni_command, expected) in [
            (&["tortie"][..], None, Role::Tortie),
            (&["/usr/bin/tortie", "node"], None, Role::Tortie),
            (&["tortie", "lab", "exec", "a", "--", "ctl"], None, Role::Tortie),
            (&["tortie", "--help"], None, Role::Tortie),
            (&["tortie", "cni"], None, cni(cni::Plugin::Network)),
            (&["tortie", "cni"], Some("ADD"), cni(cni::Plugin::Network)),
            (&["tortie", "cni", "--help"], None, Role::Tortie),
            (&["tortie", "ctl", "get", "node"], None, ctl(&["calicoctl", "get", "node"])),
            (&["tortie", "ctl"], None, ctl(&["calicoctl"])),
            (&["/opt/cni/bin/calico"], Some("ADD"), cni(cni::Plugin::Network)),
            (&["/opt/cni/bin/calico-ipam"], Some("DEL"), cni(cni::Plugin::Ipam)),
            (&["calico"], None, cni(cni::Plugin::Network)),
            (&["calico-ipam"], None, cni(cni::Plugin::Ipam)),
            (&["calico", "node"], None, Role::Tortie),
            // A runtime gives no arguments: whoever has the variable in its environment by chance is not a plugin.
            (&["tortie", "node"], Some("ADD"), Role::Tortie),
            (&["calico", "lab", "up"], Some("ADD"), Role::Tortie),
            (&["/opt/cni/bin/tortie"], Some("ADD"), cni(cni::Plugin::Network)),
            (&["tortie"], Some(""), Role::Tortie),
            (&["calicoctl", "get", "node"], None, ctl(&["calicoctl", "get", "node"])),
            (&["/bin/calicoctl"], Some("ADD"), ctl(&["/bin/calicoctl"])),
            (&["kubectl-calico", "version"], None, ctl(&["kubectl-calico", "version"])),
            (&[], None, Role::Tortie),
        ] {
            let args: Vec<OsString> = argv.iter().map(OsString::from).collect();
            assert_eq!(dispatch(&args, cni_command.map(OsStr::new)), expected, "{argv:?} {cni_command:?}");
        }
    }
}
