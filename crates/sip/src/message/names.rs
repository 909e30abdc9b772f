//! Methods and header names.

/// A request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// INVITE
    Invite,
    /// ACK
    Ack,
    /// BYE
    Bye,
    /// CANCEL
    Cancel,
    /// REGISTER
    Register,
    /// OPTIONS
    Options,
    /// INFO (RFC 6086)
    Info,
    /// UPDATE (RFC 3311)
    Update,
    /// PRACK (RFC 3262)
    Prack,
    /// REFER (RFC 3515)
    Refer,
    /// NOTIFY (RFC 6665)
    Notify,
    /// Any other; its name is in the message.
    Other,
}

impl Method {
    const KNOWN: [Self; 11] = [
        Self::Invite,
        Self::Ack,
        Self::Bye,
        Self::Cancel,
        Self::Register,
        Self::Options,
        Self::Info,
        Self::Update,
        Self::Prack,
        Self::Refer,
        Self::Notify,
    ];

    /// The method of a name; methods are case-sensitive (RFC 3261 §7.1).
    pub fn parse(name: &[u8]) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|method| method.as_str().as_bytes() == name)
            .unwrap_or(Self::Other)
    }

    /// The name on the wire, empty for [`Method::Other`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
            Self::Other => "",
        }
    }
}

macro_rules! header_names {
    ($($variant:ident $name:literal $compact:literal,)*) => {
        /// The name of a header field this stack knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum HeaderName {
            $(#[doc = $name] $variant,)*
            /// Any other; its name is in the message.
            Other,
        }

        impl HeaderName {
            /// Long name, compact name (empty: none).
            const KNOWN: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $name, $compact),)*];

            /// The name on the wire, in its long form.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "",
                }
            }
        }
    };
}

header_names! {
    Via "Via" "v",
    From "From" "f",
    To "To" "t",
    CallId "Call-ID" "i",
    CSeq "CSeq" "",
    Contact "Contact" "m",
    MaxForwards "Max-Forwards" "",
    Route "Route" "",
    RecordRoute "Record-Route" "",
    ServiceRoute "Service-Route" "",
    ContentLength "Content-Length" "l",
    ContentType "Content-Type" "c",
    ContentEncoding "Content-Encoding" "e",
    Expires "Expires" "",
    FlowTimer "Flow-Timer" "",
    MinExpires "Min-Expires" "",
    WwwAuthenticate "WWW-Authenticate" "",
    ProxyAuthenticate "Proxy-Authenticate" "",
    Authorization "Authorization" "",
    ProxyAuthorization "Proxy-Authorization" "",
    Accept "Accept" "",
    AuthenticationInfo "Authentication-Info" "",
    Allow "Allow" "",
    Supported "Supported" "k",
    Require "Require" "",
    Unsupported "Unsupported" "",
    RetryAfter "Retry-After" "",
    SessionExpires "Session-Expires" "x",
    MinSe "Min-SE" "",
    RSeq "RSeq" "",
    RAck "RAck" "",
    ReferTo "Refer-To" "r",
    Replaces "Replaces" "",
    Event "Event" "o",
    SubscriptionState "Subscription-State" "",
}

impl HeaderName {
    /// The header of a name, long or compact, in any case.
    pub fn parse(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        Self::KNOWN
            .iter()
            .find(|(_, long, compact)| {
                name.eq_ignore_ascii_case(long.as_bytes())
                    || name.eq_ignore_ascii_case(compact.as_bytes())
            })
            .map_or(Self::Other, |(header, ..)| *header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_any_case_and_form() {
        assert_eq!(HeaderName::parse(b"cAlL-iD"), HeaderName::CallId);
        assert_eq!(HeaderName::parse(b"i"), HeaderName::CallId);
        assert_eq!(HeaderName::parse(b"K"), HeaderName::Supported);
        assert_eq!(HeaderName::parse(b"x-test"), HeaderName::Other);
        assert_eq!(HeaderName::parse(b""), HeaderName::Other);
    }

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::parse(b"INVITE"), Method::Invite);
        assert_eq!(Method::parse(b"invite"), Method::Other);
    }
}
