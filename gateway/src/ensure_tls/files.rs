//! Certificates as files, for a gateway without Kubernetes.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use callmeter_proto::Secret;

use super::{Bundle, EnsureTlsError, renewed};

/// Makes or renews `ca.crt`, `ca.key`, `tls.crt` and `tls.key` in a directory.
pub(super) fn ensure(dir: &Path, sans: &[String], now: SystemTime) -> Result<(), EnsureTlsError> {
    let failed = |attempt| {
        let path = dir.to_owned();
        move |source| EnsureTlsError::File {
            attempt,
            path,
            source,
        }
    };
    fs::create_dir_all(dir).map_err(failed("make directory"))?;
    let existing = read(dir).map_err(failed("read the certificates in"))?;
    let Some(bundle) = renewed(existing.as_ref(), sans, now)? else {
        tracing::info!(dir = %dir.display(), "certificates are good");
        return Ok(());
    };
    write(dir, &bundle).map_err(failed("write the certificates into"))?;
    tracing::info!(dir = %dir.display(), names = sans.join(","), "certificates made");
    Ok(())
}

/// All four files, or none if one is missing.
fn read(dir: &Path) -> io::Result<Option<Bundle>> {
    let read = |name: &str| match fs::read_to_string(dir.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(failed) => Err(failed),
    };
    let (ca_cert, ca_key, cert, key) = (
        read("ca.crt")?,
        read("ca.key")?,
        read("tls.crt")?,
        read("tls.key")?,
    );
    let (Some(ca_cert), Some(ca_key), Some(cert), Some(key)) = (ca_cert, ca_key, cert, key) else {
        return Ok(None);
    };
    Ok(Some(Bundle {
        ca_cert,
        ca_key: Secret::new(ca_key),
        cert,
        key: Secret::new(key),
    }))
}

fn write(dir: &Path, bundle: &Bundle) -> io::Result<()> {
    let Bundle {
        ca_cert,
        ca_key,
        cert,
        key,
    } = bundle;
    let files = [
        ("ca.crt", 0o644, &**ca_cert),
        ("ca.key", 0o600, ca_key.expose()),
        ("tls.crt", 0o644, cert),
        ("tls.key", 0o600, key.expose()),
    ];
    for (name, mode, text) in files {
        // A reader sees the old file or the new one, never a part.
        let part = dir.join(format!(".{name}.new"));
        let _ = fs::remove_file(&part);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, dir.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_made_once_and_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let sans = ["localhost".to_owned()];
        ensure(dir.path(), &sans, SystemTime::now()).unwrap();
        let first = read(dir.path()).unwrap().unwrap();
        for key in ["ca.key", "tls.key"] {
            assert_eq!(
                fs::metadata(dir.path().join(key))
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o777,
                0o600
            );
        }
        ensure(dir.path(), &sans, SystemTime::now()).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap(), first);
    }
}
