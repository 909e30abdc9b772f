//! Which SIP port a group of a run gets (R17, R18, R30). Pure: binding is the caller's.

use std::{collections::BTreeSet, io};

use crate::config::PortRange;

/// No port of the range is free.
#[derive(Debug, thiserror::Error)]
#[error(
    "no SIP port is free in SIP_PORT_START to SIP_PORT_END ({range}): {ours} used by groups or \
     freed less than 32 s ago, {foreign} could not be bound ({last})"
)]
pub(super) struct NoSipPort {
    range: PortRange,
    ours: usize,
    foreign: usize,
    last: String,
}

/// The SIP ports of one process.
#[derive(Debug)]
pub(super) struct SipPorts {
    range: PortRange,
    taken: BTreeSet<u16>,
}

impl SipPorts {
    /// All ports of `range` are free.
    pub(super) fn new(range: PortRange) -> Self {
        Self {
            range,
            taken: BTreeSet::new(),
        }
    }

    /// Takes the lowest free port that `bind` can open; ports others hold are skipped.
    pub(super) fn take<S>(
        &mut self,
        mut bind: impl FnMut(u16) -> io::Result<S>,
    ) -> Result<(u16, S), NoSipPort> {
        let mut foreign = 0;
        let mut last = "none".to_owned();
        for port in self.range.first..=self.range.last {
            if self.taken.contains(&port) {
                continue;
            }
            match bind(port) {
                Ok(socket) => {
                    self.taken.insert(port);
                    return Ok((port, socket));
                }
                Err(error) => {
                    foreign += 1;
                    last = error.to_string();
                }
            }
        }
        Err(NoSipPort {
            range: self.range,
            ours: self.taken.len(),
            foreign,
            last,
        })
    }

    /// The port is free from now on.
    pub(super) fn release(&mut self, port: u16) {
        self.taken.remove(&port);
    }

    /// Whether a group has it.
    pub(super) fn is_taken(&self, port: u16) -> bool {
        self.taken.contains(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> SipPorts {
        SipPorts::new(PortRange {
            first: 5060,
            last: 5062,
        })
    }

    fn taken(ports: &mut SipPorts) -> Result<u16, String> {
        ports
            .take(|_| Ok(()))
            .map(|(port, ())| port)
            .map_err(|error| error.to_string())
    }

    /// R17, R18
    #[test]
    fn the_lowest_free_port_is_taken_and_none_outside_the_range() {
        let mut ports = ports();
        let first: Vec<_> = (0..3).map(|_| taken(&mut ports).unwrap()).collect();
        assert_eq!(first, [5060, 5061, 5062]);
        let refused = taken(&mut ports).unwrap_err();
        assert!(
            refused.contains("5060-5062") && refused.contains("3 used by groups"),
            "{refused}"
        );
        ports.release(5061);
        assert!(!ports.is_taken(5061) && ports.is_taken(5060));
        assert_eq!(taken(&mut ports).unwrap(), 5061);
    }

    /// R30
    #[test]
    fn ports_of_other_processes_are_skipped() {
        let mut ports = ports();
        let busy = |port| {
            if port == 5060 {
                Err(io::ErrorKind::AddrInUse.into())
            } else {
                Ok(())
            }
        };
        assert_eq!(ports.take(busy).unwrap().0, 5061);
        let never = |_| Err::<(), _>(io::ErrorKind::AddrInUse.into());
        let refused = ports.take(never).unwrap_err().to_string();
        assert!(refused.contains("2 could not be bound"), "{refused}");
    }
}
