//! What every program of this product does before anything else: it forbids core files, which
//! would hold credentials, and replaces the panic message, which may.

use std::{
    io::{self, Write as _},
    panic::PanicHookInfo,
};

use rustix::process::{Resource, Rlimit, setrlimit};

/// What a panic does after it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPanic {
    /// Ends the process with status 101, whichever thread it is in.
    EndProcess,
    /// Unwinds its thread or task; whoever owns that decides.
    Unwind,
}

/// Forbids core files and makes panics tell where they were and nothing a secret could be in.
///
/// Call it first in `main`: what happened before is not covered. An error means that the limit was
/// not taken, and the process should not go on.
pub fn harden(on_panic: OnPanic) -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        if on_panic == OnPanic::EndProcess {
            std::process::exit(101);
        }
    }));
    Ok(())
}

/// Literal texts are shown; a formatted one may hold anything.
fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let current = std::thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let text = panic.payload().downcast_ref::<&'static str>().copied();
    let text = text.unwrap_or("(formatted text not shown)");
    if tracing::dispatcher::has_been_set() {
        tracing::error!(%place, thread, "panic: {text}");
    } else {
        // Without a standard error nobody can be told.
        let _ = writeln!(io::stderr(), "panic at {place} in thread {thread}: {text}");
    }
}
