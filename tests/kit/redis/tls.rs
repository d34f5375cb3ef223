//! Certificates for a server on the loopback interface.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority, and a certificate from it for `localhost` and `127.0.0.1`, as PEM files.
#[derive(Debug)]
pub struct Certificates {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// New ones, in this directory.
    ///
    /// # Panics
    ///
    /// Where they cannot be made or written.
    #[must_use]
    pub fn write_to(directory: &Path) -> Self {
        let mut of_authority = CertificateParams::default();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_authority
            .distinguished_name
            .push(DnType::CommonName, "an authority of the test kit");
        let authority = CertifiedIssuer::self_signed(of_authority, key_pair())
            .expect("an authority is made of valid parameters");
        let key = key_pair();
        let certificate = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .and_then(|server| server.signed_by(&key, &authority))
            .expect("a certificate is made of valid parameters");
        let write = |name: &str, pem: String| {
            let path = directory.join(name);
            fs::write(&path, pem).expect("the directory can be written to");
            path
        };
        Self {
            authority: write("ca.pem", authority.pem()),
            certificate: write("server.pem", certificate.pem()),
            key: write("server.key", key.serialize_pem()),
        }
    }

    /// The file of the authority's certificate.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// The file of the server's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The file of the server's private key.
    #[must_use]
    pub fn key(&self) -> &Path {
        &self.key
    }
}

fn key_pair() -> KeyPair {
    KeyPair::generate().expect("a key pair")
}
