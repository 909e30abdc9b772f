//! The gateway's own two secrets: the pepper under which tokens are hashed, and the key under
//! which stored secrets are sealed. Made at the first start, or given as files.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{aead, hmac};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::store::{Store, StoreError};

/// Why the gateway's secrets are not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file cannot be read.
    #[error("read key file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A key file cannot be made.
    #[error("make key file {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A key file holds something else.
    #[error("key file {path} holds {length} bytes; accepted: 64 lowercase hexadecimal characters")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Length of its content.
        length: usize,
    },
    /// The pepper is not the one the database was made with: every token would be refused.
    #[error(
        "pepper {path} is not the one this database was made with; accepted: the file made at the first start"
    )]
    ForeignPepper {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// The pepper check could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// Random bytes of the operating system's cryptographic source.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// Key of the hash under which tokens are stored (R61).
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// Takes 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// HMAC-SHA256 of a token's text.
    pub fn hash(&self, token: &str) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, token.as_bytes()).as_ref());
        hash
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Are two hashes the same? In constant time.
pub fn same_hash(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

/// Key under which secrets are sealed before they are stored (ChaCha20-Poly1305).
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; 32]>);

/// Why a sealed text cannot be opened: another key, or changed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed text cannot be opened: it was sealed with another key or changed")]
pub struct CannotUnseal;

impl SealKey {
    /// Takes 32 secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Nonce, ciphertext and tag of a text.
    pub fn seal(&self, text: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        let nonce: [u8; aead::NONCE_LEN] = random()?;
        let mut body = text.to_vec();
        self.key()
            .and_then(|key| {
                let nonce = aead::Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut body)
            })
            .map_err(|_| NoRandomness)?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// The text of [`SealKey::seal`]'s answer.
    pub fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotUnseal> {
        let (nonce, body) = sealed
            .split_at_checked(aead::NONCE_LEN)
            .ok_or(CannotUnseal)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotUnseal)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .key()
            .and_then(|key| {
                key.open_in_place(nonce, aead::Aad::empty(), &mut body)
                    .map(|text| text.len())
            })
            .map_err(|_| CannotUnseal)?;
        body.truncate(length);
        Ok(body)
    }

    fn key(&self) -> Result<aead::LessSafeKey, ring::error::Unspecified> {
        aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &self.0[..]).map(aead::LessSafeKey::new)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// The gateway's own secrets.
#[derive(Debug, Clone)]
pub struct Keys {
    /// For tokens.
    pub pepper: Pepper,
    /// For stored secrets.
    pub seal: SealKey,
}

/// Where the secrets are.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    /// The pepper.
    pub pepper: PathBuf,
    /// The seal key.
    pub seal: PathBuf,
}

impl KeyFiles {
    /// The places beside the database.
    pub fn beside(data_dir: &Path) -> Self {
        Self {
            pepper: data_dir.join("pepper"),
            seal: data_dir.join("seal.key"),
        }
    }
}

impl Keys {
    /// Reads the secrets, makes what is missing with mode 0600, and checks that the pepper is the
    /// one the database's hashes were made with.
    pub async fn load(files: &KeyFiles, store: &Store) -> Result<Self, KeyError> {
        let pepper = Pepper::new(&*read_or_make(&files.pepper)?);
        let seal = SealKey::new(*read_or_make(&files.seal)?);
        let mac = pepper.hash("callmeter pepper check");
        if store.pepper_check(&mac).await? != mac {
            return Err(KeyError::ForeignPepper {
                path: files.pepper.clone(),
            });
        }
        Ok(Self { pepper, seal })
    }
}

fn read_or_make(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => {
            let mut bytes = Zeroizing::new([0; 32]);
            hex::decode_to_slice(text.trim_end(), &mut bytes[..]).map_err(|_| {
                KeyError::Malformed {
                    path: path.to_owned(),
                    length: text.len(),
                }
            })?;
            Ok(bytes)
        }
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let bytes = Zeroizing::new(random::<32>().map_err(|_| KeyError::Random)?);
            let write = |source| KeyError::Write {
                path: path.to_owned(),
                source,
            };
            write_new(path, hex::encode(&bytes[..]).as_bytes()).map_err(write)?;
            tracing::info!(path = %path.display(), "made a key file");
            Ok(bytes)
        }
        Err(source) => Err(KeyError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a file that must not exist yet, mode 0600, whole or not at all.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}", std::process::id()));
    let part = PathBuf::from(part);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    // A hard link fails if the name exists: two starting processes cannot both win.
    let linked = std::fs::hard_link(&part, path);
    std::fs::remove_file(&part)?;
    linked
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn keys_are_made_once_with_mode_0600_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::beside(dir.path());
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let first = Keys::load(&files, &store).await.unwrap();
        for path in [&files.pepper, &files.seal] {
            assert_eq!(
                std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        let second = Keys::load(&files, &store).await.unwrap();
        assert_eq!(first.pepper.hash("x"), second.pepper.hash("x"));
        assert_ne!(first.pepper.hash("x"), first.pepper.hash("y"));
        let sealed = first.seal.seal(b"hunter2").unwrap();
        assert_eq!(&second.seal.unseal(&sealed).unwrap()[..], b"hunter2");
        assert_eq!(SealKey::new([7; 32]).unseal(&sealed), Err(CannotUnseal));
        assert_eq!(first.seal.unseal(&sealed[..5]), Err(CannotUnseal));
    }

    #[tokio::test]
    async fn a_foreign_or_malformed_pepper_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::beside(dir.path());
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        Keys::load(&files, &store).await.unwrap();
        std::fs::remove_file(&files.pepper).unwrap();
        let foreign = Keys::load(&files, &store).await.unwrap_err();
        assert!(
            matches!(&foreign, KeyError::ForeignPepper { path } if *path == files.pepper),
            "{foreign}"
        );
        std::fs::write(&files.pepper, "short").unwrap();
        let malformed = Keys::load(&files, &store).await.unwrap_err().to_string();
        assert!(
            malformed.contains("pepper holds 5 bytes; accepted: 64"),
            "{malformed}"
        );
    }
}
