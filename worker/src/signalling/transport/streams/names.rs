//! What shares call servers, which have to prove it where certificates are checked.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

use callmeter_engine::{Flow, ShareId};
use rustls::pki_types::ServerName;

use super::{StreamSettings, Streams};

/// Most names of one address.
const MOST: usize = 16;

/// The names by share and address; the first is the one a server is told.
pub(super) type Names = HashMap<(ShareId, IpAddr), Vec<ServerName<'static>>>;

fn key(flow: Flow) -> (ShareId, IpAddr) {
    (ShareId::of(flow.local), flow.remote.ip())
}

/// The name of the server that a connection is made to. One that is called by none of its own has
/// that of all requests' first, else its address: neither says what it is called later.
pub(super) fn of_server(
    names: &Names,
    flow: Flow,
    settings: &StreamSettings,
) -> ServerName<'static> {
    let known = names.get(&key(flow)).and_then(|names| names.first());
    let own = settings.name().filter(|_| settings.names_servers());
    let name = known.or(own).cloned();
    name.unwrap_or_else(|| ServerName::IpAddress(flow.remote.ip().into()))
}

/// What else the server is called that a flow goes to.
pub(super) fn others(names: &Names, flow: Flow) -> &[ServerName<'static>] {
    let names = names.get(&key(flow)).and_then(|names| names.get(1..));
    names.unwrap_or_default()
}

/// The server that a flow goes to has proven no more than this: nothing else is asked of it again,
/// lest one wrong name be the end of all calls to it. Only the share's `own` name is: what goes to
/// its registrar goes to nobody else.
pub(super) fn refuted(
    names: &mut Names,
    flow: Flow,
    proven: &[ServerName<'_>],
    own: Option<&ServerName<'_>>,
) {
    if let Entry::Occupied(mut known) = names.entry(key(flow)) {
        known
            .get_mut()
            .retain(|name| proven.contains(name) || own == Some(name));
        if known.get().is_empty() {
            known.remove();
        }
    }
}

impl Streams {
    /// A server of a share's next hop is at this address: it has to prove the share's own name,
    /// whatever else it is called.
    pub(in crate::signalling) fn serves(&mut self, share: ShareId, at: IpAddr) {
        let settings = self.locals.get(&share.local()).map(|it| &it.settings);
        let settings = settings.filter(|it| it.names_servers());
        if let Some(own) = settings.and_then(StreamSettings::name) {
            let known = self.names.entry((share, at)).or_default();
            if !known.contains(own) {
                known.insert(0, own.clone());
            }
        }
    }

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
        let checks = settings.checks_names();
        let known = self.names.get(&(share, at));
        let known = known.map(Vec::as_slice).unwrap_or_default();
        if known.contains(&name) || !(known.is_empty() || checks) {
            return Ok(());
        }
        if known.len() >= MOST {
            return Err(format!("{at} has {MOST} names already"));
        }
        if checks {
            let there = self.connections.values_mut().filter(|connection| {
                let flow = connection.flow;
                connection.is_ours() && key(flow) == (share, at)
            });
            let there: Vec<_> = there.collect();
            let mut shown = there
                .iter()
                .filter_map(|connection| connection.proves(&name));
            if let Some(Err(broken)) = shown.find(Result::is_err) {
                return Err(broken.reason);
            }
            for connection in there {
                connection.is_called(name.clone());
            }
        }
        self.names.entry((share, at)).or_default().push(name);
        Ok(())
    }
}
