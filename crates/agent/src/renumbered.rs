//! A node that found its address by itself follows it: once no interface has it any more, another is chosen. As long as one
//! has it, it stays, whatever else comes.
//!
//! Differs from Calico: there the interfaces are looked at once a minute, and the first of them counts each time.

use crate::address::OwnAddress;
use crate::inbox::Message;
use crate::own_address::{Finder, interfaces};
use kernel::{Key, Objects};
use model::IfAddr;
use node::Input;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Who renumbers a node takes one address away before another is there.
const SETTLE: Duration = Duration::from_millis(500);

/// Tells the core of each new address. `moved` wakes it after every change of addresses.
pub(crate) async fn follow(finder: Finder, mut own: IfAddr, moved: Arc<Notify>, core: mpsc::Sender<Message>) {
    let mut said = None;
    loop {
        moved.notified().await;
        tokio::time::sleep(SETTLE).await;
        match successor(own, &finder).await {
            Ok(None) => said = None,
            Ok(Some(address)) => {
                tracing::warn!("this node's address is {address} now: no interface has {own} any more");
                if let Err(error) = netlink::sockets::end(own.addr()) {
                    tracing::warn!("connections from {own} stay until they time out: {error}");
                }
                own = address;
                if core.send(Message::Input(Input::Renumbered(address))).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let text = format!("no interface has this node's address {own} any more: {error:#}");
                if said.as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                }
                said = Some(text);
            }
        }
    }
}

/// The address instead of `own`, if there is need of one.
async fn successor(own: IfAddr, finder: &Finder) -> anyhow::Result<Option<IfAddr>> {
    if has(&interfaces()?, own) {
        return Ok(None);
    }
    finder.find(OwnAddress::Autodetect).await
}

fn has(interfaces: &Objects, own: IfAddr) -> bool {
    interfaces.keys().any(|key| matches!(key, Key::Addr(key) if key.addr == own))
}
