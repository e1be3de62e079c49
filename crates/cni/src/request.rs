//! The request for the agent, from environment and configuration.

use crate::environment::{Environment, Verb};
use crate::error::Error;
use crate::netconf::NetConf;
use crate::netns;
use crate::result;
use derive::AttachmentId;
use model::IfName;
use netlink::Netns;
use node::cni::{Command, NetnsRef, Options, Request};

pub(crate) fn build(env: &Environment, netconf: &NetConf) -> Result<(Request, Option<Netns>), Error> {
    let netns = match (env.verb, &env.netns) {
        (Verb::Add | Verb::Check, Some(path)) => Some(netns::open(path)?),
        (Verb::Del, Some(path)) => netns::open_if_there(path),
        _ => None,
    };
    let args = &env.args;
    let request = Request {
        command: command(env, netconf)?,
        network: netconf.name.clone(),
        container_id: env.container_id.clone(),
        interface: env.interface.clone(),
        netns: env
            .netns
            .clone()
            .zip(netns.as_ref())
            .map(|(path, netns)| NetnsRef { path, inode: netns.inode() }),
        pod: args.pod_namespace.clone().zip(args.pod_name.clone()),
        options: Options {
            mtu: netconf.mtu,
            ipv4_pools: netconf.ipam.ipv4_pools.clone(),
            pod_uid: args.pod_uid.clone(),
            requested: args.addresses.clone(),
            allow_ip_forwarding: netconf.container_settings.allow_ip_forwarding,
            ..Options::default()
        },
    };
    Ok((request, netns))
}

fn command(env: &Environment, netconf: &NetConf) -> Result<Command, Error> {
    Ok(match env.verb {
        Verb::Add => Command::Add,
        Verb::Del => Command::Del,
        Verb::Status => Command::Status,
        Verb::Check => {
            let previous = netconf.previous.as_ref().ok_or(Error::NoPreviousResult)?;
            let interface = env.interface.as_ref().expect("CHECK demands CNI_IFNAME");
            Command::Check { previous: result::previous(previous, interface)? }
        }
        Verb::Gc => Command::Gc { valid: valid(netconf)? },
        Verb::Version => unreachable!("VERSION is answered without the agent"),
    })
}

fn valid(netconf: &NetConf) -> Result<Vec<AttachmentId>, Error> {
    let list = netconf.valid_attachments.as_ref().ok_or(Error::NoValidAttachments)?;
    let id = |container_id: &String, interface: IfName| AttachmentId {
        network: netconf.name.clone(),
        container_id: container_id.clone(),
        interface,
    };
    list.iter()
        .map(|a| Ok(id(&a.container_id, a.interface.parse().map_err(Error::ValidAttachment)?)))
        .collect()
}
