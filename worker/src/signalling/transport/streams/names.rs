//! What shares call servers, which have to prove it where certificates are checked.

use std::{collections::HashMap, net::IpAddr};

use callmeter_engine::{Flow, ShareId};
use rustls::pki_types::ServerName;

use super::{StreamSettings, Streams};

/// Most names of one address.
const MOST: usize = 16;

/// The names by share and address; the first is the one the server is told.
pub(super) type Names = HashMap<(ShareId, IpAddr), Vec<ServerName<'static>>>;

/// The name of the server that a connection is made to.
pub(super) fn of_server(
    names: &mut Names,
    share: ShareId,
    ip: IpAddr,
    settings: &StreamSettings,
) -> ServerName<'static> {
    if settings.names_servers() {
        let known = names.entry((share, ip)).or_default();
        if known.is_empty() {
            known.push(settings.name_of(ip));
        }
        if let Some(first) = known.first() {
            return first.clone();
        }
    }
    ServerName::IpAddress(ip.into())
}

/// What else the server is called that a flow goes to.
pub(super) fn others(names: &Names, flow: Flow) -> &[ServerName<'static>] {
    let known = names.get(&(ShareId::of(flow.local), flow.remote.ip()));
    known.and_then(|known| known.get(1..)).unwrap_or_default()
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
        let known = self.names.entry((share, at)).or_default();
        if known.contains(&name) || !(known.is_empty() || settings.checks_names()) {
            return Ok(());
        }
        if known.len() >= MOST {
            return Err(format!("{at} has {MOST} names already"));
        }
        let there = self.connections.values().filter(|connection| {
            let flow = connection.flow;
            connection.is_ours() && ShareId::of(flow.local) == share && flow.remote.ip() == at
        });
        let mut shown = there.filter_map(|connection| connection.proves(&name));
        if let Some(Err(broken)) = shown.find(Result::is_err) {
            return Err(broken.reason);
        }
        known.push(name);
        Ok(())
    }
}
