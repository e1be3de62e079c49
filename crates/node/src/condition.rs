//! The conditions of our Node, by Kubernetes' conventions: what is wrong is `True`, and what was never wrong is not said.

use crate::node::Node;
use derive::Why;
use model::k8s::{self, Condition};

/// That this node cannot have the mode of some pool. Calico has none like it.
const POOL_MODE_UNAVAILABLE: &str = "PoolModeUnavailable";

/// What is wrong with a node by the conditions that agents write.
pub fn troubles(node: &k8s::Node) -> Vec<Condition> {
    let ours = |said: &&Condition| said.condition_type == POOL_MODE_UNAVAILABLE && said.status == "True";
    node.status.conditions.iter().filter(ours).cloned().collect()
}

impl Node {
    /// The first condition that `own` does not say as it should, and whether its status turns.
    pub(crate) fn wrong_condition(&self, own: &k8s::Node) -> Option<(Condition, bool)> {
        let said = |wanted: &Condition| {
            own.status.conditions.iter().find(|said| said.condition_type == wanted.condition_type)
        };
        let modes = self.pool_modes();
        let modes = (modes.status == "True" || said(&modes).is_some()).then_some(modes);
        let mut wanted = self.ready.then(network_is_up).into_iter().chain(modes);
        let wrong = wanted.find(|wanted| said(wanted) != Some(wanted))?;
        let turned = said(&wrong).is_none_or(|said| said.status != wrong.status);
        Some((wrong, turned))
    }

    /// Conditions that say that something is wrong.
    pub(crate) fn troubles(&self) -> Vec<Condition> {
        [self.pool_modes()].into_iter().filter(|condition| condition.status == "True").collect()
    }

    /// Whether there are pools whose modes this node cannot have.
    fn pool_modes(&self) -> Condition {
        let lacks = derive::lacks(&self.world);
        let (status, reason) = match lacks.first() {
            None => ("False", "EveryModeAvailable"),
            Some(Why::IpipIsIpv4 { .. }) => ("True", "IPIPIsIPv4"),
            Some(_) => ("True", "NoIPIPDriver"),
        };
        let message = if lacks.is_empty() {
            "this node can have the mode of every IPPool".to_owned()
        } else {
            let lacks: Vec<String> = lacks.iter().map(Why::to_string).collect();
            format!("{}; what works meanwhile is kept as it is", lacks.join("; "))
        };
        condition(POOL_MODE_UNAVAILABLE, status, reason, message)
    }
}

/// What lets the scheduler place pods here, in Calico's words. It is never taken back: the kernel keeps forwarding without us.
fn network_is_up() -> Condition {
    condition("NetworkUnavailable", "False", "CalicoIsUp", "Calico is running on this node".into())
}

fn condition(condition_type: &str, status: &str, reason: &str, message: String) -> Condition {
    let [condition_type, status, reason] = [condition_type, status, reason].map(str::to_owned);
    Condition { condition_type, status, reason, message }
}
