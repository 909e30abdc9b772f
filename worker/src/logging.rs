//! The log: stdout only, JSON lines or coloured text, five levels (R35 to R44).

use std::{io, io::Write as _, path::Path};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, Registry, filter::Targets, fmt, layer::SubscriberExt as _};

use crate::config::LogFormat;

/// Where Kubernetes reads a container's last words from.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// A subscriber that writes to `writer`.
///
/// `level` holds for this product's own code. Libraries speak at warn at most: their debug and
/// trace output shows frames of the gateway stream, which carries the token.
pub fn subscriber<W>(
    level: tracing::Level,
    format: LogFormat,
    writer: W,
) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let level = LevelFilter::from_level(level);
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("callmeter", level);
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        LogFormat::Pretty => layer.with_ansi(true).boxed(),
    };
    Registry::default().with(layer.with_filter(targets))
}

/// Makes stdout the log of the process; a second call changes nothing.
pub fn init(level: tracing::Level, format: LogFormat) {
    let subscriber = subscriber(level, format, io::stdout);
    // An error means that a log is already set, as in a test process.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Leaves the reason of a failed process where the kubelet finds it, if that file exists.
pub fn write_termination_log(path: &Path, message: &str) {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| file.write_all(message.as_bytes()));
    if let Err(error) = written
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "termination log not written");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: tracing::Level, format: LogFormat) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(
            subscriber(level, format, move || writer.clone()),
            || {
                tracing::error!("level error");
                tracing::warn!("level warn");
                tracing::info!(field = 1, "level info \n second line");
                tracing::debug!("level debug");
                tracing::trace!("level trace");
                tracing::info!(target: "h2::codec", "library info");
                tracing::trace!(target: "h2::codec", "library trace");
                tracing::warn!(target: "h2::codec", "library warn");
            },
        );
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// R35 to R40, R7: each level holds the more severe ones; libraries stay silent below warn.
    #[test]
    fn levels_include_the_more_severe_ones() {
        use tracing::Level;
        let names = ["error", "warn", "info", "debug", "trace"];
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        for (rank, level) in levels.into_iter().enumerate() {
            let text = logged(level, LogFormat::Json);
            for (other, name) in names.iter().enumerate() {
                assert_eq!(
                    text.contains(&format!("level {name}")),
                    other <= rank,
                    "{level} {name}"
                );
            }
            assert!(!text.contains("library info") && !text.contains("library trace"));
            assert_eq!(text.contains("library warn"), rank >= 1);
        }
    }

    /// R42
    #[test]
    fn json_is_one_object_per_line() {
        let text = logged(tracing::Level::TRACE, LogFormat::Json);
        assert_eq!(text.lines().count(), 6);
        for line in text.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                object["message"].is_string() && object["level"].is_string(),
                "{line}"
            );
            assert!(object["timestamp"].is_string(), "{line}");
        }
    }

    /// R43
    #[test]
    fn pretty_is_coloured() {
        assert!(logged(tracing::Level::INFO, LogFormat::Pretty).contains("\u{1b}[32m"));
    }

    #[test]
    fn the_termination_log_is_written_only_where_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        write_termination_log(&path, "a");
        assert!(!path.exists());
        std::fs::write(&path, "longer than before").unwrap();
        write_termination_log(&path, "short");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
    }
}
