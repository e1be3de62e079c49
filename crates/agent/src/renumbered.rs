//! A node that finds its address by itself follows it: once no interface has it any more, another is chosen. As long as one
//! has it, it stays, whatever else comes. A node without an IPv6 address takes the first that comes.
//!
//! Differs from Calico: there the interfaces are looked at once a minute, and the first of them counts each time.

use crate::inbox::Message;
use crate::own_address::Finder;
use model::IfAddr;
use node::Input;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Who renumbers a node takes one address away before another is there.
const SETTLE: Duration = Duration::from_millis(500);
/// How long until who found none looks again though no address has changed: the Node or a name may say something else by now.
const RETRY: Duration = Duration::from_secs(30);

/// Tells the core of each new address. `moved` tells of every change of addresses.
pub(crate) async fn follow(
    finder: Finder,
    mut own: Option<IfAddr>,
    mut moved: watch::Receiver<()>,
    core: mpsc::Sender<Message>,
) {
    let mut said = None;
    loop {
        match successor(own, &finder).await {
            Ok(None) => said = None,
            Ok(Some(address)) => {
                let now = format!("this node's {} address is {address} now", finder.family);
                match own.replace(address) {
                    Some(before) => left(before, &now),
                    None => tracing::info!("{now}"),
                }
                if core.send(Message::Input(Input::Renumbered(address))).await.is_err() {
                    return;
                }
                said = None;
            }
            Err(error) => {
                let text = match own {
                    Some(own) => format!("no interface has this node's address {own} any more: {error:#}"),
                    None => format!("this node has no {} address yet: {error:#}", finder.family),
                };
                if said.as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                }
                said = Some(text);
            }
        }
        let change = async {
            let changed = moved.changed().await;
            tokio::time::sleep(SETTLE).await;
            changed
        };
        let wait = if said.is_some() { RETRY } else { Duration::MAX };
        if let Ok(Err(_)) = tokio::time::timeout(wait, change).await {
            return;
        }
    }
}

/// No interface has this address of ours any more.
fn left(own: IfAddr, now: &str) {
    tracing::warn!("{now}: no interface has {own} any more");
    if let Err(error) = netlink::sockets::end(own.addr()) {
        tracing::warn!("connections from {own} stay until they time out: {error}");
    }
}

/// The address instead of `own`, if there is need of one.
async fn successor(own: Option<IfAddr>, finder: &Finder) -> anyhow::Result<Option<IfAddr>> {
    if let Some(own) = own
        && netlink::addresses::all()?.iter().any(|found| found.addr == own)
    {
        return Ok(None);
    }
    finder.find().await
}
