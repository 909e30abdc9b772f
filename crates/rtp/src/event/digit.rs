//! DTMF digits, RFC 4733 §3.2: <https://www.rfc-editor.org/rfc/rfc4733#section-3.2>

use std::fmt;
use std::str::FromStr;

/// The digits by event code.
const NAMES: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

/// One of the sixteen DTMF digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digit(u8);

/// Why a text is no row of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigitError {
    /// A character is no digit.
    #[error("{0:?} is no DTMF digit, accepted are 0-9 A-D * #")]
    Unknown(char),
    /// There are none, or too many.
    #[error("{0} DTMF digits, accepted are 1 to {max}", max = Digits::MAX)]
    Count(usize),
}

impl Digit {
    /// The digit of an event code; `None` above 15: that is no DTMF digit.
    pub fn from_event(event: u8) -> Option<Self> {
        (usize::from(event) < NAMES.len()).then_some(Self(event))
    }

    /// The event code, 0..=15.
    pub fn event(self) -> u8 {
        self.0
    }

    /// The digit as it stands on the key: `0`-`9`, `*`, `#`, `A`-`D`.
    pub fn as_char(self) -> char {
        NAMES[usize::from(self.0)]
    }
}

impl TryFrom<char> for Digit {
    type Error = DigitError;

    /// Reads a key's name, letters of either case.
    fn try_from(name: char) -> Result<Self, DigitError> {
        let wanted = name.to_ascii_uppercase();
        let event = NAMES.iter().position(|known| *known == wanted);
        event
            .map(|event| Self(event as u8))
            .ok_or(DigitError::Unknown(name))
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// One to 32 digits to send in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    digits: [Digit; Self::MAX],
    len: u8,
}

impl Digits {
    /// Most digits of one row.
    pub const MAX: usize = 32;

    /// The digits in order.
    pub fn as_slice(&self) -> &[Digit] {
        &self.digits[..usize::from(self.len)]
    }
}

impl FromStr for Digits {
    type Err = DigitError;

    fn from_str(text: &str) -> Result<Self, DigitError> {
        let count = text.chars().count();
        if !(1..=Self::MAX).contains(&count) {
            return Err(DigitError::Count(count));
        }
        let mut digits = [Digit::default(); Self::MAX];
        for (place, name) in digits.iter_mut().zip(text.chars()) {
            *place = name.try_into()?;
        }
        Ok(Self {
            digits,
            len: count as u8,
        })
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|digit| digit.fmt(f))
    }
}
