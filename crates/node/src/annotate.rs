//! What pods' annotations say of their addresses: one write of a pod at a time, the latest wish last, until it is there.

use crate::effect::Report;
use crate::life::Stage;
use crate::node::{Call, Node};
use model::k8s::pod_annotation;
use model::store::{Error, Key, Kind, Reply, Request as Ask};
use model::{Cidr, Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long after a lost answer the next try is made.
const RETRY: Duration = Duration::from_secs(5);

/// Namespace and name.
pub(crate) type PodName = (String, String);
/// Annotations; `None` removes one.
pub(crate) type Texts = BTreeMap<String, Option<String>>;

/// What one pod's annotations should say.
#[derive(Debug)]
pub(crate) struct Wish {
    texts: Texts,
    /// As they are being written.
    written: Option<Texts>,
    retry_at: Option<Instant>,
}

/// The annotations of a pod that has addresses.
pub(crate) fn addresses(addresses: &[IpAddr], container_id: &str) -> Texts {
    let nets: Vec<String> = addresses.iter().map(|addr| Cidr::host(*addr).to_string()).collect();
    [
        (pod_annotation::CONTAINER_ID, container_id.to_owned()),
        (pod_annotation::POD_IP, nets.first().cloned().unwrap_or_default()),
        (pod_annotation::POD_IPS, nets.join(",")),
    ]
    .map(|(key, text)| (key.to_owned(), Some(text)))
    .into()
}

/// The annotations of a pod that has lost them.
pub(crate) fn no_addresses() -> Texts {
    [pod_annotation::POD_IP, pod_annotation::POD_IPS].map(|key| (key.to_owned(), Some(String::new()))).into()
}

impl Node {
    /// Makes `texts` what the pod's annotations should say.
    pub(crate) fn annotate(&mut self, pod: PodName, texts: Texts) {
        let wish = self.wishes.entry(pod.clone()).or_insert(Wish {
            texts: Texts::new(),
            written: None,
            retry_at: None,
        });
        wish.texts = texts;
        wish.retry_at = None;
        self.write_annotations(pod);
    }

    fn write_annotations(&mut self, pod: PodName) {
        let Some(wish) = self.wishes.get_mut(&pod).filter(|wish| wish.written.is_none()) else { return };
        wish.written = Some(wish.texts.clone());
        let annotations = wish.texts.clone();
        let key = Key::namespaced(Kind::Pod, pod.0.clone(), pod.1.clone());
        self.call(Call::PodAnnotated(pod), Ask::Annotate { key, annotations });
    }

    /// The API answered.
    pub(crate) fn pod_annotated(&mut self, pod: PodName, reply: Reply) {
        let Some(wish) = self.wishes.get_mut(&pod) else { return };
        let is_latest = wish.written.take().as_ref() == Some(&wish.texts);
        match reply {
            Err(Error::Unknown(_) | Error::Conflict) => wish.retry_at = Some(self.now + RETRY),
            // A pod that is gone needs no annotations.
            Ok(_) | Err(Error::NotFound) if is_latest => _ = self.wishes.remove(&pod),
            Err(error) if is_latest => {
                self.wishes.remove(&pod);
                let text =
                    format!("cannot write the address annotations of pod {}/{}: {error}", pod.0, pod.1);
                self.report(Report::warn(text));
            }
            _ => self.write_annotations(pod),
        }
    }

    /// Tries again what is due.
    pub(crate) fn retry_annotations(&mut self) {
        let due = self.wishes.iter().filter(|(_, wish)| wish.retry_at.is_some_and(|at| at <= self.now));
        for pod in due.map(|(pod, _)| pod.clone()).collect::<Vec<_>>() {
            self.wishes.get_mut(&pod).expect("seen above").retry_at = None;
            self.write_annotations(pod);
        }
    }

    /// After a start: what the run before did not get to write.
    pub(crate) fn check_annotations(&mut self) {
        let mut missing = Vec::new();
        for (id, life) in self.lives.iter().filter(|(_, life)| matches!(life.stage, Stage::Live)) {
            let Some(name) = &life.attachment.pod else { continue };
            let Some(pod) = self.cluster.pod(&name.0, &name.1) else { continue };
            let texts = addresses(&life.attachment.addresses, &id.container_id);
            let said =
                |(key, text): (&String, &Option<String>)| pod.metadata.annotations.get(key) == text.as_ref();
            if !texts.iter().all(said) {
                missing.push((name.clone(), texts));
            }
        }
        for (pod, texts) in missing {
            self.annotate(pod, texts);
        }
    }

    /// When the next try is due.
    pub(crate) fn annotation_timeout(&self) -> Option<Instant> {
        self.wishes.values().filter_map(|wish| wish.retry_at).min()
    }
}
