//! Authority: who vouches, for one run, that this proxy is any host.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// An authority and the certificates that it has given; all keys are in memory only.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The key of every host.
    key: KeyPair,
    configs: Mutex<BTreeMap<String, Arc<ServerConfig>>>,
}

/// The most hosts whose certificates are kept; a build asks for a few.
const MOST_KEPT: usize = 1000;

/// Why there is no certificate for a host.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no certificate can be made")]
    Certificate(#[from] rcgen::Error),
    #[error("no certificate can be used")]
    Tls(#[from] rustls::Error),
}

impl Authority {
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        let mut params = params("reprove replay authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
            key: KeyPair::generate()?,
            configs: Mutex::default(),
        })
    }

    /// Returns the certificate of the authority.
    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Returns what a TLS server needs to be this host, a name or an address.
    pub(super) fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, Error> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(host) {
            return Ok(Arc::clone(config));
        }
        let mut params = params("reprove replay");
        params.subject_alt_names = CertificateParams::new([host.to_owned()])?.subject_alt_names;
        // An issuer's serial numbers must differ.
        params.serial_number = Some(SerialNumber::from(configs.len() as u64 + 1));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python asks for it since 3.13.
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::from(key))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        if configs.len() < MOST_KEPT {
            configs.insert(host.to_owned(), Arc::clone(&config));
        }
        Ok(config)
    }
}

/// Returns what all certificates have in common.
///
/// Builds run at any time that they are told it is, so all times are good.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after = date_time_ymd(2150, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    let name = DnValue::Utf8String(name.to_owned());
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
