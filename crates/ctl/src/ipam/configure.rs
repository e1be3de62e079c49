//! `ipam configure`: how nodes claim blocks.

use crate::cli::IpamConfigureArgs;
use crate::failure::{Failure, Fault};
use crate::kind::Kind;
use crate::session::Session;
use crate::store::{Store, Write};
use model::v3::IpamConfigurationSpec;
use serde_json::{Value, json};

/// Changes the configuration.
pub async fn run(session: &mut Session<'_>, args: &IpamConfigureArgs) -> Result<(), Failure> {
    if args.strictaffinity.is_none() && args.max_blocks_per_host.is_none() {
        return Err(Failure::new("nothing to configure: give --strictaffinity or --max-blocks-per-host"));
    }
    let strict = match args.strictaffinity.as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Failure::new("invalid value. Use true or false to set strictaffinity")),
    };
    let number = |text: &str| {
        let invalid = |_| {
            Failure::new(format!(
                "invalid value '{text}' for max-blocks-per-host: use a number, 0 for no limit"
            ))
        };
        text.parse::<u32>().map_err(invalid)
    };
    let limit = args.max_blocks_per_host.as_deref().map(number).transpose()?;
    let store = session.store().await?;
    let (mut document, mut spec) = read(&store).await?.unwrap_or_else(|| {
        let document = json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPAMConfiguration",
            "metadata": {"name": "default"},
        });
        (document, IpamConfigurationSpec::default())
    });
    let mut said = String::new();
    if let Some(strict) = strict {
        spec.strict_affinity = strict;
        said += &format!("Successfully set StrictAffinity to: {strict}\n");
    }
    if let Some(limit) = limit {
        if limit > 0 && !spec.strict_affinity {
            return Err(Failure::new("error: MaxBlocksPerHost requires StrictAffinity to be enabled"));
        }
        spec.max_blocks_per_host = limit;
        said += &format!("Successfully set MaxBlocksPerHost to: {limit}\n");
    }
    document["spec"] = serde_json::to_value(&spec).expect("the specification has text keys only");
    store.write(kind(), None, &document, Write::Apply).await?;
    session.print(&said)
}

fn kind() -> &'static Kind {
    Kind::of_document("IPAMConfiguration").expect("the kind is in the table")
}

/// The configuration's document and what it says; `None` if there is none.
pub async fn read(store: &Store) -> Result<Option<(Value, IpamConfigurationSpec)>, Failure> {
    let document = match store.get(kind(), None, "default").await {
        Err(Fault::NotFound { .. }) => return Ok(None),
        document => document?,
    };
    let spec = serde_json::from_value(document["spec"].clone());
    let spec = spec.map_err(|e| Failure::new(format!("IPAMConfiguration default cannot be read: {e}")))?;
    Ok(Some((document, spec)))
}
