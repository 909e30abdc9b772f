//! What tests of times ask of the machine they share with each other and with other programs.

use std::process::Command;

use tokio::sync::RwLock;

/// Held for reading by tests that load the machine, for writing by those that cannot stand it.
pub(crate) static LOAD: RwLock<()> = RwLock::const_new(());

/// Puts this thread before all ordinary ones, where it is allowed to: a far end that sends late
/// because others compute is no far end to measure. What it starts is ordinary again.
pub(crate) fn go_first() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let done = Command::new("/usr/bin/chrt")
        .args(["--reset-on-fork", "--fifo", "--pid", "1", &thread])
        .output();
    if !done.is_ok_and(|done| done.status.success()) {
        eprintln!("no real-time priority for the far end: a busy machine disturbs this test");
    }
}
