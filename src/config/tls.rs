//! Whom the agent trusts, and who it is, on encrypted connections: which certificate of a server is accepted, and the agent's own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::certificate::valid_until;

/// `tls = on`: which authorities are trusted, and who we are.
#[derive(Clone)]
pub struct TlsConfig {
    /// `None`: those of the system.
    roots: Option<Roots>,
    certificate: Option<ClientCertificate>,
    client: Arc<ClientConfig>,
}

impl TlsConfig {
    /// Trusts `roots`, or the system's authorities, and shows `certificate`.
    pub(super) fn new(
        roots: Option<Roots>,
        certificate: Option<ClientCertificate>,
    ) -> Result<Self, TlsError> {
        let verifier = verifier(roots.as_ref()).map_err(TlsError::Authorities)?;
        let client = client(verifier, certificate.as_ref()).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                TlsError::Certificate("is not the key of tls_cert".to_owned())
            }
            error => TlsError::Certificate(format!("cannot be used with tls_cert: {error}")),
        })?;
        Ok(TlsConfig {
            roots,
            certificate,
            client: Arc::new(client),
        })
    }

    /// The authorities that a file named; `None`: those of the system.
    pub(super) fn roots(&self) -> Option<&Roots> {
        self.roots.as_ref()
    }

    /// What connections are made with.
    pub fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// Whether there is a client certificate.
    pub fn has_identity(&self) -> bool {
        self.certificate.is_some()
    }

    /// The files of certificates, and when each is of no more use: that of authorities with the last of them, the own
    /// one with the first of its chain.
    pub fn certificates(&self) -> Vec<(PathBuf, SystemTime)> {
        let ends = |all: &[CertificateDer<'static>]| {
            let ends = all.iter().filter_map(|der| valid_until(der));
            ends.collect::<Vec<_>>()
        };
        let roots = self.roots.as_ref().and_then(|roots| {
            let last = ends(&roots.certificates).into_iter().max()?;
            Some((roots.file.clone(), last))
        });
        let own = self.certificate.as_ref().and_then(|own| {
            let first = ends(&own.chain).into_iter().min()?;
            Some((own.file.clone(), first))
        });
        roots.into_iter().chain(own).collect()
    }

    /// Where the private key lies.
    pub fn key_file(&self) -> Option<&Path> {
        let certificate = self.certificate.as_ref()?;
        Some(&certificate.key.file)
    }
}

impl PartialEq for TlsConfig {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots && self.certificate == other.certificate
    }
}

impl Eq for TlsConfig {}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field(
                "roots",
                &self.roots.as_ref().map(|roots| roots.certificates.len()),
            )
            .field("has_identity", &self.has_identity())
            .finish_non_exhaustive()
    }
}

/// The certificates of authorities in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roots {
    pub(super) file: PathBuf,
    /// One at least, and of use as a root each.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Which others the file holds, by their place in it from 1, and why they are of no use.
    pub(super) left_out: Vec<(usize, String)>,
}

/// A certificate, those of the authorities between, and the private key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) file: PathBuf,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<KeyFile>,
}

/// A private key, and where it was read.
// The key's own Debug shows nothing of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyFile {
    pub(super) file: PathBuf,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Why a [`TlsConfig`] cannot be made; the words go on from the setting at fault.
#[derive(Debug)]
pub(super) enum TlsError {
    /// Of the authorities.
    Authorities(String),
    /// Of the client certificate or its key.
    Certificate(String),
}

/// Checks the certificates of servers against the authorities of a file, or the system's.
fn verifier(roots: Option<&Roots>) -> Result<Verifier, String> {
    let mut store = RootCertStore::empty();
    let trusted = roots.map_or(&[][..], |roots| &roots.certificates);
    for certificate in trusted {
        store
            .add(certificate.clone())
            .map_err(|error| format!("cannot be trusted: {error}"))?;
    }
    if roots.is_none() {
        // One bad file among the system's must not matter.
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            return Err(
                "finds no certificate authorities on this system; name a file in tls_ca".to_owned(),
            );
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
    let usual = usual.map_err(|error| format!("cannot be used: {error}"))?;
    Ok(Verifier::new(usual, trusted))
}

fn client(
    verifier: Verifier,
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(ClientCertificate { chain, key, .. }) => {
            builder.with_client_auth_cert(chain.clone(), key.key.clone_key())
        }
    }
}

/// Checks certificates as rustls does, but for one case: a certificate that the configuration itself trusts may
/// be a server's own although it is one of an authority.
///
/// `openssl req -x509` makes such a certificate (CA:TRUE). It is given to the broker and named in tls_ca, which
/// other clients accept and webpki does not. Here it must be the trusted certificate byte for byte, its time and
/// its name must be right, and the handshake must be signed with its key, as always. Only what comes after these
/// constraints in a certificate is not looked at: what its key is said to be for.
#[derive(Debug)]
pub(super) struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// Of `trusted` all can be a server's own certificate.
    pub(super) fn new(
        usual: Arc<WebPkiServerVerifier>,
        trusted: &[CertificateDer<'static>],
    ) -> Self {
        Verifier {
            usual,
            trusted: trusted.to_vec(),
        }
    }

    /// Whether `error` says only that a certificate which is trusted is one of an authority. webpki looks at the
    /// time first, so it is right then; a test holds that.
    fn is_excused(&self, error: &Error, end_entity: &CertificateDer<'_>) -> bool {
        let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
            return false;
        };
        other.to_string() == "CaUsedAsEndEntity" && self.trusted.contains(end_entity)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match usual {
            Err(error) if self.is_excused(&error, end_entity) => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::RootCertStore;

    use super::*;

    /// A self-signed certificate of an authority for `localhost`, from 2020 to 2030.
    fn of_an_authority() -> CertificateDer<'static> {
        ending(2030)
    }

    fn ending(year: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).expect("a certificate");
        certificate.der().clone()
    }

    /// What becomes of `shown` by a server that is called `name`, in the middle of `year`, where `trusted` is
    /// in tls_ca.
    fn verified(
        shown: &CertificateDer<'static>,
        trusted: &CertificateDer<'static>,
        name: &str,
        year: u64,
    ) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let usual = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
        let usual = usual.build().expect("a verifier");
        let verifier = Verifier::new(usual, std::slice::from_ref(trusted));
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let since_1970 = Duration::from_secs(86_400 * (365 * (year - 1970) + 190));
        let now = UnixTime::since_unix_epoch(since_1970);
        let verified = verifier.verify_server_cert(shown, &[], &name, &[], now);
        verified.map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn authorities_are_of_use_until_the_last_of_them_ends() {
        let roots = Roots {
            file: "/etc/ca.pem".into(),
            certificates: vec![ending(2031), ending(2040), ending(2033)],
            left_out: Vec::new(),
        };
        let config = TlsConfig::new(Some(roots), None).expect("they can be used");
        let ends = SystemTime::from(date_time_ymd(2040, 1, 1));
        assert_eq!(config.certificates(), [("/etc/ca.pem".into(), ends)]);
    }

    #[test]
    fn a_certificate_of_an_authority_that_is_trusted_itself_is_accepted_for_its_name_and_time_alone()
     {
        let (trusted, other) = (of_an_authority(), of_an_authority());
        assert_eq!(verified(&trusted, &trusted, "localhost", 2025), Ok(()));
        for (shown, name, year, expected) in [
            (&other, "localhost", 2025, "CaUsedAsEndEntity"),
            (&trusted, "example.org", 2025, "not valid for name"),
            (&trusted, "localhost", 2018, "not valid yet"),
            (&trusted, "localhost", 2031, "expired"),
        ] {
            let error = verified(shown, &trusted, name, year).expect_err("it is refused");
            assert!(error.contains(expected), "{name} {year}: {error}");
        }
    }
}
