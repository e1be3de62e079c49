//! `ipam release`: frees an address whose user is gone.

use super::{address, all};
use crate::cli::IpamReleaseArgs;
use crate::failure::Failure;
use crate::ipam::report;
use crate::session::Session;
use crate::store::Store;
use ::ipam::block::{self, Release};
use ::ipam::{Error as IpamError, handle};
use failpoint::failpoint;
use model::store::{Error, Key, Kind, Object, Request};
use model::v3::IpamBlock;
use model::{Cidr, names};

/// Somebody else may change an object between our read and our write so often.
const ATTEMPTS: usize = 10;

/// Frees one address, or all that reports call leaked.
pub async fn run(session: &mut Session<'_>, args: &IpamReleaseArgs) -> Result<(), Failure> {
    if !args.from_report.is_empty() {
        return report::release(session, &args.from_report, args.force).await;
    }
    let Some(ip) = &args.ip else {
        return Err(Failure::new("nothing to release: give --ip, or --from-report"));
    };
    let addr = address(ip)?;
    let store = session.store().await?;
    let wanted = Release { addr, handle: None, sequence: None };
    session.print(&match release(&store, &wanted).await? {
        Released::Freed => format!("Successfully released IP address {addr}\n"),
        Released::NotAssigned | Released::Reassigned => format!("IP address {addr} is not assigned\n"),
    })
}

/// What became of a release.
pub enum Released {
    Freed,
    NotAssigned,
    /// The address has another owner than the one that was seen.
    Reassigned,
}

/// Frees an address: first in its block, which is the authority, then in the handle that points to the block.
pub async fn release(store: &Store, wanted: &Release) -> Result<Released, Failure> {
    let addr = wanted.addr;
    let failed = |why: String| Failure::new(format!("failed to release IP address {addr}: {why}"));
    for _ in 0..ATTEMPTS {
        let blocks: Vec<IpamBlock> = all(store, "IPAMBlock").await?;
        let held = blocks.into_iter().find_map(|b| {
            let holder = block::holder(&b.spec, block::ordinal(&b.spec, addr)?)?;
            let handle = holder.handle_id.clone();
            Some((b, handle))
        });
        let Some((mut found, handle)) = held else { return Ok(Released::NotAssigned) };
        match block::release(&mut found.spec, std::slice::from_ref(wanted), None) {
            Err(IpamError::Reassigned { .. }) => return Ok(Released::Reassigned),
            freed => freed.map_err(|e| failed(e.to_string()))?,
        };
        block::touch(&mut found.spec);
        let cidr = found.spec.cidr;
        match store.client.request(Request::Update(found.into())).await {
            Err(Error::Conflict) => {}
            written => {
                failpoint!("release: address given back");
                written.map_err(|e| failed(e.to_string()))?;
                if let Some(handle) = handle {
                    forget(store, &handle, cidr).await?;
                }
                return Ok(Released::Freed);
            }
        }
    }
    Err(failed("its block changes all the time, try again".to_owned()))
}

/// Counts one address of the block less in its handle, which goes with its last address.
async fn forget(store: &Store, id: &str, block: Cidr) -> Result<(), Failure> {
    let failed = |e: Error| Failure::new(format!("the address is free, its handle {id} is left behind: {e}"));
    let key = Key::cluster(Kind::IpamHandle, names::handle(id));
    for _ in 0..ATTEMPTS {
        let found = match store.client.request(Request::Get(key.clone())).await {
            Ok(Some(Object::IpamHandle(found))) => found,
            Err(Error::NotFound) | Ok(_) => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        let Some(request) = handle::less(&found, block, 1) else { return Ok(()) };
        match store.client.request(request).await {
            Err(Error::Conflict) => {}
            Ok(_) | Err(Error::NotFound) => {
                failpoint!("release: handle counted down");
                return Ok(());
            }
            Err(e) => return Err(failed(e)),
        }
    }
    Err(failed(Error::Conflict))
}
