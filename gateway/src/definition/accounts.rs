//! SIP accounts: `accounts.csv` of a Secret, and users that two groups would share.

use std::collections::HashMap;

use callmeter_proto::Secret;
use callmeter_sip::Transport;

use super::{Group, ValidatedTest};

/// One SIP account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User part of the address of record.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Empty: same as `user`.
    pub auth_user: String,
    /// Empty: taken from the challenge.
    pub realm: String,
}

/// Why accounts cannot be used; never holds a row's content but the user name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// A row that cannot be read.
    #[error("row {row}: {problem}; accepted: user,password[,authUser[,realm]]")]
    Row {
        /// From 1.
        row: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Too few rows.
    #[error("holds {have} accounts; rows {first} to {last} are needed")]
    TooFew {
        /// Rows there are.
        have: usize,
        /// First row needed, from 1.
        first: u32,
        /// Last row needed.
        last: usize,
    },
    /// One account for two endpoints.
    #[error(
        "groups {one} and {other} would both use the account \"{user}\" at {registrar}; accepted: an account of its own for each endpoint"
    )]
    Shared {
        /// A group.
        one: String,
        /// Another, or the same.
        other: String,
        /// The user.
        user: String,
        /// Where both register.
        registrar: String,
    },
}

/// Reads `accounts.csv`: `user,password[,authUser[,realm]]`, fields with a comma in double quotes.
/// Empty lines are skipped.
pub fn read_csv(bytes: &[u8]) -> Result<Vec<Credentials>, AccountError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut accounts = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let wrong = |problem| AccountError::Row {
            row: index + 1,
            problem,
        };
        let record = record.map_err(|_| wrong("is not UTF-8 text"))?;
        let field = |i| record.get(i).unwrap_or_default();
        if !(2..=4).contains(&record.len()) {
            return Err(wrong("has not two to four fields"));
        }
        let user = field(0).trim();
        let account = Credentials {
            user: user.to_owned(),
            password: Secret::new(field(1)),
            auth_user: field(2).trim().to_owned(),
            realm: field(3).trim().to_owned(),
        };
        account.problem().map_or(Ok(()), |p| Err(wrong(p)))?;
        accounts.push(account);
    }
    Ok(accounts)
}

/// The rows `first`.. (from 1) that `endpoints` endpoints use.
pub(super) fn rows(
    all: &[Credentials],
    first: u32,
    endpoints: usize,
) -> Result<&[Credentials], AccountError> {
    let from = first as usize - 1;
    let last = from + endpoints;
    let used = all.get(from..last).ok_or(AccountError::TooFew {
        have: all.len(),
        first,
        last,
    })?;
    for (i, account) in used.iter().enumerate() {
        if let Some(problem) = account.problem() {
            let row = from + i + 1;
            return Err(AccountError::Row { row, problem });
        }
    }
    Ok(used)
}

impl Credentials {
    /// What of it no SIP message can carry.
    fn problem(&self) -> Option<&'static str> {
        if !is_user(&self.user) {
            return Some("the user is empty or holds a character no SIP user may have");
        }
        let unfit = !is_quotable(&self.auth_user) || !is_quotable(&self.realm);
        unfit.then_some("authUser or realm holds a control character or more than 255 bytes")
    }
}

/// Whether a text can stand between quotes in a header.
pub(super) fn is_quotable(text: &str) -> bool {
    text.len() <= 255 && !text.chars().any(char::is_control)
}

/// The accounts of a group out of the rows of its Secret.
pub(crate) fn of_group(
    all: &[Credentials],
    first: u32,
    endpoints: u32,
) -> Result<Vec<Credentials>, AccountError> {
    rows(all, first, endpoints as usize).map(<[Credentials]>::to_vec)
}

/// RFC 3261 §25.1 `user`, without escapes.
pub(super) fn is_user(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

/// Where the users of a group are known: the domain of its registrar, in one case, and a port other
/// than those that the transports have by themselves, else 0. A server at those is one server, by
/// whichever transport. Without a domain there is none.
pub(super) fn server(group: &Group) -> Option<(String, u16)> {
    let registrar = group.registrar.as_ref()?;
    let transport = Transport::parse(registrar.transport.as_str().as_bytes());
    let own = transport.is_some_and(|it| it.default_port() == registrar.port);
    let port = if own { 0 } else { registrar.port };
    (!registrar.domain.is_empty()).then(|| (registrar.domain.to_ascii_lowercase(), port))
}

/// Refuses two endpoints of one run with the same user at the same registrar.
pub fn overlaps(test: &ValidatedTest, accounts: &[Vec<Credentials>]) -> Result<(), AccountError> {
    let mut taken: HashMap<((String, u16), &str), usize> = HashMap::new();
    for (index, (group, rows)) in test.groups.iter().zip(accounts).enumerate() {
        let Some(server) = server(group) else {
            continue;
        };
        for row in rows {
            let key = (server.clone(), row.user.as_str());
            if let Some(other) = taken.insert(key, index) {
                return Err(AccountError::Shared {
                    one: test.groups[other].name.clone(),
                    other: group.name.clone(),
                    user: row.user.clone(),
                    registrar: server.0,
                });
            }
        }
    }
    Ok(())
}
