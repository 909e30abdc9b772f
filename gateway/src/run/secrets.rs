//! The SIP accounts of a run: read from Secrets at dispatch, kept in memory only.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::definition::{self, Accounts, Credentials, InlineAccounts, ValidatedTest, read_csv};

/// Key of a Secret that holds accounts.
const KEY: &str = "accounts.csv";

/// An API server that does not answer for this long has its turn when the test is submitted again.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// Reads accounts; without a cluster only those given with the definition.
#[derive(Clone)]
pub struct AccountReader {
    client: Option<Client>,
}

impl std::fmt::Debug for AccountReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountReader")
            .field("in_cluster", &self.client.is_some())
            .finish()
    }
}

impl AccountReader {
    /// With a client of the cluster the gateway runs in, if it runs in one.
    pub fn new(client: Option<Client>) -> Self {
        Self { client }
    }

    /// One list per group with one account per endpoint, or an empty one; the error says which
    /// group and why.
    pub async fn read(
        &self,
        test: &ValidatedTest,
        inline: &InlineAccounts,
    ) -> Result<Vec<Vec<Credentials>>, String> {
        let mut secrets: BTreeMap<(&str, &str), Vec<Credentials>> = BTreeMap::new();
        let mut all = Vec::new();
        for (index, group) in test.groups.iter().enumerate() {
            let of_group = |problem: String| format!("accounts of group {}: {problem}", group.name);
            all.push(match &group.accounts {
                Accounts::None => Vec::new(),
                Accounts::Inline => inline.of(index).unwrap_or_default().to_vec(),
                Accounts::Secret {
                    namespace,
                    name,
                    first,
                } => {
                    let key = (namespace.as_str(), name.as_str());
                    let rows = match secrets.entry(key) {
                        Entry::Occupied(read) => read.into_mut(),
                        Entry::Vacant(unread) => {
                            unread.insert(self.secret(namespace, name).await.map_err(of_group)?)
                        }
                    };
                    definition::accounts_of_group(rows, *first, group.endpoints).map_err(|e| {
                        of_group(format!("Secret {namespace}/{name}, key {KEY}: {e}"))
                    })?
                }
            });
        }
        definition::overlaps(test, &all).map_err(|e| e.to_string())?;
        Ok(all)
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Vec<Credentials>, String> {
        let named = format!("Secret {namespace}/{name}");
        let Some(client) = &self.client else {
            return Err(format!(
                "{named}: this gateway runs outside a cluster; accepted: list or pattern"
            ));
        };
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let answer = tokio::time::timeout(READ_WITHIN, api.get(name)).await;
        let secret = match answer {
            Err(_) => {
                return Err(format!(
                    "{named}: no answer of the API server in {} s",
                    READ_WITHIN.as_secs()
                ));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Err(format!("{named} does not exist"));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return Err(format!(
                    "{named}: the gateway may not read it; name it in the chart value gateway.accountSecrets or its namespace in gateway.accountNamespaces"
                ));
            }
            Ok(Err(error)) => return Err(format!("{named} cannot be read: {error}")),
            Ok(Ok(secret)) => secret,
        };
        let data = secret.data.unwrap_or_default();
        let bytes = data
            .get(KEY)
            .ok_or_else(|| format!("{named} has no key {KEY}"))?;
        let bytes = zeroize::Zeroizing::new(bytes.0.clone());
        read_csv(&bytes).map_err(|e| format!("{named}, key {KEY}: {e}"))
    }
}

#[cfg(test)]
mod tests;
