//! `node checksystem`: whether this machine's kernel can run a node, and which modes and drivers it has. Nothing is concluded
//! from its configuration or its modules: what an agent would write is written, in network namespaces that are gone afterwards.

use crate::failure::Failure;
use crate::output::safe::safe;
use crate::session::Session;
use derive::example::{article_with_pod, pool_mode};
use derive::{Uplink, World};
use kernel::PodNs;
use model::IfName;
use model::v3::EncapMode;
use netlink::{NetnsError, probe};
use std::fmt;
use std::path::Path;

/// A kernel's version, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// For direct routing and VXLAN.
const OLDEST: Version = Version(5, 15);
/// For IPIP by our filters: the oldest under which `./dev test distro` has run.
const OLDEST_WITH_STAND_IN: Version = Version(6, 1);

/// What was tried, and what is in its way.
struct Trial {
    what: &'static str,
    /// No node runs without it.
    needed: bool,
    outcome: Result<(), String>,
}

/// Tries the kernel out and says what it has.
pub fn run(session: &mut Session<'_>, kernel_config: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = kernel_config {
        let text = format!("{} is not read: this kernel itself is tried out\n", path.display());
        // Nobody is left to tell if the stream is closed.
        let _ = session.io.err.write_all(safe(&text).as_bytes());
    }
    let (text, is_met) = check()?;
    session.print(&text)?;
    if is_met {
        Ok(())
    } else {
        Err(Failure::new("system doesn't meet one or more minimum systems requirements to run Calico"))
    }
}

/// What is said of this kernel, and whether a node can run here.
pub fn check() -> Result<(String, bool), Failure> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let trials = trials().map_err(|error| {
        Failure::new(format!("cannot try this kernel out: {error}; run this command as root"))
    })?;
    Ok(report(release.trim(), &trials))
}

fn trials() -> Result<Vec<Trial>, NetnsError> {
    let direct = takes(pool_mode(article_with_pod(POD), EncapMode::Never))?;
    let vxlan = takes(pool_mode(article_with_pod(POD), EncapMode::Always))?;
    let module = if probe::has_ipip()? { Ok(()) } else { Err("the kernel lacks the module ipip".to_owned()) };
    let stand_in = probe::takes_stand_in()?.map_err(|error| error.to_string());
    let passwords = probe::signs_tcp().map_err(|error| error.to_string());
    let trial = |what, needed, outcome| Trial { what, needed, outcome };
    Ok(vec![
        trial("pods, rules, direct", true, direct),
        trial("VXLAN", false, vxlan),
        trial("IPIP (kernel)", false, module),
        trial("IPIP (stand-in)", false, stand_in),
        trial("BGP passwords", false, passwords),
    ])
}

const POD: PodNs = PodNs(1);

/// Whether the kernel takes all that an agent would write for `world`.
fn takes(world: World) -> Result<Result<(), String>, NetnsError> {
    let uplink = world.uplink.map(|uplink| Uplink { device: IfName::fixed("lo"), ..uplink });
    let wanted = derive::derive(&World { uplink, ..world });
    Ok(probe::takes(&wanted, POD)?.map_err(|(key, error)| format!("the kernel refuses {key}: {error}")))
}

/// The text, and whether a node can run here.
fn report(release: &str, trials: &[Trial]) -> (String, bool) {
    let line = |what: &str, outcome: &str| format!("\t\t{what:<20}\t\t\t\t\t{outcome}\n");
    let is_new = version(release).is_none_or(|version| version >= OLDEST);
    let verdict = if is_new { "OK" } else { "too old" };
    let mut text = format!("Checking kernel version...\n{}", line(release, verdict));
    text += "Checking what the kernel takes...\n";
    for trial in trials {
        text += &match &trial.outcome {
            Ok(()) => line(trial.what, "OK"),
            Err(why) => line(trial.what, &format!("missing: {why}")),
        };
    }
    text += &format!(
        "VXLAN and direct routing need Linux {OLDEST}; IPIP without the kernel's module was seen working from Linux {OLDEST_WITH_STAND_IN} on.\n"
    );
    let is_met = is_new && trials.iter().all(|trial| !trial.needed || trial.outcome.is_ok());
    if is_met {
        text += "System meets minimum system requirements to run Calico!\n";
    }
    (text, is_met)
}

/// The first two numbers of a release (uname(2)). `None`: it says them in another way, and is not judged by them.
fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn tried(vxlan: Result<(), String>, direct: Result<(), String>) -> Vec<Trial> {
        vec![
            Trial { what: "pods, rules, direct", needed: true, outcome: direct },
            Trial { what: "VXLAN", needed: false, outcome: vxlan },
        ]
    }

    #[test]
    fn each_mode_and_both_oldest_kernels_are_said() {
        let refused =
            || Err("the kernel refuses link vxlan.calico: Operation not supported (errno 95)".into());
        let (text, is_met) = report("6.18.44-fc-v669", &tried(refused(), Ok(())));
        assert!(is_met);
        assert_snapshot!(text.replace('\t', "»"), @"
        Checking kernel version...
        »»6.18.44-fc-v669     »»»»»OK
        Checking what the kernel takes...
        »»pods, rules, direct »»»»»OK
        »»VXLAN               »»»»»missing: the kernel refuses link vxlan.calico: Operation not supported (errno 95)
        VXLAN and direct routing need Linux 5.15; IPIP without the kernel's module was seen working from Linux 6.1 on.
        System meets minimum system requirements to run Calico!
        ");
        assert!(!report("6.18.44", &tried(Ok(()), refused())).1);
        assert!(!report("5.4.0-150-generic", &tried(Ok(()), Ok(()))).1);
    }

    #[test]
    fn a_release_is_compared_by_its_first_two_numbers() {
        for (release, found) in [
            ("6.18.44-fc-v669", Some(Version(6, 18))),
            ("5.15-rc1", Some(Version(5, 15))),
            ("5.4.0", Some(Version(5, 4))),
            ("custom", None),
        ] {
            assert_eq!(version(release), found, "{release}");
        }
        assert!(Version(6, 1) > OLDEST && Version(5, 4) < OLDEST);
    }

    #[test]
    fn this_kernel_takes_what_an_agent_writes() {
        let trials = trials().expect("the tests run as root");
        let of = |what| trials.iter().find(|trial| trial.what == what).expect("it was tried").outcome.clone();
        assert_eq!((of("pods, rules, direct"), of("VXLAN"), of("BGP passwords")), (Ok(()), Ok(()), Ok(())));
        let ipip = [of("IPIP (kernel)"), of("IPIP (stand-in)")];
        assert!(ipip.iter().any(Result::is_ok), "{ipip:?}");
    }
}
