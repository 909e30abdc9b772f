//! The port that answers OPTIONS while no group uses it.

use std::{io, net::UdpSocket, time::Instant};

use super::{IDLE, IDLE_RETRY, Shard};
use crate::signalling::idle::Idle;

impl Shard {
    /// Holds `SIP_PORT_START` for OPTIONS while no group uses it.
    pub(super) fn hold_idle_port(&mut self, now: Instant) {
        let port = self.settings.sip_ports.first;
        if self.ports.is_taken(port) {
            return self.idle_port_is_ours();
        }
        if self.idle.is_some() || now < self.idle_retry {
            return;
        }
        self.idle_retry = now + IDLE_RETRY;
        match self.open_idle(port) {
            Ok(idle) => {
                self.idle = Some(idle);
                self.idle_port_is_ours();
            }
            Err(error) => {
                if !self.idle_failed {
                    tracing::warn!("{error:#}; tried again every {IDLE_RETRY:?}");
                }
                self.idle_failed = true;
                self.stats.set_trouble(self.no_port_at_all());
            }
        }
    }

    /// What was told of a port that others held is over.
    fn idle_port_is_ours(&mut self) {
        if self.idle_failed {
            self.idle_failed = false;
            self.stats.set_trouble(None);
        }
    }

    fn open_idle(&self, port: u16) -> anyhow::Result<Idle> {
        let idle = Idle::open(self.advertised(), port, self.seed)?;
        self.poller.watch(idle.socket(), IDLE)?;
        Ok(idle)
    }

    /// Why no group could get a SIP port now; none: one could.
    fn no_port_at_all(&self) -> Option<String> {
        let range = self.settings.sip_ports;
        let usable = |port: u16| -> io::Result<()> {
            UdpSocket::bind((self.settings.addresses.sip, port)).map(drop)
        };
        let any = (range.first..=range.last).any(|p| self.ports.is_taken(p) || usable(p).is_ok());
        (!any).then(|| format!("no SIP port of {range} can be bound"))
    }
}
