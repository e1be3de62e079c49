//! `CNI_*` variables (specification §2 "Parameters").

use crate::error::Error;
use model::IfName;
use model::dns::is_subdomain;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

/// Longest container id: with the network's name and the interface's it makes a file's name.
const MAX_CONTAINER_ID: usize = 100;

/// `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

/// What the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    pub verb: Verb,
    /// Empty where the verb needs none.
    pub container_id: String,
    pub interface: Option<IfName>,
    /// `None`: not given or empty.
    pub netns: Option<String>,
    pub args: Args,
}

/// What of `CNI_ARGS` is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub pod_namespace: Option<String>,
    pub pod_name: Option<String>,
    pub pod_uid: Option<String>,
    /// `IP`: addresses that are asked for.
    pub addresses: Vec<IpAddr>,
}

impl Verb {
    fn parse(text: &str) -> Result<Verb, Error> {
        Ok(match text {
            "ADD" => Verb::Add,
            "DEL" => Verb::Del,
            "CHECK" => Verb::Check,
            "STATUS" => Verb::Status,
            "GC" => Verb::Gc,
            "VERSION" => Verb::Version,
            _ => return Err(Error::UnknownCommand(text.to_owned())),
        })
    }

    /// Whether it is about one attachment.
    pub(crate) fn is_of_an_attachment(self) -> bool {
        matches!(self, Verb::Add | Verb::Del | Verb::Check)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Status => "STATUS",
            Verb::Gc => "GC",
            Verb::Version => "VERSION",
        })
    }
}

impl Environment {
    /// `None` without `CNI_COMMAND`: no runtime calls.
    pub fn read(env: &impl Fn(&str) -> Option<OsString>) -> Result<Option<Environment>, Error> {
        let get = |name: &'static str| match env(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(_)) => Err(Error::NotUtf8(name)),
        };
        let Some(command) = get("CNI_COMMAND")? else { return Ok(None) };
        let verb = Verb::parse(&command)?;
        let (container_id, netns, interface) =
            (get("CNI_CONTAINERID")?, get("CNI_NETNS")?, get("CNI_IFNAME")?);
        let attachment = verb.is_of_an_attachment();
        let needed = [
            ("CNI_CONTAINERID", attachment && container_id.is_none()),
            ("CNI_NETNS", matches!(verb, Verb::Add | Verb::Check) && netns.is_none()),
            ("CNI_IFNAME", attachment && interface.is_none()),
        ];
        let missing: Vec<_> =
            needed.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect();
        if !missing.is_empty() {
            return Err(Error::MissingVariables(missing));
        }
        if !attachment {
            let (container_id, interface, netns) = (String::new(), None, None);
            return Ok(Some(Environment { verb, container_id, interface, netns, args: Args::default() }));
        }
        let container_id = container_id.unwrap_or_default();
        if !is_identifier(&container_id) || container_id.len() > MAX_CONTAINER_ID {
            return Err(Error::ContainerId(container_id));
        }
        let interface = interface.map(|text| pod_interface(&text)).transpose()?;
        let args = Args::parse(&get("CNI_ARGS")?.unwrap_or_default())?;
        Ok(Some(Environment { verb, container_id, interface, netns, args }))
    }
}

fn pod_interface(text: &str) -> Result<IfName, Error> {
    let interface: IfName = text.parse().map_err(Error::Interface)?;
    if text == "lo" || text.chars().any(char::is_control) {
        return Err(Error::PodInterface(text.to_owned()));
    }
    Ok(interface)
}

/// An alphanumeric character, then such, `_`, `.` and `-` (specification §2, of container ids and network names).
pub(crate) fn is_identifier(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && text.bytes().all(inner)
}

/// A name of Kubernetes (RFC 1123): it goes into requests and answers as it is.
fn dns_name(key: &'static str, text: Option<String>) -> Result<Option<String>, Error> {
    match text {
        Some(text) if !is_subdomain(&text) => Err(Error::ArgsName { key, text }),
        text => Ok(text),
    }
}

impl Args {
    /// Reads `KEY=VALUE;…`. Keys of others are passed over, whether or not `IgnoreUnknown` says so: runtimes send more
    /// than any plugin knows, and Calico's reads them so too.
    fn parse(text: &str) -> Result<Args, Error> {
        let mut args = Args::default();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| Error::ArgsPair(pair.to_owned()))?;
            let text = Some(value.to_owned()).filter(|value| !value.is_empty());
            match key {
                "K8S_POD_NAMESPACE" => args.pod_namespace = dns_name("K8S_POD_NAMESPACE", text)?,
                "K8S_POD_NAME" => args.pod_name = dns_name("K8S_POD_NAME", text)?,
                "K8S_POD_UID" => args.pod_uid = dns_name("K8S_POD_UID", text)?,
                "IP" => args.addresses = addresses(value)?,
                _ => {}
            }
        }
        Ok(args)
    }
}

/// One address or several with commas between; a prefix length is passed over.
fn addresses(text: &str) -> Result<Vec<IpAddr>, Error> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let addr = part.split_once('/').map_or(part, |(addr, _)| addr);
            addr.parse().map_err(|_| Error::ArgsAddress(part.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Option<Environment>, Error> {
        Environment::read(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
    }

    #[test]
    fn each_verb_needs_its_variables_only() {
        let missing = |verb| match read(&[("CNI_COMMAND", verb)]) {
            Err(Error::MissingVariables(names)) => names.join(","),
            other => format!("{}", other.is_ok()),
        };
        assert_eq!(missing("ADD"), "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME");
        assert_eq!(missing("CHECK"), "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME");
        assert_eq!(missing("DEL"), "CNI_CONTAINERID,CNI_IFNAME");
        for verb in ["STATUS", "GC", "VERSION"] {
            assert_eq!(missing(verb), "true", "{verb}");
        }
    }

    #[test]
    fn s35_a_hostile_environment_is_refused_with_the_specifications_code() {
        let long = "x".repeat(10 << 10);
        let hostile = [
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "a\\b",
            ".",
            "-a",
            "_a",
            " ",
            "a b",
            "a\nb",
            "a\tb",
            "a\0b",
            "\x1b[2J",
            "a;b",
            "a=b",
            "a@b",
            "%2e%2e",
            "ä",
            "\u{202e}a",
            "$(id)",
            "`id`",
            "a'b",
            "a\"b",
            "*",
            &long,
        ];
        let mut rows = 0;
        for verb in ["ADD", "DEL", "CHECK"] {
            for bad in hostile {
                let good = |name: &'static str, value: &str| (name, value.to_owned());
                let mut environments = vec![vec![good("CNI_CONTAINERID", bad), good("CNI_IFNAME", "eth0")]];
                environments.push(vec![good("CNI_CONTAINERID", "abc"), good("CNI_IFNAME", bad)]);
                for args in [
                    format!("K8S_POD_NAME={bad}"),
                    format!("K8S_POD_NAMESPACE={bad}"),
                    format!("K8S_POD_NAMESPACE=a;K8S_POD_NAME={bad}"),
                    format!("K8S_POD_UID={bad}"),
                    format!("IP={bad}"),
                ] {
                    let args = ("CNI_ARGS", args);
                    environments.push(vec![good("CNI_CONTAINERID", "abc"), good("CNI_IFNAME", "eth0"), args]);
                }
                for (place, mut vars) in environments.into_iter().enumerate() {
                    vars.extend([good("CNI_COMMAND", verb), good("CNI_NETNS", "/run/netns/a")]);
                    let vars: Vec<(&str, &str)> =
                        vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    rows += 1;
                    match read(&vars) {
                        // Some are good in some places: a wildcard is no name, an underscore is a good interface.
                        Ok(read) => {
                            let read = read.expect("there is a command");
                            assert!(is_identifier(&read.container_id), "{bad:?}");
                            let interface = read.interface.expect("it is needed");
                            assert!(
                                !interface.as_str().contains(|c: char| c == '/' || c.is_control()),
                                "{bad:?}"
                            );
                            let named = [read.args.pod_name, read.args.pod_namespace, read.args.pod_uid];
                            for name in named.into_iter().flatten() {
                                assert!(is_subdomain(&name), "{place}: {bad:?} is taken as {name:?}");
                            }
                        }
                        Err(error) => assert!(matches!(error.code(), 4 | 7), "{place}: {bad:?}: {error}"),
                    }
                }
            }
        }
        assert!(rows >= 500, "{rows}");
        for interface in ["lo", "abcdefghijklmnop", "a/b", "a:b", ".."] {
            let vars = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "a"), ("CNI_IFNAME", interface)];
            assert!(read(&vars).is_err(), "{interface}");
        }
    }

    #[test]
    fn args_of_others_are_passed_over() {
        let args = Args::parse("IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;X=1=2;IP=6.2.0.1/16");
        let args = args.expect("good args");
        assert_eq!((args.pod_namespace.as_deref(), args.pod_name.as_deref()), (Some("a"), Some("b")));
        assert_eq!(args.addresses, ["6.2.0.1".parse::<IpAddr>().expect("an address")]);
        assert!(matches!(Args::parse("FOO"), Err(Error::ArgsPair(pair)) if pair == "FOO"));
        assert!(matches!(Args::parse("IP=x"), Err(Error::ArgsAddress(text)) if text == "x"));
    }

    #[test]
    fn container_ids_are_identifiers_of_bounded_length() {
        let with = |id: &str| {
            read(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", id), ("CNI_IFNAME", "eth0")]).is_ok()
        };
        assert!(with("a") && with("0_.-Z") && with(&"f".repeat(64)));
        for bad in ["-a", "../x", "a/b", "ä", "a b", &"f".repeat(101)] {
            assert!(!with(bad), "{bad}");
        }
    }
}
