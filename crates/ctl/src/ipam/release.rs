//! `ipam release`: frees an address whose user is gone.

use super::{address, all};
use crate::cli::IpamReleaseArgs;
use crate::failure::Failure;
use crate::session::Session;
use crate::store::Store;
use ::ipam::block::{self, Release};
use model::names;
use model::store::{Error, Key, Kind, Object, Request};
use model::v3::IpamBlock;
use std::net::IpAddr;

/// Somebody else may change an object between our read and our write so often.
const ATTEMPTS: usize = 10;

/// Frees an address: first in its block, which is the authority, then in the handle that points to the block.
pub async fn run(session: &mut Session<'_>, args: &IpamReleaseArgs) -> Result<(), Failure> {
    let addr = address(&args.ip)?;
    let store = session.store().await?;
    for _ in 0..ATTEMPTS {
        let blocks: Vec<IpamBlock> = all(&store, "IPAMBlock").await?;
        let found = blocks.into_iter().find_map(|b| {
            let holder = block::holder(&b.spec, block::ordinal(&b.spec, addr)?)?;
            let handle = holder.handle_id.clone();
            Some((b, handle))
        });
        let Some((found, handle)) = found else {
            return session.print(&format!("IP address {addr} is not assigned\n"));
        };
        let cidr = found.spec.cidr.to_string();
        if free(&store, found, addr).await? {
            if let Some(handle) = handle {
                forget(&store, &handle, &cidr).await?;
            }
            return session.print(&format!("Successfully released IP address {addr}\n"));
        }
    }
    Err(Failure::new(format!(
        "failed to release IP address {addr}: its block changes all the time, try again"
    )))
}

/// Takes the address out of its block; false if the block was changed meanwhile.
async fn free(store: &Store, mut found: IpamBlock, addr: IpAddr) -> Result<bool, Failure> {
    let failed = |why: String| Failure::new(format!("failed to release IP address {addr}: {why}"));
    let release = [Release { addr, handle: None, sequence: None }];
    block::release(&mut found.spec, &release, None).map_err(|e| failed(e.to_string()))?;
    block::touch(&mut found.spec);
    match store.client.request(Request::Update(found.into())).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict) => Ok(false),
        Err(e) => Err(failed(e.to_string())),
    }
}

/// Counts one address of the block less in its handle, which goes with its last address.
async fn forget(store: &Store, handle: &str, block: &str) -> Result<(), Failure> {
    let failed =
        |e: Error| Failure::new(format!("the address is free, its handle {handle} is left behind: {e}"));
    let key = Key::cluster(Kind::IpamHandle, names::handle(handle));
    for _ in 0..ATTEMPTS {
        let mut object = match store.client.request(Request::Get(key.clone())).await {
            Ok(Some(Object::IpamHandle(object))) => object,
            Err(Error::NotFound) | Ok(_) => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        match object.spec.block.get_mut(block) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(object.spec.block.remove(block)),
            None => return Ok(()),
        }
        let (uid, resource_version) = (object.metadata.uid.clone(), object.metadata.resource_version.clone());
        let request = match object.spec.block.is_empty() {
            true => Request::Delete { key: key.clone(), uid, resource_version },
            false => Request::Update(object.into()),
        };
        match store.client.request(request).await {
            Err(Error::Conflict) => {}
            Ok(_) | Err(Error::NotFound) => return Ok(()),
            Err(e) => return Err(failed(e)),
        }
    }
    Err(failed(Error::Conflict))
}
