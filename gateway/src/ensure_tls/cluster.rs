//! Certificates as a Secret (`tls.crt`, `tls.key`, `ca.crt`, `ca.key`) and a `ConfigMap` (`ca.crt`).

use std::collections::BTreeMap;
use std::time::SystemTime;

use callmeter_proto::Secret as Hidden;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ObjectMeta, PostParams};

use super::{Bundle, EnsureTlsError, renewed};

const FIELD_MANAGER: &str = "callmeter-gateway-ensure-tls";

/// Makes or renews both objects.
pub(super) async fn ensure(
    namespace: &str,
    secret: &str,
    config_map: &str,
    sans: &[String],
    now: SystemTime,
) -> Result<(), EnsureTlsError> {
    let client = kube::Client::try_default()
        .await
        .map_err(failed("connect to the cluster"))?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = secrets
        .get_opt(secret)
        .await
        .map_err(failed(&format!("read Secret {namespace}/{secret}")))?;
    let existing = found
        .as_ref()
        .map(|found| read(found, namespace, secret))
        .transpose()?;
    let ca_cert = match renewed(existing.as_ref(), sans, now)? {
        None => {
            tracing::info!(namespace, secret, "certificates are good");
            existing.map(|bundle| bundle.ca_cert).unwrap_or_default()
        }
        Some(bundle) => {
            write_secret(&secrets, secret, found, &bundle)
                .await
                .map_err(failed(&format!("write Secret {namespace}/{secret}")))?;
            tracing::info!(
                namespace,
                secret,
                names = sans.join(","),
                "certificates made"
            );
            bundle.ca_cert
        }
    };
    let config_maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    publish_ca(&config_maps, config_map, &ca_cert)
        .await
        .map_err(failed(&format!("write ConfigMap {namespace}/{config_map}")))
}

fn failed(attempt: &str) -> impl FnOnce(kube::Error) -> EnsureTlsError {
    let attempt = attempt.to_owned();
    move |source| EnsureTlsError::Cluster {
        attempt,
        source: Box::new(source),
    }
}

fn read(secret: &Secret, namespace: &str, name: &str) -> Result<Bundle, EnsureTlsError> {
    let foreign = |problem: String| EnsureTlsError::ForeignSecret {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        problem,
    };
    let text = |key: &str| {
        let bytes = secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .ok_or_else(|| foreign(format!("no key {key}")))?;
        String::from_utf8(bytes.0.clone()).map_err(|_| foreign(format!("key {key} is not PEM")))
    };
    Ok(Bundle {
        ca_cert: text("ca.crt")?,
        ca_key: Hidden::new(text("ca.key")?),
        cert: text("tls.crt")?,
        key: Hidden::new(text("tls.key")?),
    })
}

/// The first time by POST, afterwards by PUT with the version that was read: of two at work one
/// fails, and is started again.
async fn write_secret(
    secrets: &Api<Secret>,
    name: &str,
    found: Option<Secret>,
    bundle: &Bundle,
) -> Result<(), kube::Error> {
    let Bundle {
        ca_cert,
        ca_key,
        cert,
        key,
    } = bundle;
    let data = [
        ("ca.crt", &**ca_cert),
        ("ca.key", ca_key.expose()),
        ("tls.crt", cert),
        ("tls.key", key.expose()),
    ];
    let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())));
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    if let Some(found) = found {
        let secret = Secret {
            data: Some(data.into()),
            ..found
        };
        secrets.replace(name, &params, &secret).await?;
    } else {
        let secret = Secret {
            metadata: metadata(name),
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(data.into()),
            ..Secret::default()
        };
        secrets.create(&params, &secret).await?;
    }
    Ok(())
}

async fn publish_ca(
    config_maps: &Api<ConfigMap>,
    name: &str,
    ca_cert: &str,
) -> Result<(), kube::Error> {
    let data = BTreeMap::from([("ca.crt".to_owned(), ca_cert.to_owned())]);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match config_maps.get_opt(name).await? {
        Some(found) if found.data.as_ref() == Some(&data) => {}
        Some(found) => {
            config_maps
                .replace(
                    name,
                    &params,
                    &ConfigMap {
                        data: Some(data),
                        ..found
                    },
                )
                .await?;
        }
        None => {
            let made = ConfigMap {
                metadata: metadata(name),
                data: Some(data),
                ..ConfigMap::default()
            };
            config_maps.create(&params, &made).await?;
        }
    }
    Ok(())
}

fn metadata(name: &str) -> ObjectMeta {
    let label = (
        "app.kubernetes.io/managed-by".to_owned(),
        "callmeter-gateway".to_owned(),
    );
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some([label].into()),
        ..ObjectMeta::default()
    }
}
