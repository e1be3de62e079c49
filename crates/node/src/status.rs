//! What the node says of itself: the answer of `tortie ctl status` and of the agent's socket, put together from what its parts
//! know.

use crate::life::handle;
use crate::node::Node;
use crate::socket::{NodeStatus, PathStatus};

impl Node {
    /// What this node says of itself.
    pub fn status(&self) -> NodeStatus {
        let paths = derive::paths(&self.world).filter(|(_, _, path)| *path != derive::Path::Local);
        let mut problems: Vec<String> = self.cluster.problems().chain(self.datapath.problems()).collect();
        problems.extend(self.identity.problem.clone());
        problems.extend(self.speech.problem.clone());
        problems.extend(self.refused_paths());
        let conditions = self.troubles();
        problems.extend(conditions.iter().map(|condition| condition.message.clone()));
        problems.extend(derive::kept(&self.world));
        problems.extend(self.held_problems());
        let impostors = self.impostors();
        problems.extend(impostors.iter().map(ToString::to_string));
        let lost = self.lives.iter().filter(|(_, life)| life.out_of_reach);
        problems.extend(lost.map(|(id, _)| format!("{}: {}", handle(id), crate::adopt::OUT_OF_REACH)));
        NodeStatus {
            node: self.config.node.clone(),
            ready: self.ready,
            waiting_for: self.cluster.waiting_for(),
            uplink: self.world.uplink.as_ref().map(|uplink| uplink.device.to_string()),
            ipip: self.config.ipip,
            accepts: self.world.carried.clone(),
            paths: paths
                .map(|(dst, owner, path)| PathStatus {
                    block: dst.to_string(),
                    node: owner.to_owned(),
                    path: path.to_string(),
                    gateway: path.gateway(),
                    interface: path.device(&self.world).map(|device| device.to_string()),
                })
                .collect(),
            endpoints: self.world.endpoints.len(),
            conditions,
            problems,
            impostors,
            repairs: self.datapath.repairs().to_vec(),
            repairs_total: self.datapath.repairs_total(),
            mtu: derive::mtu::pod(&self.world).0,
            bgp: None,
        }
    }
}
