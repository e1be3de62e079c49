//! The simulator's kernel is as the real one: both pass the same cases.

use kernel::{ApplyError, Key, PodNs, Step, Value};
use netlink::Writer;
use testkit::netns::Netns;
use testkit::sim::conformance::kernel::{ADDRESS, CASES, Kernel, UPLINK};

struct Real(Writer);

impl Kernel for Real {
    fn apply(&mut self, step: &Step) -> Result<(), ApplyError> {
        let [outcome] = &self.0.apply(std::slice::from_ref(step))[..] else { panic!("one key, one outcome") };
        outcome.result.clone()
    }

    fn found(&mut self, key: &Key) -> Option<Value> {
        let settings: Vec<String> = match key {
            Key::Sysctl(key) => vec![key.path.clone()],
            _ => Vec::new(),
        };
        self.0.dump(key.netns(), &settings).expect("it is open").expect("the kernel answers").remove(key)
    }
}

#[test]
fn the_kernel_passes_every_case_of_the_simulators_fake() {
    for (name, case) in CASES {
        println!("{name}");
        let (host, pod) = (Netns::new(), Netns::new());
        host.run(&format!(
            "ip link add {UPLINK} type veth peer name far && ip link set far up && ip link set {UPLINK} up && \
             ip addr add {ADDRESS} dev {UPLINK}"
        ));
        host.inside(|| {
            let mut writer = Writer::open().expect("a netlink socket");
            let pod = netlink::Netns::open(pod.path()).expect("the pod's namespace");
            writer.open_pod(PodNs(1), pod).expect("a socket in the pod's namespace");
            case(&mut Real(writer));
        });
    }
}
