//! Accounts that stand in the definition itself: `list` and `pattern`, in REST and the command line
//! only. They are taken out before anything else reads the definition, and stored sealed.

use std::collections::BTreeMap;

use callmeter_proto::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::InvalidDefinition;
use super::accounts::Credentials;
use super::parse::typed;

/// The most accounts one group may bring.
const MOST: u32 = 100_000;

/// Accounts by index of their group, one per endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InlineAccounts(BTreeMap<usize, Vec<Credentials>>);

/// The form that is sealed and stored; holds passwords.
pub type SealedAccounts = zeroize::Zeroizing<String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    list: Vec<Row>,
    first: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    user: String,
    password: String,
    #[serde(default)]
    auth_user: String,
    #[serde(default)]
    realm: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pattern {
    pattern: String,
    first: Option<u32>,
    password: String,
    #[serde(default)]
    realm: String,
}

impl InlineAccounts {
    /// Takes the accounts out of a definition: what is left holds no password.
    pub(super) fn take(mut definition: Value) -> Result<(Value, Self), InvalidDefinition> {
        let mut taken = BTreeMap::new();
        let groups = definition.get_mut("groups").and_then(Value::as_array_mut);
        for (index, group) in groups.into_iter().flatten().enumerate() {
            let endpoints = group.get("endpoints").and_then(Value::as_u64).unwrap_or(0);
            if endpoints > u64::from(MOST) {
                let message = format!("{endpoints}; accepted: 1 to {MOST}");
                let field = format!("groups[{index}].endpoints");
                return Err(InvalidDefinition::one(field, message));
            }
            let Some(group) = group.as_object_mut() else {
                continue;
            };
            let field = format!("groups[{index}].accounts");
            let one_of = || {
                let message = "accepted: exactly one of secretRef, list, pattern";
                InvalidDefinition::one(&field, message)
            };
            let accounts = match group.get("accounts") {
                None | Some(Value::Null) => continue,
                // What stands here instead of a map may be a password.
                Some(other) => other.as_object().ok_or_else(one_of)?,
            };
            let forms = ["secretRef", "list", "pattern"];
            match forms.iter().filter(|f| accounts.contains_key(**f)).count() {
                1 => {}
                0 if accounts.contains_key("password") => {}
                _ => return Err(one_of()),
            }
            let rows = if accounts.contains_key("list") {
                list(accounts, &field, endpoints as usize)?
            } else if accounts.contains_key("pattern") {
                pattern(accounts, &field, endpoints as u32)?
            } else if accounts.contains_key("password") {
                let message = "is accepted with accounts.pattern only";
                return Err(InvalidDefinition::one(format!("{field}.password"), message));
            } else {
                continue;
            };
            group.remove("accounts");
            taken.insert(index, rows);
        }
        Ok((definition, Self(taken)))
    }

    /// The accounts of a group.
    pub fn of(&self, group: usize) -> Option<&[Credentials]> {
        self.0.get(&group).map(Vec::as_slice)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same users without their secrets: all that is kept of a run that is over.
    pub fn without_passwords(&self) -> Self {
        let blank = |c: &Credentials| Credentials {
            password: Secret::default(),
            ..c.clone()
        };
        Self(
            self.0
                .iter()
                .map(|(group, rows)| (*group, rows.iter().map(blank).collect()))
                .collect(),
        )
    }

    /// The form to seal.
    pub fn to_sealed_form(&self) -> SealedAccounts {
        let row = |c: &Credentials| json!([c.user, c.password.expose(), c.auth_user, c.realm]);
        let groups: Map<String, Value> = self
            .0
            .iter()
            .map(|(group, rows)| {
                (
                    group.to_string(),
                    Value::Array(rows.iter().map(row).collect()),
                )
            })
            .collect();
        Value::Object(groups).to_string().into()
    }

    /// Back from the form that was sealed; `None` if it is not one.
    pub fn from_sealed_form(text: &str) -> Option<Self> {
        let groups: BTreeMap<usize, Vec<(String, String, String, String)>> =
            serde_json::from_str(text).ok()?;
        let row =
            |(user, password, auth_user, realm): (String, String, String, String)| Credentials {
                user,
                password: Secret::new(password),
                auth_user,
                realm,
            };
        let rows = |(group, rows): (usize, Vec<_>)| (group, rows.into_iter().map(row).collect());
        Some(Self(groups.into_iter().map(rows).collect()))
    }
}

fn list(
    fields: &Map<String, Value>,
    field: &str,
    endpoints: usize,
) -> Result<Vec<Credentials>, InvalidDefinition> {
    let List { list, first } = hidden(fields, field)?;
    let first = at_least_one(first, field)?;
    let rows: Vec<Credentials> = list
        .into_iter()
        .map(|row| Credentials {
            user: row.user,
            password: Secret::new(row.password),
            auth_user: row.auth_user,
            realm: row.realm,
        })
        .collect();
    let used = super::accounts::rows(&rows, first, endpoints);
    used.map(<[Credentials]>::to_vec)
        .map_err(|e| InvalidDefinition::one(format!("{field}.list"), e.to_string()))
}

fn pattern(
    fields: &Map<String, Value>,
    field: &str,
    endpoints: u32,
) -> Result<Vec<Credentials>, InvalidDefinition> {
    let Pattern {
        pattern,
        first,
        password,
        realm,
    } = hidden(fields, field)?;
    let first = at_least_one(first, field)?;
    if pattern.matches("{n}").count() != 1
        || !super::accounts::is_user(&pattern.replace("{n}", "1"))
    {
        let pattern: String = pattern
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect();
        let message =
            format!("\"{pattern}\"; accepted: a SIP user name with {{n}} once, like user{{n}}");
        return Err(InvalidDefinition::one(format!("{field}.pattern"), message));
    }
    if !super::accounts::is_quotable(&realm) {
        let message = "accepted: at most 255 bytes without control characters";
        return Err(InvalidDefinition::one(format!("{field}.realm"), message));
    }
    let account = |n: u32| Credentials {
        user: pattern.replace("{n}", &n.to_string()),
        password: Secret::new(password.clone()),
        auth_user: String::new(),
        realm: realm.clone(),
    };
    Ok((0..endpoints)
        .map(|i| account(first.saturating_add(i)))
        .collect())
}

fn at_least_one(first: Option<u32>, field: &str) -> Result<u32, InvalidDefinition> {
    match first.unwrap_or(1) {
        first @ 1..=1_000_000 => Ok(first),
        other => Err(InvalidDefinition::one(
            format!("{field}.first"),
            format!("{other}; accepted: 1 to 1000000"),
        )),
    }
}

/// Typed accounts; what does not fit is told by its path only, since a value may be a password.
fn hidden<T: serde::de::DeserializeOwned>(
    fields: &Map<String, Value>,
    field: &str,
) -> Result<T, InvalidDefinition> {
    typed(Value::Object(fields.clone()), field).map_err(|mut error| {
        for problem in &mut error.0 {
            if let Some(at) = problem.message.find(": ") {
                problem.message.truncate(at);
            }
        }
        error
    })
}
