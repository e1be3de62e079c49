//! `mode`: what another mode of a pool would change, node by node, and the change itself, watched until it is done.
//!
//! What a node would do is asked of `derive`, on the world that the agent there would see ([`node::seen_from`]): there is no
//! second opinion here.

mod apply;
mod plan;

use crate::cli::{Mode, ModeApplyArgs, ModePlanArgs, ModeTarget};
use crate::failure::Failure;
use crate::ipam::all;
use crate::output::{json, yaml};
use crate::session::Session;
use crate::store::Store;
use derive::Modes;
use model::k8s;
use model::store::Object;
use model::v3::{self, EncapMode};
use plan::Plan;
use serde_json::Value;
use std::collections::BTreeSet;

/// Runs a command of `mode`.
pub async fn run(session: &mut Session<'_>, command: &Mode) -> Result<(), Failure> {
    match command {
        Mode::Plan(args) => show(session, args).await,
        Mode::Apply(args) => change(session, args).await,
    }
}

async fn show(session: &mut Session<'_>, args: &ModePlanArgs) -> Result<(), Failure> {
    let render: fn(&Plan) -> String = match args.output.as_str() {
        "table" => Plan::table,
        "json" => |plan| json::render(&plan.document()) + "\n",
        "yaml" => |plan| yaml::render(&plan.document()),
        other => {
            return Err(Failure::new(format!(
                "unrecognized output format '{other}': use table, json or yaml"
            )));
        }
    };
    let store = session.store().await?;
    let plan = Plan::make(&store, &args.pool, &args.target).await?;
    session.print(&render(&plan))?;
    plan.check()
}

async fn change(session: &mut Session<'_>, args: &ModeApplyArgs) -> Result<(), Failure> {
    let store = session.store().await?;
    if args.abort {
        return apply::abort(session, &store, &args.pool).await;
    }
    let plan = Plan::make(&store, &args.pool, &args.target).await?;
    if plan.is_blocked() {
        session.print(&plan.table())?;
    }
    plan.check()?;
    apply::run(session, &store, &plan).await
}

/// All of the API that a node's paths are made from.
pub(super) struct Cluster {
    pub objects: Vec<Object>,
    pub nodes: BTreeSet<String>,
}

impl Cluster {
    pub async fn read(store: &Store) -> Result<Cluster, Failure> {
        let nodes: Vec<k8s::Node> = all(store, "Node").await?;
        let names = nodes.iter().map(|node| node.metadata.name.clone()).collect();
        let mut objects: Vec<Object> = nodes.into_iter().map(Object::from).collect();
        objects.extend(all::<v3::IpPool>(store, "IPPool").await?.into_iter().map(Object::from));
        objects.extend(
            all::<v3::FelixConfiguration>(store, "FelixConfiguration").await?.into_iter().map(Object::from),
        );
        objects.extend(
            all::<v3::BgpConfiguration>(store, "BGPConfiguration").await?.into_iter().map(Object::from),
        );
        objects.extend(all::<v3::BgpPeer>(store, "BGPPeer").await?.into_iter().map(Object::from));
        Ok(Cluster { objects, nodes: names })
    }
}

/// The modes of a pool's document.
pub(super) fn modes_of(pool: &Value) -> Modes {
    let mode = |field: &str| serde_json::from_value(pool["spec"][field].clone()).unwrap_or_default();
    Modes { ipip_mode: mode("ipipMode"), vxlan_mode: mode("vxlanMode") }
}

/// Puts modes into a pool's document.
pub(super) fn set_modes(pool: &mut Value, modes: Modes) {
    pool["spec"]["ipipMode"] = format!("{:?}", modes.ipip_mode).into();
    pool["spec"]["vxlanMode"] = format!("{:?}", modes.vxlan_mode).into();
}

/// What is wished, for a pool that has `now`: a field that is not given stays.
pub(super) fn wished(target: &ModeTarget, now: Modes) -> Result<Modes, Failure> {
    use EncapMode::{Always, CrossSubnet, Never};
    let modes = |ipip_mode, vxlan_mode| Ok(Modes { ipip_mode, vxlan_mode });
    match target.to.as_deref() {
        Some("ipip") => return modes(Always, Never),
        Some("ipip-cross-subnet") => return modes(CrossSubnet, Never),
        Some("vxlan") => return modes(Never, Always),
        Some("vxlan-cross-subnet") => return modes(Never, CrossSubnet),
        Some(_) => return modes(Never, Never),
        None if target.ipip.is_none() && target.vxlan.is_none() => {
            return Err(Failure::new(
                "say what the pool should change to: --to ipip, ipip-cross-subnet, vxlan, vxlan-cross-subnet or direct",
            ));
        }
        None => {}
    }
    let field = |given: &Option<String>, now| match given.as_deref() {
        Some("Always") => Always,
        Some("CrossSubnet") => CrossSubnet,
        Some(_) => Never,
        None => now,
    };
    modes(field(&target.ipip, now.ipip_mode), field(&target.vxlan, now.vxlan_mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use EncapMode::{Always, CrossSubnet, Never};

    #[test]
    fn a_mode_has_a_word_and_a_field_that_is_not_given_stays() {
        let now = Modes { ipip_mode: Never, vxlan_mode: Always };
        let field = |text: Option<&str>| text.map(str::to_owned);
        for (to, ipip, vxlan, expected) in [
            (Some("ipip"), None, None, (Always, Never)),
            (Some("ipip-cross-subnet"), None, None, (CrossSubnet, Never)),
            (Some("vxlan-cross-subnet"), None, None, (Never, CrossSubnet)),
            (Some("vxlan"), None, None, (Never, Always)),
            (Some("direct"), None, None, (Never, Never)),
            (None, None, Some("CrossSubnet"), (Never, CrossSubnet)),
            (None, Some("Always"), None, (Always, Always)),
            (None, Some("Always"), Some("Never"), (Always, Never)),
        ] {
            let target = ModeTarget { to: field(to), ipip: field(ipip), vxlan: field(vxlan) };
            let modes = wished(&target, now).expect("it says a mode");
            assert_eq!((modes.ipip_mode, modes.vxlan_mode), expected, "{target:?}");
        }
        assert!(wished(&ModeTarget::default(), now).is_err());
    }
}
