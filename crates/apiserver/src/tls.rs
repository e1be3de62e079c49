//! The server's own certificate authority, and its certificate, made anew at each start.
//!
//! The authority lives in the data directory (`ca.crt`, `ca.key`) and outlives restarts, so that kubeconfigs stay
//! good. Both certificates are valid from 1975 to 4096: a clock that jumps locks nobody out.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// A certificate authority of one's own.
pub struct Authority {
    /// Its certificate, PEM.
    pub certificate: String,
    key: KeyPair,
}

impl Authority {
    /// Reads the authority of `dir`, or makes one.
    pub fn open(dir: &Path) -> Result<Authority> {
        let (crt, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if crt.exists() && key.exists() {
            let read = |path: &Path| {
                let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
            };
            let (certificate, pem) = (read(&crt)?, read(&key)?);
            let key = KeyPair::from_pem(&pem).with_context(|| {
                format!(
                    "{} is damaged: remove it and {}, and hand out new kubeconfigs",
                    key.display(),
                    crt.display()
                )
            })?;
            if !is_of(&certificate, &key) {
                tracing::warn!("{} is damaged, and made anew from its key", crt.display());
                let certificate = authority().self_signed(&key)?.pem();
                crate::auth::write_private(&crt, &certificate)?;
                return Ok(Authority { certificate, key });
            }
            return Ok(Authority { certificate, key });
        }
        let pair = KeyPair::generate()?;
        let certificate = authority().self_signed(&pair)?.pem();
        crate::auth::write_private(&key, &pair.serialize_pem())?;
        crate::auth::write_private(&crt, &certificate)?;
        Ok(Authority { certificate, key: pair })
    }

    /// A server configuration whose certificate names `addresses` and the usual names of an API server.
    pub fn server(&self, addresses: &[IpAddr]) -> Result<Arc<ServerConfig>> {
        let mut names: Vec<String> =
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
                .map(String::from)
                .into();
        names.extend(addresses.iter().map(IpAddr::to_string));
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "tortie-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &Issuer::new(authority(), &self.key))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Whether clients that are given a certificate believe what is signed with a key.
fn is_of(certificate: &str, key: &KeyPair) -> bool {
    let believed = || -> Result<()> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build()?;
        let leaf = CertificateParams::new(["localhost".to_owned()])?;
        let leaf = leaf.signed_by(&KeyPair::generate()?, &Issuer::new(authority(), key))?;
        let name = ServerName::try_from("localhost")?;
        verifier.verify_server_cert(leaf.der(), &[], &name, &[], UnixTime::now())?;
        Ok(())
    };
    believed().is_ok()
}

/// The authority's certificate but for its key: the same at each start, so that new certificates chain to it.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "tortie-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
