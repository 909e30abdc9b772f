//! Core files and panics of a process that did nothing but harden itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "support/child.rs"]
mod child;

use callmeter_process::{OnPanic, harden};
use callmeter_proto::Secret;

/// R7: a panic ends the process and tells its place, never its message; there is no core file.
#[test]
fn a_panic_ends_the_process_and_hides_its_message() {
    child::panic_if_child(|| harden(OnPanic::EndProcess).unwrap());
    child::assert_panics_hide_secrets("a_panic_ends_the_process_and_hides_its_message");
}

/// The same where the thread alone ends.
#[test]
fn a_panic_that_unwinds_hides_its_message() {
    child::panic_if_child(|| harden(OnPanic::Unwind).unwrap());
    child::assert_panics_hide_secrets("a_panic_that_unwinds_hides_its_message");
}

/// Without it the message shows and core files are allowed: the checks above can fail.
#[test]
fn the_standard_hook_shows_messages() {
    child::panic_if_child(|| {});
    let (_, text) = child::panicking("the_standard_hook_shows_messages", "formatted");
    assert!(text.contains(child::SECRET), "{text}");
    // Where nobody may have them there is nothing to forbid.
    let may_have = child::core_limits(std::process::id()).is_some_and(|(_, hard)| hard != "0");
    assert!(
        !may_have || !text.contains("core files: Some((\"0\""),
        "{text}"
    );
}

/// What holds secrets shows none even where a message is printed.
#[test]
fn a_secret_in_a_message_is_redacted() {
    let secret = Secret::new(child::SECRET);
    let caught = std::panic::catch_unwind(|| panic!("cannot connect with {secret:?}"));
    let payload = caught.unwrap_err();
    let text = payload.downcast_ref::<String>().unwrap();
    assert!(!text.contains(child::SECRET), "{text}");
}
