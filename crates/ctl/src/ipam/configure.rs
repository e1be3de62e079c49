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
    let change = Change::of(args)?;
    let store = session.store().await?;
    let (mut document, mut spec) = read(&store).await?.unwrap_or_else(|| {
        let document = json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPAMConfiguration",
            "metadata": {"name": "default"},
        });
        (document, IpamConfigurationSpec::default())
    });
    let said = change.make(&mut spec)?;
    document["spec"] = serde_json::to_value(&spec).expect("the specification has text keys only");
    store.write(kind(), None, &document, Write::Apply).await?;
    session.print(&said)
}

/// What is to be set.
struct Change {
    strict: Option<bool>,
    limit: Option<u32>,
    persistence: Option<String>,
    cooldown: Option<u32>,
}

impl Change {
    fn of(args: &IpamConfigureArgs) -> Result<Change, Failure> {
        let number = |flag: &'static str| {
            move |text: &str| {
                let invalid =
                    |_| Failure::new(format!("invalid value '{text}' for {flag}: use a number, 0 for none"));
                text.parse::<u32>().map_err(invalid)
            }
        };
        let persistence = args.kubevirt_ip_persistence.clone();
        if persistence.as_deref().is_some_and(|word| !["Enabled", "Disabled"].contains(&word)) {
            return Err(Failure::new(
                "invalid value. Use Enabled or Disabled to set kubevirt-ip-persistence",
            ));
        }
        let change = Change {
            strict: match args.strictaffinity.as_deref() {
                None => None,
                Some("true") => Some(true),
                Some("false") => Some(false),
                Some(_) => {
                    return Err(Failure::new("invalid value. Use true or false to set strictaffinity"));
                }
            },
            limit: args.max_blocks_per_host.as_deref().map(number("max-blocks-per-host")).transpose()?,
            persistence,
            cooldown: args.ip_cooldown_seconds.as_deref().map(number("ip-cooldown-seconds")).transpose()?,
        };
        match change {
            Change { strict: None, limit: None, persistence: None, cooldown: None } => Err(Failure::new(
                "nothing to configure: give --strictaffinity, --max-blocks-per-host, --kubevirt-ip-persistence or --ip-cooldown-seconds",
            )),
            change => Ok(change),
        }
    }

    /// Makes the change and says what was set.
    fn make(self, spec: &mut IpamConfigurationSpec) -> Result<String, Failure> {
        let mut said = String::new();
        let mut set = |what: &str, value: String| said += &format!("Successfully set {what} to: {value}\n");
        if let Some(strict) = self.strict {
            spec.strict_affinity = strict;
            set("StrictAffinity", strict.to_string());
        }
        if let Some(limit) = self.limit {
            if limit > 0 && !spec.strict_affinity {
                return Err(Failure::new("error: MaxBlocksPerHost requires StrictAffinity to be enabled"));
            }
            spec.max_blocks_per_host = limit;
            set("MaxBlocksPerHost", limit.to_string());
        }
        if let Some(word) = self.persistence {
            set("KubeVirtVMAddressPersistence", word.clone());
            spec.kubevirt_vm_address_persistence = Some(word);
        }
        if let Some(seconds) = self.cooldown {
            set("IPCooldownSeconds", seconds.to_string());
            spec.ip_cooldown_seconds = Some(seconds);
        }
        Ok(said)
    }
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
