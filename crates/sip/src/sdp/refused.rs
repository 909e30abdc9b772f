//! Streams of a session that are refused: they keep their places in every later description
//! (RFC 3264 §8).

/// The `m=` lines of refused streams around the audio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    before: Vec<String>,
    after: Vec<String>,
}

impl Refused {
    /// Those of an answer of ours; `None` if it has the audio alone.
    pub fn of_answer(answer: &[u8]) -> Option<Box<Self>> {
        let lines = answer.split(|byte| matches!(byte, b'\r' | b'\n'));
        let streams: Vec<_> = lines
            .filter(|line| line.starts_with(b"m="))
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let [_, _, ..] = streams.as_slice() else {
            return None;
        };
        let port = |stream: &String| stream.split(' ').nth(1).map(|port| port != "0");
        let audio = streams
            .iter()
            .position(|stream| port(stream) == Some(true))?;
        let mut before = streams;
        let after = before.split_off(audio + 1);
        before.truncate(audio);
        Some(Box::new(Self { before, after }))
    }

    /// Those before the audio.
    pub(super) fn before(&self) -> &[String] {
        &self.before
    }

    /// Those after it.
    pub(super) fn after(&self) -> &[String] {
        &self.after
    }
}
