//! `ipam split`: several smaller pools in place of one. Blocks and addresses stay what they are; only who looks for a pool
//! finds another.

use crate::cli::IpamSplitArgs;
use crate::failure::{Failure, Fault};
use crate::lock;
use crate::session::Session;
use crate::store::Store;
use datastore::{Preconditions, Resource};
use failpoint::failpoint;
use model::Cidr;
use model::v3::IpPool;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Splits a pool while the datastore is locked.
///
/// Differs from Calico: whether the pool can be split is asked before it is disabled.
pub async fn run(session: &mut Session<'_>, args: &IpamSplitArgs) -> Result<(), Failure> {
    let number = &args.number;
    let parts: u32 = number.parse().map_err(|e| {
        Failure::new(format!(
            "error reading number to split IP pools into. {number} is not a valid number: {e}"
        ))
    })?;
    if args.cidr.is_none() && args.name.is_none() {
        return Err(Failure::new(
            "no name or CIDR provided. Provide a name or CIDR to denote the IP pool to split",
        ));
    }
    let store = session.store().await?;
    if !lock::is_locked(&lock::read(&store).await?) {
        return Err(Failure::new(
            "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools",
        ));
    }
    let pool = find(&store, args).await?;
    let pieces = ::ipam::split(&pool, parts).map_err(|e| Failure::new(e.to_string()))?;
    let mut said =
        format!("IP Pool {} was successfully split into {parts} smaller pools.\n", pool.metadata.name);
    replace(&store, &pool, &pieces).await?;
    for piece in &pieces {
        writeln!(said, "Created {} with CIDR {}.", piece.metadata.name, piece.spec.cidr)
            .expect("writing to text cannot fail");
    }
    said += "Unlock the datastore with `calicoctl datastore migrate unlock`.\n";
    session.print(&said)
}

async fn find(store: &Store, args: &IpamSplitArgs) -> Result<IpPool, Failure> {
    let pools: Vec<IpPool> = super::all(store, "IPPool").await?;
    let cidr = args.cidr.as_deref();
    let is_meant = |pool: &IpPool| match &args.name {
        Some(name) => pool.metadata.name == *name,
        None => cidr.and_then(|text| text.parse::<Cidr>().ok()) == Some(pool.spec.cidr),
    };
    let missing = || match (&args.name, cidr) {
        (Some(name), _) => format!("unable to find IP pool with name {name}"),
        (None, cidr) => {
            format!("unable to find IP pool covering the specified CIDR {}", cidr.unwrap_or_default())
        }
    };
    pools.into_iter().find(is_meant).ok_or_else(|| Failure::new(missing()))
}

/// Disables the pool, makes the pieces, and deletes the pool. Whoever tries again after a failure finds what is there.
async fn replace(store: &Store, pool: &IpPool, pieces: &[IpPool]) -> Result<(), Failure> {
    let resource = Resource::of_kind("IPPool").expect("the kind is in the table");
    let name = &pool.metadata.name;
    let failed = |object: String| move |e: datastore::Error| Failure::from(Fault::of(&object, e));
    let mut disabled = document(pool);
    disabled["spec"]["disabled"] = true.into();
    let written = store.client.replace_json(resource, None, name, &disabled).await;
    failpoint!("split: pool disabled");
    written.map_err(failed(format!("IPPool({name})")))?;
    for piece in pieces {
        let made = store.client.create_json(resource, None, &document(piece)).await;
        failpoint!("split: piece made");
        match made {
            Err(e) if e.is_already_exists() => {}
            made => drop(made.map_err(failed(format!("IPPool({})", piece.metadata.name)))?),
        }
    }
    let deleted = store.client.delete_json(resource, None, name, &Preconditions::default()).await;
    failpoint!("split: pool removed");
    deleted.map_err(failed(format!("IPPool({name})")))?;
    Ok(())
}

fn document(pool: &IpPool) -> Value {
    let mut value = serde_json::to_value(pool).expect("a pool has text keys only");
    value["apiVersion"] = "projectcalico.org/v3".into();
    value["kind"] = json!("IPPool");
    value
}
