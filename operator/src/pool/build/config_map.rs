//! The gateway's CA in the namespace of a pool.

use callmeter_api::labels;
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

/// The copy of the CA. All pools of the namespace share it, so none of them owns it.
pub(crate) fn build_ca(namespace: &str, certificates: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(labels::GATEWAY_CA.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([(labels::MANAGED_BY.to_owned(), labels::OPERATOR.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(labels::CA_KEY.to_owned(), certificates.to_owned())].into()),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_of_the_ca() {
        insta::assert_yaml_snapshot!(build_ca("demo", "-----BEGIN CERTIFICATE-----\n"));
    }
}
