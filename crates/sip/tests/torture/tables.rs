//! What each message is, and what becomes of it.

use callmeter_sip::UriError;
use callmeter_sip::message::HeaderName::{CSeq, ContentLength, From, To, Via as V};
use callmeter_sip::message::HeaderProblem::{
    self, Length, Method, Missing, Range, Repeated, Syntax,
};
use callmeter_sip::message::ParseError::{self, Header, NoEnd, RequestUri, StartLine, Version};

use Outcome::{Accepted, Answered, Dropped, Ignored, Refused};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Well formed, an INVITE: offered to the caller of the stack, who answers it.
    Accepted,
    /// Well formed, answered with this code.
    Answered(u16),
    /// Well formed, a response to nothing we sent: no answer.
    Ignored,
    /// Malformed request: answered with this code, no state kept.
    Refused(u16, ParseError),
    /// Malformed response: no answer.
    Dropped(ParseError),
}

/// The message, its section, what becomes of it. REGISTER is 405 here: a user agent is no
/// registrar, and looks at the method before anything else (RFC 3261 §8.2.1).
pub(crate) const RFC4475: [(&str, &str, Outcome); 49] = [
    // It has a To tag: a request of a dialog nobody knows (RFC 3261 §12.2.2).
    ("wsinv", "3.1.1.1", Answered(481)),
    ("intmeth", "3.1.1.2", Answered(405)),
    ("esc01", "3.1.1.3", Accepted),
    ("escnull", "3.1.1.4", Answered(405)),
    ("esc02", "3.1.1.5", Answered(405)),
    ("lwsdisp", "3.1.1.6", Answered(200)),
    ("longreq", "3.1.1.7", Accepted),
    ("dblreq", "3.1.1.8", Answered(405)),
    ("semiuri", "3.1.1.9", Answered(200)),
    ("transports", "3.1.1.10", Answered(200)),
    ("mpart01", "3.1.1.11", Answered(405)),
    ("unreason", "3.1.1.12", Ignored),
    ("noreason", "3.1.1.13", Ignored),
    ("badinv01", "3.1.2.1", Refused(400, Header(V, Syntax))),
    (
        "clerr",
        "3.1.2.2",
        Refused(400, Header(ContentLength, Length)),
    ),
    (
        "ncl",
        "3.1.2.3",
        Refused(400, Header(ContentLength, Syntax)),
    ),
    ("scalar02", "3.1.2.4", Refused(400, Header(CSeq, Range))),
    ("scalarlg", "3.1.2.5", Dropped(Header(CSeq, Range))),
    ("quotbal", "3.1.2.6", Refused(400, Header(To, Syntax))),
    (
        "ltgtruri",
        "3.1.2.7",
        Refused(400, RequestUri(UriError::Character)),
    ),
    (
        "lwsruri",
        "3.1.2.8",
        Refused(400, RequestUri(UriError::Character)),
    ),
    (
        "lwsstart",
        "3.1.2.9",
        Refused(400, RequestUri(UriError::Character)),
    ),
    ("trws", "3.1.2.10", Refused(400, StartLine)),
    (
        "escruri",
        "3.1.2.11",
        Refused(400, RequestUri(UriError::Headers)),
    ),
    // Date means nothing to a user agent; the RFC leaves it the choice.
    ("baddate", "3.1.2.12", Accepted),
    ("regbadct", "3.1.2.13", Answered(405)),
    (
        "badaspec",
        "3.1.2.14",
        Refused(400, Header(To, HeaderProblem::Uri(UriError::Character))),
    ),
    ("baddn", "3.1.2.15", Refused(400, NoEnd)),
    ("badvers", "3.1.2.16", Refused(505, Version)),
    ("mismatch01", "3.1.2.17", Refused(400, Header(CSeq, Method))),
    ("mismatch02", "3.1.2.18", Refused(400, Header(CSeq, Method))),
    ("bigcode", "3.1.2.19", Dropped(StartLine)),
    ("badbranch", "3.2.1", Answered(200)),
    ("insuf", "3.3.1", Refused(400, Header(From, Missing))),
    ("unkscm", "3.3.2", Answered(416)),
    ("novelsc", "3.3.3", Answered(416)),
    ("unksm2", "3.3.4", Answered(405)),
    ("bext01", "3.3.5", Answered(420)),
    ("invut", "3.3.6", Answered(415)),
    ("regaut01", "3.3.7", Answered(405)),
    ("multi01", "3.3.8", Refused(400, Header(From, Repeated))),
    (
        "mcl01",
        "3.3.9",
        Refused(400, Header(ContentLength, Repeated)),
    ),
    ("bcast", "3.3.10", Ignored),
    ("zeromf", "3.3.11", Answered(200)),
    ("cparam01", "3.3.12", Answered(405)),
    ("cparam02", "3.3.13", Answered(405)),
    ("regescrt", "3.3.14", Answered(405)),
    ("sdp01", "3.3.15", Answered(406)),
    ("inv2543", "3.4.1", Accepted),
];

pub(crate) const RFC5118: [(&str, &str, Outcome); 12] = [
    ("ipv6-good", "4.1", Answered(405)),
    ("ipv6-bad", "4.2", Refused(400, RequestUri(UriError::Port))),
    ("port-ambiguous", "4.3", Answered(405)),
    ("port-unambiguous", "4.4", Answered(405)),
    ("via-received-param-with-delim", "4.5", Answered(481)),
    ("via-received-param-no-delim", "4.5", Answered(200)),
    ("ipv6-in-sdp", "4.6", Accepted),
    ("mult-ip-in-header", "4.7", Answered(481)),
    ("mult-ip-in-sdp", "4.8", Accepted),
    ("ipv4-mapped-ipv6", "4.9", Accepted),
    ("ipv6-bug-abnf-3-colons", "4.10", Answered(200)),
    ("ipv6-correct-abnf-2-colons", "4.10", Answered(200)),
];
