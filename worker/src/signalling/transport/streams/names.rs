//! What shares call servers, which have to prove it where certificates are checked.

use std::{collections::HashMap, net::IpAddr};

use callmeter_engine::{Flow, ShareId};
use rustls::pki_types::ServerName;

use super::{StreamSettings, Streams};

/// Most names of one address.
const MOST: usize = 16;

/// The names by share and address.
pub(super) type Names = HashMap<(ShareId, IpAddr), Known>;

/// What a share calls an address.
#[derive(Default)]
pub(super) struct Known {
    /// The first is the one the server is told.
    pub(super) names: Vec<ServerName<'static>>,
    /// How many of them, from the first on, it has proven.
    proven: usize,
}

fn key(flow: Flow) -> (ShareId, IpAddr) {
    (ShareId::of(flow.local), flow.remote.ip())
}

/// The name of the server that a connection is made to.
pub(super) fn of_server(
    names: &mut Names,
    flow: Flow,
    settings: &StreamSettings,
) -> ServerName<'static> {
    let ip = flow.remote.ip();
    if settings.names_servers() {
        let known = names.entry(key(flow)).or_default();
        if known.names.is_empty() {
            known.names.push(settings.name_of(ip));
        }
        if let Some(first) = known.names.first() {
            return first.clone();
        }
    }
    ServerName::IpAddress(ip.into())
}

/// What else the server is called that a flow goes to.
pub(super) fn others(names: &Names, flow: Flow) -> &[ServerName<'static>] {
    let known = names.get(&key(flow));
    known
        .and_then(|known| known.names.get(1..))
        .unwrap_or_default()
}

/// The server that a flow goes to has proven its names.
pub(super) fn proven(names: &mut Names, flow: Flow) {
    if let Some(known) = names.get_mut(&key(flow)) {
        known.proven = known.names.len();
    }
}

/// It has not: what it has never proven is not asked of it again, lest one wrong name be the end of
/// all calls to it.
pub(super) fn refuted(names: &mut Names, flow: Flow) {
    if let Some(known) = names.get_mut(&key(flow)) {
        known.names.truncate(known.proven);
    }
}

impl Streams {
    /// A share calls this name at this address. Its calls there go by one connection, so where
    /// certificates are checked that of the server must hold all its names (RFC 5922 §7.2): it is
    /// asked, or will be.
    pub(in crate::signalling) fn calls(
        &mut self,
        share: ShareId,
        name: &str,
        at: IpAddr,
    ) -> Result<(), String> {
        let settings = self.locals.get(&share.local()).map(|it| &it.settings);
        let Some(settings) = settings.filter(|it| it.names_servers()) else {
            return Ok(());
        };
        let Ok(name) = ServerName::try_from(name.to_owned()) else {
            return Ok(());
        };
        let Known { names, proven } = self.names.entry((share, at)).or_default();
        if names.contains(&name) || !(names.is_empty() || settings.checks_names()) {
            return Ok(());
        }
        if names.len() >= MOST {
            return Err(format!("{at} has {MOST} names already"));
        }
        let there = self.connections.values().filter(|connection| {
            let flow = connection.flow;
            connection.is_ours() && key(flow) == (share, at)
        });
        let mut shown = there
            .filter_map(|connection| connection.proves(&name))
            .peekable();
        let is_shown = shown.peek().is_some();
        if let Some(Err(broken)) = shown.find(Result::is_err) {
            return Err(broken.reason);
        }
        if is_shown && *proven == names.len() {
            *proven += 1;
        }
        names.push(name);
        Ok(())
    }
}
