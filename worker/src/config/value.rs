//! Readers of single variables.

use std::{fmt, net::IpAddr, time::Duration};

use callmeter_proto::WorkerToken;

use super::{ConfigError, Vars};

const GATEWAY_FORMS: &str = "host:port or host (port 443), the host a DNS name, an IPv4 address or an IPv6 address in \
     brackets, without a scheme or a path";
const TOKEN_FORM: &str = "cmw_ and 64 lowercase hexadecimal characters";
const PORT_FORM: &str = "a port number from 1 to 65535";
const DURATION_FORM: &str =
    "a whole number with unit s, m or h, or several of them, as 90s, 20m or 1h30m; at most 168h";

/// Reads variables; an empty one is unset.
pub(super) struct Reader<'a>(&'a Vars);

impl<'a> Reader<'a> {
    pub(super) fn new(vars: &'a Vars) -> Self {
        Self(vars)
    }

    pub(super) fn optional(&self, name: &str) -> Option<&'a str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A name that Kubernetes gave; empty: it gave none.
    pub(super) fn kubernetes_name(&self, variable: &'static str) -> Result<String, ConfigError> {
        let text = self.optional(variable).unwrap_or_default();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let problem = if text.len() > 253 {
            format!("has {} bytes", text.len())
        } else if !text.bytes().all(allowed) {
            "has another character".into()
        } else {
            return Ok(text.to_owned());
        };
        Err(ConfigError {
            variable,
            problem,
            accepted: "1 to 253 letters, digits, '-', '_' or '.'",
        })
    }

    fn required(
        &self,
        variable: &'static str,
        accepted: &'static str,
    ) -> Result<&'a str, ConfigError> {
        self.optional(variable).ok_or_else(|| ConfigError {
            variable,
            problem: "is required and not set".into(),
            accepted,
        })
    }
}

/// The gateway a worker dials: `host:port` without a scheme (R3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    /// DNS name or IP address, an IPv6 one without its brackets.
    pub host: String,
    /// TCP port, 443 unless given (R4).
    pub port: u16,
}

impl GatewayAddress {
    /// The address as an authority: IPv6 in brackets.
    pub fn authority(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

/// Form of the log (R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people, coloured.
    Pretty,
}

/// An inclusive range of ports, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl PortRange {
    /// Whether a port is in both ranges.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether the range holds the port.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Pairs of an even port and the odd one above it that lie inside the range.
    pub fn even_pairs(self) -> u32 {
        let first = u32::from(self.first).next_multiple_of(2);
        (u32::from(self.last) + 1).saturating_sub(first) / 2
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

pub(super) fn token(vars: &Reader<'_>) -> Result<WorkerToken, ConfigError> {
    let text = vars.required("WORKER_TOKEN", TOKEN_FORM)?;
    WorkerToken::parse(text).map_err(|_| ConfigError {
        variable: "WORKER_TOKEN",
        problem: if text.starts_with("cmc_") {
            "is a cloud worker's token (cmc_), which a user-owned worker cannot use".into()
        } else {
            format!("is malformed ({} characters)", text.chars().count())
        },
        accepted: TOKEN_FORM,
    })
}

pub(super) fn gateway(vars: &Reader<'_>) -> Result<GatewayAddress, ConfigError> {
    let text = vars.required("CLOUD_URL", GATEWAY_FORMS)?;
    let bad = |problem: &str| ConfigError {
        variable: "CLOUD_URL",
        problem: problem.into(),
        accepted: GATEWAY_FORMS,
    };
    if text.contains("://") {
        return Err(bad("has a scheme"));
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| bad("has an open bracket"))?;
        if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
            return Err(bad("has no IPv6 address in its brackets"));
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(bad("has text after its bracket")),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(bad("has more than one colon outside brackets"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => 443,
        Some(digits) if is_number(digits) => parse_port(digits).ok_or_else(|| {
            bad(&format!(
                "has the port {digits}, which is not from 1 to 65535"
            ))
        })?,
        Some(_) => return Err(bad("has a port that is not a number from 1 to 65535")),
    };
    if !host.contains(':') && !is_host(host) {
        return Err(bad("has no valid host"));
    }
    Ok(GatewayAddress {
        host: host.to_owned(),
        port,
    })
}

/// A DNS name of RFC 1123 labels (underscores allowed, as resolvers take them) or an IPv4 address.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric {
        return matches!(name.parse(), Ok(IpAddr::V4(_)));
    }
    name.len() <= 253 && name.split('.').all(label)
}

pub(super) fn name(vars: &Reader<'_>) -> Result<Option<String>, ConfigError> {
    let Some(text) = vars.optional("WORKER_NAME") else {
        return Ok(None);
    };
    // What was no UTF-8 has become U+FFFD; the gateway takes 253 bytes.
    let unreadable = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    let characters = text.chars().count();
    let problem = if WorkerToken::parse(text).is_ok() {
        "is a token, which everyone would see".into()
    } else if characters > 128 || text.len() > 253 {
        format!("has {characters} characters in {} bytes", text.len())
    } else if text.chars().any(unreadable) || text.trim() != text {
        "is not a name that can be shown".into()
    } else {
        return Ok(Some(text.to_owned()));
    };
    Err(ConfigError {
        variable: "WORKER_NAME",
        problem,
        accepted: "1 to 128 printable characters of at most 253 bytes, as dc-frankfurt-01",
    })
}

pub(super) fn log_level(vars: &Reader<'_>) -> Result<tracing::Level, ConfigError> {
    use tracing::Level;
    Ok(match vars.optional("LOG_LEVEL") {
        None | Some("info") => Level::INFO,
        Some("error") => Level::ERROR,
        Some("warn") => Level::WARN,
        Some("debug") => Level::DEBUG,
        Some("trace") => Level::TRACE,
        Some(_) => {
            return Err(ConfigError {
                variable: "LOG_LEVEL",
                problem: "is not a log level".into(),
                accepted: "error, warn, info, debug or trace",
            });
        }
    })
}

pub(super) fn log_format(vars: &Reader<'_>) -> Result<LogFormat, ConfigError> {
    match vars.optional("LOG_FORMAT") {
        None | Some("json") => Ok(LogFormat::Json),
        Some("pretty") => Ok(LogFormat::Pretty),
        Some(_) => Err(ConfigError {
            variable: "LOG_FORMAT",
            problem: "is not a log format".into(),
            accepted: "json or pretty",
        }),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}

pub(super) fn port(
    vars: &Reader<'_>,
    variable: &'static str,
    default: u16,
) -> Result<u16, ConfigError> {
    let Some(text) = vars.optional(variable) else {
        return Ok(default);
    };
    parse_port(text).ok_or_else(|| ConfigError {
        variable,
        problem: if is_number(text) {
            format!("is {text}")
        } else {
            "is not a number".into()
        },
        accepted: PORT_FORM,
    })
}

/// Whether a text is a number short enough to be no part of a token.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (1..=10).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Reads the two ends of a range that must hold at least `least` ports (two: an even port and the
/// odd one above it).
pub(super) fn ports(
    vars: &Reader<'_>,
    (first_name, first): (&'static str, u16),
    (last_name, last): (&'static str, u16),
    least: u32,
) -> Result<PortRange, ConfigError> {
    let first_given = vars.optional(first_name).is_some();
    let range = PortRange {
        first: port(vars, first_name, first)?,
        last: port(vars, last_name, last)?,
    };
    // The variable that was set is named; with both set the upper one.
    let (variable, other) = if first_given && vars.optional(last_name).is_none() {
        (first_name, last_name)
    } else {
        (last_name, first_name)
    };
    if range.first > range.last {
        return Err(ConfigError {
            variable,
            problem: format!(
                "contradicts {other}: the first port, {}, is above the last one, {}",
                range.first, range.last
            ),
            accepted: "a range whose first port is not above its last (both variables have a default)",
        });
    }
    if least == 2 && range.even_pairs() == 0 {
        return Err(ConfigError {
            variable,
            problem: format!("and {other} ({range}) leave no room for a single endpoint"),
            accepted: "a range with an even port and the odd one above it (two ports per endpoint)",
        });
    }
    Ok(range)
}

/// Reads `DRAIN_TIMEOUT`: at most 7 days, zero allowed (end at once).
pub(super) fn drain_timeout(vars: &Reader<'_>) -> Result<Duration, ConfigError> {
    const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
    let Some(text) = vars.optional("DRAIN_TIMEOUT") else {
        return Ok(Duration::from_secs(20 * 60));
    };
    let error = |problem: String| ConfigError {
        variable: "DRAIN_TIMEOUT",
        problem,
        accepted: DURATION_FORM,
    };
    let duration = parse_duration(text).ok_or_else(|| error("is not a duration".into()))?;
    if duration > LONGEST {
        let seconds = duration.as_secs();
        return Err(error(format!("is {seconds} s, longer than 168h")));
    }
    Ok(duration)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let unit = tail.chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(number.checked_mul(seconds)?))?;
        rest = &tail[unit.len_utf8()..];
    }
    Some(total)
}
