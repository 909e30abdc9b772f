//! What a run needs of Secrets, SIP accounts and certificates: read at dispatch, kept in memory
//! only.

mod certificates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use zeroize::Zeroizing;

pub use certificates::{Pair, TlsMaterial};

use crate::definition::{
    self, Accounts, Credentials, Group, InlineAccounts, Tls, ValidatedTest, read_csv,
};

/// Key of a Secret that holds accounts.
const ACCOUNTS: &str = "accounts.csv";

/// Keys of a Secret of the type kubernetes.io/tls.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// An API server that does not answer for this long has its turn when the test is submitted again.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// What the groups of a run are given, by index, and what is to be said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSecrets {
    /// One per group.
    pub groups: Vec<GroupSecrets>,
    /// Certificates that end soon.
    pub warnings: Vec<String>,
}

/// What a group is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSecrets {
    /// One per endpoint, or none.
    pub accounts: Vec<Credentials>,
    /// If its registrar has `tls`.
    pub tls: Option<TlsMaterial>,
}

/// Reads Secrets; without a cluster only accounts that are given with the definition.
#[derive(Clone)]
pub struct SecretReader {
    client: Option<Client>,
}

impl std::fmt::Debug for SecretReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretReader")
            .field("in_cluster", &self.client.is_some())
            .finish()
    }
}

/// Secrets read so far, by namespace and name: each is read once for a run.
type Read = BTreeMap<(String, String), Data>;

/// What a Secret holds, by key; wiped when dropped.
type Data = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl SecretReader {
    /// With a client of the cluster the gateway runs in, if it runs in one.
    pub fn new(client: Option<Client>) -> Self {
        Self { client }
    }

    /// What each group needs; the error says which group and why. Certificates are judged at `now`.
    pub async fn read(
        &self,
        test: &ValidatedTest,
        inline: &InlineAccounts,
        now: SystemTime,
    ) -> Result<RunSecrets, String> {
        let mut read = Read::new();
        let mut secrets = RunSecrets::default();
        let mut accounts = Vec::new();
        for (index, group) in test.groups.iter().enumerate() {
            let of_group =
                |what: &str, problem: String| format!("{what} of group {}: {problem}", group.name);
            let given = inline.of(index).unwrap_or_default();
            let rows = self.accounts(&mut read, group, given).await;
            accounts.push(rows.map_err(|problem| of_group("accounts", problem))?);
            let mut warnings = Vec::new();
            let tls = match group.registrar.as_ref().and_then(|r| r.tls.as_ref()) {
                Some(tls) => {
                    let material = self.tls(&mut read, tls, now, &mut warnings).await;
                    Some(material.map_err(|problem| of_group("tls", problem))?)
                }
                None => None,
            };
            let warnings = warnings.into_iter().map(|w| of_group("tls", w));
            secrets.warnings.extend(warnings);
            secrets.groups.push(GroupSecrets {
                accounts: Vec::new(),
                tls,
            });
        }
        definition::overlaps(test, &accounts).map_err(|e| e.to_string())?;
        for (group, rows) in secrets.groups.iter_mut().zip(accounts) {
            group.accounts = rows;
        }
        Ok(secrets)
    }

    async fn accounts(
        &self,
        read: &mut Read,
        group: &Group,
        given: &[Credentials],
    ) -> Result<Vec<Credentials>, String> {
        let (namespace, name, first) = match &group.accounts {
            Accounts::None => return Ok(Vec::new()),
            Accounts::Inline => return Ok(given.to_vec()),
            Accounts::Secret {
                namespace,
                name,
                first,
            } => (namespace, name, *first),
        };
        let (named, bytes) = self.value(read, namespace, name, ACCOUNTS).await?;
        let rows = read_csv(bytes).map_err(|e| format!("{named}: {e}"))?;
        definition::accounts_of_group(&rows, first, group.endpoints)
            .map_err(|e| format!("{named}: {e}"))
    }

    async fn tls(
        &self,
        read: &mut Read,
        tls: &Tls,
        now: SystemTime,
        warnings: &mut Vec<String>,
    ) -> Result<TlsMaterial, String> {
        let mut material = TlsMaterial::default();
        if let Some((name, key)) = &tls.ca {
            let (named, pem) = self.value(read, &tls.namespace, name, key).await?;
            material.ca_pem = certificates::trusted(pem, &named, now, warnings)?;
        }
        for (name, pair) in [
            (&tls.client, &mut material.client),
            (&tls.server, &mut material.server),
        ] {
            let Some(name) = name else { continue };
            let (chain_named, chain) = self
                .value(read, &tls.namespace, name, CERTIFICATE)
                .await
                .map(|(named, pem)| (named, pem.to_vec()))?;
            let (key_named, key) = self.value(read, &tls.namespace, name, KEY).await?;
            *pair = certificates::pair((&chain, &chain_named), (key, &key_named), now, warnings)?;
        }
        Ok(material)
    }

    /// The value of a key, and how errors name it.
    async fn value<'r>(
        &self,
        read: &'r mut Read,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<(String, &'r [u8]), String> {
        let data = match read.entry((namespace.to_owned(), name.to_owned())) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => unread.insert(self.secret(namespace, name).await?),
        };
        let bytes = data
            .get(key)
            .ok_or_else(|| format!("Secret {namespace}/{name} has no key {key}"))?;
        Ok((format!("Secret {namespace}/{name}, key {key}"), bytes))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Data, String> {
        let named = format!("Secret {namespace}/{name}");
        let Some(client) = &self.client else {
            return Err(format!(
                "{named}: this gateway runs outside a cluster; accepted: accounts by list or pattern, tls without Secrets"
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
        let wiped = |(key, bytes): (String, k8s_openapi::ByteString)| (key, bytes.0.into());
        Ok(data.into_iter().map(wiped).collect())
    }
}
