//! Who sends: directions, hold and resume (RFC 3264 §6.1, §8.4).

use sdp_types::Attribute;

/// Direction of a media stream, from the point of view of who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sends and receives.
    SendRecv,
    /// Sends only.
    SendOnly,
    /// Receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    const ALL: [Self; 4] = [
        Self::SendRecv,
        Self::SendOnly,
        Self::RecvOnly,
        Self::Inactive,
    ];

    /// What to offer (RFC 3264 §8.4): a stream is put on hold by `sendonly`; if the far end holds
    /// it already and we only receive, by `inactive`. Without a hold of ours we offer to do both:
    /// whether it goes on holding is the far end's to answer.
    pub fn offered(we_hold: bool, far_end_holds: bool) -> Self {
        Self::new(!(we_hold && far_end_holds), !we_hold)
    }

    /// What we are ready for in an answer: [`super::answer`] narrows it to what was offered. A
    /// stream we hold stays held whatever the far end offers.
    pub fn answered(we_hold: bool) -> Self {
        Self::new(true, !we_hold)
    }

    /// Whether media is sent.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether media is received.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    pub(super) fn of(attributes: &[Attribute]) -> Option<Self> {
        attributes.iter().find_map(|attribute| {
            let named = |direction: &Self| direction.as_str() == attribute.attribute;
            Self::ALL.into_iter().find(named)
        })
    }
}
