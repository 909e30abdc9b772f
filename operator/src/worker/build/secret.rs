//! The Secret of a minted token.

use callmeter_api::labels;
use callmeter_proto::Secret as SecretText;
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::owner;
use crate::worker::validate::ValidatedWorker;

/// The Secret, or for a dry run the same without a token in it. Immutable: its kubelets stop
/// watching it, and nobody changes it by mistake; a new token is a new Secret.
pub(crate) fn build_secret(worker: &ValidatedWorker, token: Option<&SecretText>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(worker.token.name.clone()),
            namespace: Some(worker.namespace.clone()),
            labels: Some(
                [
                    (labels::POOL.to_owned(), worker.pool.clone()),
                    (labels::WORKER.to_owned(), worker.name.clone()),
                    (labels::MANAGED_BY.to_owned(), labels::OPERATOR.to_owned()),
                ]
                .into(),
            ),
            owner_references: Some(vec![owner(worker)]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        immutable: Some(true),
        data: token.map(|token| {
            [(
                worker.token.key.clone(),
                ByteString(token.expose().as_bytes().to_vec()),
            )]
            .into()
        }),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::validate::tests::valid;

    #[test]
    fn a_minted_token() {
        let worker = valid(
            "{spec: {claimed: true, tokenSecretRef: {name: fra-aaaaaaaa-token, key: token}}}",
        );
        insta::assert_yaml_snapshot!(build_secret(&worker, Some(&SecretText::new("cmw_example"))));
    }
}
